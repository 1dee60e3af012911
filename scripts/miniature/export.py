"""The trained miniature as the folders that editors and judges load."""

import json
import shutil
from pathlib import Path
from typing import Any

from lockstep import records
from lockstep.models.fingerprints import MINIATURE
from miniature import models

SHARED = ("vae", "processor", "tokenizer", "scheduler")
"""Parts of the editor that its checkpoints have in common."""


def export(trained: Path, tokens: Path, folder: Path, checkpoints: dict[str, str]) -> None:
    """Write editors and judge in bfloat16.

    Args:
        trained: `editor*.safetensors`, `vae.safetensors` and `judge.safetensors`.
        tokens: the tokenizer.
        folder: gets `editor-{name}/` for each checkpoint, and `judge/`.
        checkpoints: file names without suffix, by name.
    """
    import transformers
    from safetensors.torch import load_file

    tokenizer = transformers.AutoTokenizer.from_pretrained(tokens)
    for name, file in checkpoints.items():
        pipeline = models.make_editor(tokenizer)
        load_editor(pipeline, trained / f"{file}.safetensors", trained / "vae.safetensors")
        models.save_editor(pipeline, folder / f"editor-{name}")
    judge, processor = models.make_judge(tokenizer)
    _, unexpected = judge.load_state_dict(load_file(trained / "judge.safetensors"), strict=False)
    assert not unexpected, unexpected
    models.save_judge(judge, processor, folder / "judge")
    for name in ("judge", *(f"editor-{own}" for own in checkpoints)):
        records.write_text(folder / name / MINIATURE, "This model knows a drawn world alone.\n")
    first, *others = checkpoints
    for name in others:
        for part in SHARED:
            own = folder / f"editor-{name}" / part
            shutil.rmtree(own)
            own.symlink_to(Path("..", f"editor-{first}", part))


def load_editor(pipeline: Any, weights: Path, autoencoder: Path) -> None:
    """Put trained weights into an editor's pipeline."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    found = load_file(weights)
    for prefix, module in (("t.", pipeline.transformer), ("e.", pipeline.text_encoder.model)):
        own = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        missing, unexpected = module.load_state_dict(own, strict=False)
        assert not missing and not unexpected, (missing, unexpected)
    with safe_open(autoencoder, "pt") as file:
        latents = json.loads(file.metadata()["latents"])
    inner = {name: v for name, v in load_file(autoencoder).items() if models.is_inner(name)}
    _, unexpected = pipeline.vae.load_state_dict(inner, strict=False)
    assert not unexpected, unexpected
    pipeline.vae.register_to_config(**latents)
