"""Models that tell how alike images are: whether a folder holds one, and which one it is."""

import re
from pathlib import Path

from lockstep.errors import ConfigError
from lockstep.models import fingerprints, weights

KINDS = {
    "clip": ("clip",),
    "dino": ("dinov2", "dinov2_with_registers", "dinov3_vit", "vit"),
}
"""What `model_type` says in the folder of each measure's model; LPIPS has a file of weights."""

NEEDED = {
    "clip": (
        ("preprocessor_config.json", "processor_config.json"),
        ("tokenizer.json", "vocab.json"),
    ),
    "dino": (("preprocessor_config.json",),),
}
"""Files of each measure's model beside weights and config.json; of several names one is enough."""

BACKBONE = tuple(f"features.{k}.{part}" for k in (0, 3, 6, 8, 10) for part in ("weight", "bias"))
"""Weights of torchvision's AlexNet that LPIPS sees through."""


def check_encoder(measure: str, folder: str) -> None:
    """Refuse a folder that does not hold the model of a measure; reads no weights.

    Args:
        measure: clip, dino or lpips.

    Raises:
        ConfigError: saying what was expected and what was found.
    """
    if not Path(folder).is_dir():
        raise ConfigError(
            f"expected a folder with the model's files, which are not downloaded, found no folder "
            f"{folder!r}"
        )
    if measure == "lpips":
        _check_backbone(alexnet(folder))
        return
    config = Path(folder, "config.json")
    found = weights.read_object(config).get("model_type") if config.is_file() else None
    if found not in KINDS[measure]:
        what = f"a model of type {found!r}" if config.is_file() else "no config.json"
        expected = " or ".join(KINDS[measure])
        raise ConfigError(f"expected a model of type {expected} in {folder!r}, found {what}")
    for names in NEEDED[measure]:
        if not any(Path(folder, name).is_file() for name in names):
            raise ConfigError(f"expected {' or '.join(names)} in {folder!r}, found none")
    pickled = [Path(folder, name) for name in weights.PICKLED]
    if not weights.weight_files(Path(folder)) and not any(path.exists() for path in pickled):
        raise ConfigError(f"expected model.safetensors in {folder!r}, found no weights")
    weights.check_part(Path(folder))


def alexnet(folder: str) -> Path:
    """Return the file of torchvision's AlexNet in a folder.

    Raises:
        ConfigError: if there is none, or more than one.
    """
    kinds = (".pth", ".safetensors")
    found = sorted(path for path in Path(folder).glob("alexnet*") if path.suffix in kinds)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "no file of AlexNet"
        raise ConfigError(
            "expected torchvision's alexnet-owt-7be5be79.pth, or its weights as one "
            f"alexnet*.safetensors, in {folder!r}, found {names}"
        )
    return found[0]


def _check_backbone(path: Path) -> None:
    if path.suffix == ".safetensors":
        if lacking := sorted(set(BACKBONE) - weights.read_header(path).keys()):
            raise ConfigError(f"{path}: expected torchvision's AlexNet, found no {lacking[0]}")
        return
    weights.check_there(path)
    # torchvision names its files by how their hashes begin
    named = re.search(r"-([0-9a-f]{8})\.pth$", path.name)
    if named is None:
        return
    digest = fingerprints.file_sha256(path)
    if not digest.startswith(named[1]):
        raise ConfigError(
            f"{path}: expected a file whose SHA-256 begins with {named[1]}, as in its name, found "
            f"{digest[:8]}; it may have been cut off while it was copied"
        )


def encoder_files(measure: str, folder: str) -> dict[str, Path]:
    """Return the files that decide what a model tells, by names that no move changes."""
    paths = [alexnet(folder)] if measure == "lpips" else fingerprints.model_files(folder)
    return {str(path.relative_to(folder)): path for path in paths}


def encoder_identity(measure: str, folder: str) -> str:
    """Return what names a model in a key: a hash of what its files hold."""
    if measure == "lpips":
        return fingerprints.file_sha256(alexnet(folder))
    return str(fingerprints.model_identity(folder, None)["fingerprint"])
