"""A short training of a LoRA on an early miniature, with its checkpoints: an example of a series.

`editor-early` learns from `editor-final`: to predict its velocity of the same noisy pictures. That
takes few rows, so a CPU does it in minutes.
"""

from pathlib import Path
from typing import Any

import diffusers
import torch
from peft import LoraConfig, get_peft_model_state_dict

from miniature import rows
from miniature.editor_training import EditorPasses
from miniature.training import log

RANK = 32

LAYERS = (
    *("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    *("net.0.proj", "net.2", "img_mod.1", "txt_mod.1", "img_in", "txt_in", "proj_out"),
)
"""Ends of the names of the layers that are trained."""

DRAWS = 4
"""Steps with one batch of scenes, each with another noise."""


def train_checkpoints(
    models: Path, out: Path, *, count: int, steps: int, size: int, device: str
) -> None:
    """Train a LoRA and write it now and then, as `step-0010.safetensors` and so on.

    Args:
        models: folder with `editor-early` and `editor-final`.
        out: where checkpoints and the log go.
        count: checkpoints.
        steps: of the whole training.
        size: scenes of a step.
    """
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    say = log(out / "checkpoints.log")
    pipeline, model = _passes(models / "editor-early", device)
    _, teacher = _passes(models / "editor-final", device)
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.transformer):
        part.requires_grad_(False)
    pipeline.transformer.add_adapter(
        LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(LAYERS))
    )
    trained = [value for value in pipeline.transformer.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, betas=(0.9, 0.98), weight_decay=0)
    losses: list[float] = []
    for step in range(1, steps + 1):
        if step % DRAWS == 1:
            batch = _batch(pipeline, teacher, model, step, size, device)
        source, target, seen, told = batch
        sigma = torch.sigmoid(torch.randn(size, device=device) + 0.8)
        noise = torch.randn_like(target)
        noisy = target + sigma[:, None, None] * (noise - target)
        with torch.no_grad():
            right = teacher.velocity(noisy, source, told[0], told[1], sigma)
        changed = ((target - source).abs().amax(-1) > 0.15).float()
        error = (model.velocity(noisy, source, seen[0], seen[1], sigma) - right).square().mean(-1)
        loss = (error * (1 + 4 * changed)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, step / 10, 0.1 + 2 * (1 - step / steps))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step * count // steps > (step - 1) * count // steps:
            name = f"step-{step:0{len(str(steps))}}.safetensors"
            pipeline.save_lora_weights(
                out,
                transformer_lora_layers=get_peft_model_state_dict(pipeline.transformer),
                weight_name=name,
            )
            say(f"{name} loss {sum(losses) / len(losses):.4f}")
            losses.clear()


def _passes(folder: Path, device: str) -> tuple[Any, EditorPasses]:
    pipeline = diffusers.QwenImageEditPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.to(device)
    return pipeline, EditorPasses(pipeline, device)


@torch.no_grad()
def _batch(
    pipeline: Any, teacher: EditorPasses, model: EditorPasses, seed: int, size: int, device: str
) -> tuple[torch.Tensor, torch.Tensor, Any, Any]:
    """Return scenes before and after, and the texts as the pupil and the teacher read them."""
    drawn = rows.editor_rows(pipeline.tokenizer, seed * size, size, held_out=False)
    batch = {name: torch.from_numpy(value).to(device) for name, value in drawn.items()}
    images = model.draw(batch["shapes"].flatten(0, 1))
    source, target = model.encode(images).unflatten(0, (size, 2)).unbind(1)
    before = images.unflatten(0, (size, 2))[:, 0]
    return source, target, model.text(batch, before), teacher.text(batch, before)
