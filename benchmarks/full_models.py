"""Full-size models with random weights, built on a device without any download.

The shapes are those of the published models: what runs here takes the time that real weights take,
and gives images and replies that mean nothing. Tokenizer, processor and scheduler are those of the
tiny models.
"""

import json
import tempfile
from pathlib import Path

import diffusers
import safetensors.torch
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from lockstep.demo import parts, tiny
from lockstep.models import fingerprints

VOCABULARY = 152064
"""Rows of the text encoder's embedding."""


def build_editor(plus: bool = False, zero_cond_t: bool = False) -> diffusers.DiffusionPipeline:
    """Build Qwen-Image-Edit on a GPU: 20.43 + 8.29 + 0.127 billion parameters in bfloat16.

    Args:
        plus: build the Plus pipeline (2509 and 2511) instead.
        zero_cond_t: as 2511 has it.
    """
    with tempfile.TemporaryDirectory() as folder:
        tiny.make_editor(Path(folder), plus=plus)
        small = transformers.Qwen2_5_VLConfig.from_pretrained(folder, subfolder="text_encoder")
        special = ("image", "video", "vision_start", "vision_end")
        config = transformers.Qwen2_5_VLConfig(
            text_config={
                "hidden_size": 3584,
                "intermediate_size": 18944,
                "num_hidden_layers": 28,
                "num_attention_heads": 28,
                "num_key_value_heads": 4,
                "vocab_size": VOCABULARY,
                "bos_token_id": small.text_config.bos_token_id,
                "eos_token_id": small.text_config.eos_token_id,
                "rope_parameters": {
                    "rope_type": "default",
                    "mrope_section": [16, 24, 24],
                    "rope_theta": 1e6,
                },
            },
            vision_config={
                "depth": 32,
                "hidden_size": 1280,
                "intermediate_size": 3420,
                "num_heads": 16,
                "out_hidden_size": 3584,
                "fullatt_block_indexes": [7, 15, 23, 31],
                "window_size": 112,
            },
            **{f"{name}_token_id": getattr(small, f"{name}_token_id") for name in special},
        )
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device("cuda"):
            text_encoder = transformers.Qwen2_5_VLForConditionalGeneration(config)
            transformer = diffusers.QwenImageTransformer2DModel(zero_cond_t=zero_cond_t)
            vae = diffusers.AutoencoderKLQwenImage()
        torch.set_default_dtype(torch.float32)
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            folder,
            text_encoder=text_encoder.eval(),
            transformer=transformer.eval(),
            vae=vae.eval(),
        )
    # as published; the tiny one sees little of an image
    pipeline.processor.image_processor.size["longest_edge"] = 12_845_056
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_judge(folder: Path) -> None:
    """Write Qwen3-VL-8B: 8.77 billion parameters in bfloat16."""
    with tempfile.TemporaryDirectory() as temporary:
        tiny.make_judge(Path(temporary))
        processor = transformers.AutoProcessor.from_pretrained(temporary)
    processor.tokenizer = tokenizer = make_tokenizer()
    config = transformers.Qwen3VLConfig(
        text_config={
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "bos_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
                "rope_theta": 5e6,
            },
        },
        vision_config={
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_heads": 16,
            "out_hidden_size": 4096,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        **parts.vision_token_ids(tokenizer),
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = transformers.Qwen3VLForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="5GB")
    # as published; the tiny one sees little of an image
    processor.image_processor.size = {"shortest_edge": 65_536, "longest_edge": 16_777_216}
    processor.save_pretrained(folder)


def make_tokenizer() -> transformers.PreTrainedTokenizerBase:
    """Return a tokenizer learnt from the project's own pages.

    It gives a rubric a token for 3.6 characters, about as published ones do: prompts are as long.
    """
    pages = [path.read_text() for path in sorted((Path(__file__).parents[1] / "docs").glob("*.md"))]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learnt.train_from_iterator(
        pages,
        trainers.BpeTrainer(vocab_size=8000, initial_alphabet=alphabet, show_progress=False),
    )
    found = json.loads(learnt.to_str())["model"]
    return parts.make_tokenizer(found["vocab"], [tuple(pair) for pair in found["merges"]])


def save(pipeline: diffusers.DiffusionPipeline, folder: Path) -> None:
    """Write a model as it is published: a folder with files of up to 5 GB."""
    pipeline.save_pretrained(folder, max_shard_size="5GB")
    (folder / fingerprints.MARKER).touch()


def save_adapter(
    transformer: diffusers.QwenImageTransformer2DModel, path: Path, rank: int = 64
) -> None:
    """Write a random LoRA of all linear layers of the blocks, in the Lightning layout."""
    weights = {}
    for name, layer in transformer.transformer_blocks.named_modules(prefix="transformer_blocks"):
        if isinstance(layer, torch.nn.Linear):
            outputs, inputs = layer.weight.shape
            for side, shape in {"down": (rank, inputs), "up": (outputs, rank)}.items():
                matrix = torch.randn(shape, dtype=torch.bfloat16, device="cuda") * 0.01
                weights[f"{name}.lora_{side}.weight"] = matrix.cpu()
            weights[f"{name}.alpha"] = torch.tensor(float(rank))
    safetensors.torch.save_file(weights, path)
