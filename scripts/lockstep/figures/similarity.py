"""How alike an edit is to its source and instruction, as models on this machine tell.

It is never part of a score. Models run on the processor, one edit after the other, so that no
number depends on what else is measured, and no device is taken from edits and judgements.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from lockstep import layout, records
from lockstep.devices.pinning import compute_steadily
from lockstep.errors import ConfigError
from lockstep.figures.preservation import LARGEST, Wanted, all_edits, reduced
from lockstep.foreign import images
from lockstep.models import encoders, weights
from lockstep.records import SimilarityRecord

log = logging.getLogger(__name__)

SEMANTICS = 1
"""Raised by hand when what is measured changes, so that all is measured again."""

SMALLEST = 31
"""Pixels of the shortest side that AlexNet takes."""

BATCH = 16
"""Edits that are measured before what was measured is saved."""


class Told(NamedTuple):
    """What a model told of an edit."""

    numbers: dict[str, float]
    clip_text_cut: str | None = None


Tell = Callable[[Image.Image, Image.Image, str], Told]
"""Tells of a source, its edit (both RGB) and the instruction."""


def similar(
    manifest: Path, edits: Sequence[Path], folder: Path, models: Mapping[str, str], threads: int
) -> dict[str, dict[str, Any]]:
    """Return what models told of each edit of a category, by id and column.

    Only what is new to a model is measured. An edit whose image cannot be read has no numbers.

    Args:
        edits: the edits' records.
        folder: the category's results, where what was measured is kept.
        models: folders by measure.
        threads: that a model may compute with.

    Raises:
        ConfigError: if a folder does not hold its model.
    """
    if not models:
        return {}
    path = layout.similarity(folder)
    before = records.read_records(path, SimilarityRecord) if path.exists() else []
    known = {record.key: record for record in before}
    there = list(all_edits(manifest, edits, folder))
    wanted = {name: list(_keyed(name, models[name], there)) for name in models}
    # two samples may have the same two images
    found = [
        known[key].model_copy(update={"id": own.id})
        for several in wanted.values()
        for key, own in several
        if key in known
    ]
    for name, several in wanted.items():
        new = [(key, own) for key, own in several if key not in known]
        tell = _loaded(name, models[name], threads) if new else None
        for start in range(0, len(new), BATCH):
            assert tell is not None
            for key, own in new[start : start + BATCH]:
                if (pair := own.opened()) is not None:
                    told = _finite(tell(*pair, own.instruction), models[name])
                    found.append(SimilarityRecord(id=own.id, key=key, **told._asdict()))
            records.write_records(path, found)
            log.info("%s: measured %d of %d", name, min(start + BATCH, len(new)), len(new))
    columns: dict[str, dict[str, Any]] = defaultdict(dict)
    for record in found:
        columns[record.id] |= {str(name): value for name, value in record.numbers.items()}
        if record.clip_text_cut is not None:
            columns[record.id]["clip_text_cut"] = record.clip_text_cut
    return columns


def _keyed(name: str, folder: str, edits: Iterable[Wanted]) -> Iterator[tuple[str, Wanted]]:
    """Yield edits, each with the key of what a model tells of it."""
    model = encoders.encoder_identity(name, folder)
    for own in edits:
        text = own.instruction if name == "clip" else None
        decides = [SEMANTICS, name, model, *own.images, text]
        yield records.sha256(records.canonical_json(decides).encode()), own


def _loaded(name: str, folder: str, threads: int) -> Tell:
    """Return what asks a measure's model, which is loaded into memory."""
    compute_steadily()
    import torch

    torch.set_num_threads(threads)
    encoders.check_encoder(name, folder)
    tell = {"clip": _clip, "dino": _dino, "lpips": _lpips}[name](folder)

    def steadily(source: Image.Image, edited: Image.Image, instruction: str) -> Told:
        with torch.inference_mode():
            return tell(source, edited, instruction)

    return steadily


def _finite(told: Told, folder: str) -> Told:
    if not all(map(math.isfinite, told.numbers.values())):
        raise ConfigError(f"{folder}: expected a finite number from the model, found another")
    return told._replace(numbers={name: round(value, 5) for name, value in told.numbers.items()})


def _clip(folder: str) -> Tell:
    """CLIP (Radford et al. 2021): cosines of image embeddings, and of edit and instruction."""
    import transformers

    model = _model(transformers.CLIPModel, folder)
    prepare = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    limit = model.config.text_config.max_position_embeddings

    def tell(source: Image.Image, edited: Image.Image, instruction: str) -> Told:
        one, other = (
            model.get_image_features(**prepare(image, return_tensors="pt")).pooler_output
            for image in (source, edited)
        )
        tokens = len(tokenizer(instruction, verbose=False)["input_ids"])
        text = model.get_text_features(
            **tokenizer(instruction, truncation=True, max_length=limit, return_tensors="pt")
        ).pooler_output
        cut = f"cut after {limit} of {tokens} tokens" if tokens > limit else None
        numbers = {"clip_similarity": _cosine(one, other), "clip_text": _cosine(other, text)}
        return Told(numbers, cut)

    return tell


def _dino(folder: str) -> Tell:
    """DINO (Caron et al. 2021): cosine of the last layer's class tokens."""
    import transformers

    model = _model(transformers.AutoModel, folder)
    prepare = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)

    def tell(source: Image.Image, edited: Image.Image, _: str) -> Told:
        one, other = (
            model(**prepare(image, return_tensors="pt")).last_hidden_state[:, 0]
            for image in (source, edited)
        )
        return Told({"dino_similarity": _cosine(one, other)})

    return tell


def _lpips(folder: str) -> Tell:
    """LPIPS (Zhang et al. 2018) of torchmetrics, version 0.1 with AlexNet: 0 is alike."""
    import torch
    from torchmetrics.functional.image.lpips import _LPIPS

    path = encoders.alexnet(folder)
    # its heads are in the package; to load what it sees through would ask the network
    model = _LPIPS(pnet_rand=True)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            held = load_file(path)
        else:
            held = torch.load(path, map_location="cpu", weights_only=True)
        # slice1.0.weight there is features.0.weight in torchvision
        names = {name: f"features.{name.partition('.')[2]}" for name in model.net.state_dict()}
        model.net.load_state_dict({name: held[own] for name, own in names.items()})
    except Exception as error:  # torch raises many kinds on a file that holds something else
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ConfigError(f"{path}: expected weights of torchvision's AlexNet ({what})") from None

    def tell(source: Image.Image, edited: Image.Image, _: str) -> Told:
        if min(source.size) < SMALLEST:
            return Told({})
        alike = images.resize(edited, source.size, "lanczos")
        one, other = (
            torch.from_numpy(np.array(reduced(image, LARGEST))).permute(2, 0, 1)[None] / 255
            for image in (source, alike)
        )
        return Told({"lpips": model(one, other, normalize=True).item()})

    return tell


def _model(kind: Any, folder: str) -> Any:
    """Return a model with all of its weights, in 32 bits."""
    import torch

    model, info = kind.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
    )
    # what stands behind the class token, and is not asked
    unused = ("pooler.", "classifier.")
    asked = {key: [n for n in own if not str(n).startswith(unused)] for key, own in info.items()}
    weights.check_taken(folder, model, {**info, **asked})
    return model.eval()


def _cosine(one: Any, other: Any) -> float:
    from torch.nn.functional import cosine_similarity

    return float(cosine_similarity(one, other))
