"""KRIS-Bench: a folder for each category, with images and an annotation.json.

Each member is `id: {ori_img (a name or several), gt_img, ins_en, explain_en}`; ids are unique in
their category only.
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from lockstep.benchmark import items
from lockstep.benchmark.files import ANNOTATION, Files, open_files
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.benchmark.streams import values
from lockstep.errors import BenchmarkError, SampleError


def read(settings: BenchmarkSettings) -> Iterator[items.Item | SampleError]:
    """Yield each item of the configured categories, one category after the other.

    Raises:
        BenchmarkError: if there is none of them, or a file is not valid JSON.
    """
    root = Path(settings.path)
    there = [key for key in settings.categories if (root / key / ANNOTATION).is_file()]
    if not there:
        raise BenchmarkError(
            f"{root}: expected a folder with {settings.categories[0]}/{ANNOTATION} and the like, "
            f"found no {ANNOTATION} in a folder of a category"
        )
    return chain.from_iterable(_category(settings, root, key) for key in there)


def _category(
    settings: BenchmarkSettings, root: Path, key: str
) -> Iterator[items.Item | SampleError]:
    files = open_files(settings.images_path)
    return items.checked(
        values(root / key / ANNOTATION),
        partial(_item, files, key),
        lambda member: items.Named(f"{key}_{items.shown({'id': member[0]}, 'id')}", key, key),
    )


def _item(files: Files, category: str, member: tuple[str | None, Any]) -> items.Item:
    number, value = member
    value = items.fields(value)
    reference = items.text(value, "gt_img")
    return items.Item(
        id=f"{category}_{items.needed({'id': number}, 'id')}",
        subset=category,
        category=category,
        instruction=items.needed(value, "ins_en"),
        images=[
            items.FileImage(files, f"{category}/{name}", "ori_img")
            for name in items.names(value, "ori_img")
        ],
        reference=items.FileImage(files, f"{category}/{reference}", "gt_img")
        if reference
        else None,
        rationale=items.text(value, "explain_en"),
    )
