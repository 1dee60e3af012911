"""The demo's benchmark: held-out scenes of the drawn world, in the RE-Edit style."""

import base64
import io
import json
import random
from pathlib import Path

from PIL import Image

from lockstep import records
from lockstep.benchmark.categories import CATEGORIES
from lockstep.demo import views, wordings, world
from miniature import drawing

PER_CATEGORY = 8
"""Samples of a category."""

SEED = 950_000
"""Of the scenes, which no training and no measurement draws."""

_LOOKS = (("PNG", "RGB"), ("WEBP", "RGB"), ("PNG", "RGBA"))


def make_benchmark(path: Path, per_category: int = PER_CATEGORY) -> None:
    """Write a benchmark of scenes and wordings that no model was trained on."""
    items: list[dict[str, object]] = []
    for category in world.CATEGORIES:
        rng = random.Random(SEED + world.CATEGORIES.index(category))
        for number in range(per_category):
            # neighbours ask for different things, as the control by swapping needs
            kinds = wordings.KINDS[category]
            task = world.make_task(category, rng, kinds[number % len(kinds)])
            items.append(_item(task, len(items), rng))
    records.write_text(path, json.dumps(items, ensure_ascii=False))


def _item(task: world.Task, position: int, rng: random.Random) -> dict[str, object]:
    chinese, english = (
        wordings.instruction(task.kind, task.detail, rng, chinese=chinese, held_out=True)
        for chinese in (True, False)
    )
    (source,) = drawing.pictures([views.shapes(task.scene)])
    form, mode = _LOOKS[position % len(_LOOKS)]
    difficulty = ("easy", "medium", "hard")[position % 3]
    subset = CATEGORIES[task.category].chinese
    return {
        "subset": subset,
        "original_description": "",
        "original_description_en": "",
        "edit_instruction": chinese,
        "edit_instruction_en": english,
        "src_img_b64": base64.b64encode(_stored(source.convert(mode), form)).decode(),
        "rationale_short": "",
        "rationale_short_en": world.said(task).capitalize() + ".",
        "tags": [task.kind],
        "difficulty": difficulty,
        "original_image_path": f"drawn/{position:05d}_{subset}_{difficulty}.png",
        "seed": 42,
    }


def _stored(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    # without loss in either format
    image.save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    return buffer.getvalue()
