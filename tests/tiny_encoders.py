"""Tiny models with random weights that tell how alike images are, each in its real class."""

from pathlib import Path
from typing import Any

from tests.tiny_editors import _clip_tokenizer

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
SIGHT: dict[str, Any] = {**SMALL, "image_size": 32, "patch_size": 8}


def make_clip(folder: Path, seed: int = 0) -> Path:
    import torch
    import transformers

    tokenizer = _clip_tokenizer()
    texts = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos")}
    config = transformers.CLIPConfig(
        text_config={**SMALL, **texts, "vocab_size": len(tokenizer)},
        vision_config=SIGHT,
        projection_dim=8,
    )
    torch.manual_seed(seed)
    transformers.CLIPModel(config).save_pretrained(folder)
    prepare = transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    prepare.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_dino(folder: Path, kind: str = "Dinov2", seed: int = 0) -> Path:
    """Make a model whose class tokens are compared: Dinov2, Dinov2WithRegisters, DINOv3ViT, ViT."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**SIGHT)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    return folder


def make_alexnet(folder: Path, name: str = "alexnet.safetensors", seed: int = 0) -> Path:
    """Save what LPIPS reads of torchvision's AlexNet, whose classifier alone takes 230 MB."""
    import torch
    from safetensors.torch import save_file
    from torchvision.models import AlexNet

    torch.manual_seed(seed)
    with torch.device("meta"):
        features = AlexNet().features
    features = features.to_empty(device="cpu")
    for parameter in features.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    held = {f"features.{key}": value for key, value in features.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    if name.endswith(".safetensors"):
        save_file(held, folder / name)
    else:
        torch.save(held, folder / name)
    return folder
