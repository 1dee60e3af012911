"""Small benchmarks in the exact format of each published one, made on the spot."""

import base64
import csv
import io
import itertools
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lockstep.benchmark.categories import BY_FORMAT, CATEGORIES

Draw = Callable[[int], bytes]
"""Makes the n-th image of a benchmark."""


class Made(NamedTuple):
    """A benchmark on disk."""

    settings: dict[str, Any]
    """Of the section `benchmark` of a configuration."""
    samples: int
    """Samples that it gives."""


def draw(number: int, size: tuple[int, int] = (96, 64), form: str = "PNG") -> bytes:
    """Return a small image that no other number gives."""
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    image.paste((number % 256, number // 256 % 256, 120), (4, 4, 24, 24))
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def re_edit(folder: Path, count: int = 4, draw: Draw = draw, english: bool = False) -> Made:
    """Write a JSON list; the second generation has English subsets."""
    names = ["physical", "environmental", "cultural", "causal", "referential"]
    names = names if english else [c.chinese for c in CATEGORIES.values()]

    def items() -> Iterator[dict]:
        for n, subset in zip(range(count), itertools.cycle(names), strict=False):
            yield {
                "subset": subset,
                "original_description": f"第{n}张图",
                "original_description_en": f"Picture {n}.",
                "edit_instruction": "放开球",
                "edit_instruction_en": f"Let go of ball {n}.",
                "src_img_b64": base64.b64encode(draw(n)).decode(),
                "rationale_short": "会落下",
                "rationale_short_en": "It falls.",
                "tags": ["gravity"],
                "difficulty": "easy",
                "original_image_path": f"generated_images_2/{n:05d}_{subset}_easy.png",
                "seed": 42,
            }

    path = _json_list(folder / "benchmark.json", items())
    return Made({"path": str(path)}, count)


def gedit(folder: Path, count: int = 4, draw: Draw = draw, saved: bool = False) -> Made:
    """Write Parquet, or what `datasets` saves; each sample in both languages."""
    tasks = list(BY_FORMAT["gedit"])
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [
            ("task_type", pa.string()),
            ("key", pa.string()),
            ("instruction", pa.string()),
            ("instruction_language", pa.string()),
            ("input_image", image),
            ("input_image_raw", image),
            ("Intersection_exist", pa.bool_()),
        ]
    )

    def rows(n: int) -> list[dict]:
        picture = {"bytes": draw(n), "path": None}
        both = {
            "task_type": tasks[n % len(tasks)],
            "key": f"{n:032x}",
            "input_image": picture,
            "input_image_raw": picture,
            "Intersection_exist": n % 2 == 0,
        }
        english = {**both, "instruction": f"Do {n}.", "instruction_language": "en"}
        return [english, {**both, "instruction": f"做{n}", "instruction_language": "cn"}]

    folder.mkdir(parents=True, exist_ok=True)
    batches = (pa.RecordBatch.from_pylist(rows(n), schema) for n in range(count))
    if saved:
        (folder / "train").mkdir()
        (folder / "dataset_dict.json").write_text('{"splits": ["train"]}')
        (folder / "train" / "state.json").write_text("{}")
        path = folder / "train" / "data-00000-of-00001.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return Made({"path": str(folder)}, count)
    path = folder / "train-00000-of-00001.parquet"
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(itertools.islice(batches, 50)):
            writer.write_table(pa.Table.from_batches(group, schema))
    return Made({"path": str(path)}, count)


def imgedit(folder: Path, count: int = 4, draw: Draw = draw, archive: str | None = None) -> Made:
    """Write a JSON object beside a folder of images, or a tar or zip of them."""
    types = list(BY_FORMAT["imgedit"])
    items = {
        str(1000 + n): {
            "id": f"daily object/{n:09d}.jpg",
            "prompt": f"Change thing {n}.",
            "edit_type": types[n % len(types)],
        }
        for n in range(count)
    }
    path = _json(folder / "singleturn.json", items)
    files = ((item["id"], draw(n)) for n, item in enumerate(items.values()))
    settings = {"path": str(path)}
    if archive == "tar":
        settings["images"] = str(folder / "images.tar")
        with tarfile.open(settings["images"], "w") as tar:
            for name, data in files:
                info = tarfile.TarInfo(f"Benchmark/singleturn/{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    elif archive == "zip":
        settings["images"] = str(folder / "images.zip")
        with zipfile.ZipFile(settings["images"], "w") as file:
            for name, data in files:
                file.writestr(name, data)
    else:
        _write(folder, files)
    return Made(settings, count)


def kris(folder: Path, count: int = 4, draw: Draw = draw) -> Made:
    """Write a folder for each category; some samples have several sources, some a reference."""
    categories = ["multi-element_composition", "viewpoint_change", "physics", "color_change"]
    categories.append("temporal_prediction")
    root = folder / "KRIS_Bench"
    for place, category in enumerate(categories):
        annotations, files = {}, {}
        for n in range(place, count, len(categories)):
            name = n // len(categories) + 1
            images = [f"{name}.png"]
            if category == "multi-element_composition":
                images = [f"{name}-1.png", f"{name}-2.png"]
            if category == "temporal_prediction":
                images = [f"{name}-{frame}.png" for frame in (1, 2, 4)]
            given = images if len(images) > 1 else images[0]
            has_reference = category in ("viewpoint_change", "temporal_prediction")
            reference = f"{name}_gt.png" if has_reference else ""
            annotations[str(name)] = {
                "ori_img": given,
                "gt_img": reference,
                "ins_en": f"Draw view {n}.",
                "explain_en": "Ice floats." if category == "physics" else "",
            }
            files |= {image: draw(4 * n + k) for k, image in enumerate(images)}
            files |= {reference: draw(4 * n + 3)} if reference else {}
        _json(root / category / "annotation.json", annotations)
        _write(root / category, files.items())
    return Made({"path": str(root)}, count)


def rise(folder: Path, count: int = 4, draw: Draw = draw) -> Made:
    """Write a JSON list beside images; references are texts or images."""
    categories = list(BY_FORMAT["rise"])
    items = []
    for n in range(count):
        category = categories[n % len(categories)]
        item = {
            "index": f"{category}_{n}",
            "category": category,
            "subtask": "Life Progression",
            "instruction": f"Draw what it looks like after {n} years.",
            "image": f"{category}_images/{n}.png",
        }
        match category:
            case "spatial_reasoning":
                item["reference_img"] = f"{category}_images/{n}_ref.png"
            case "logical_reasoning":
                item["reference_txt"] = "Seven."
            case _:
                item["reference"] = "A rotten, blackened banana."
        items.append(item)
        names = [item["image"], *([item["reference_img"]] if "reference_img" in item else [])]
        _write(folder, ((name, draw(2 * n + k)) for k, name in enumerate(names)))
    path = _json_list(folder / "datav2_total_w_subtask.json", iter(items))
    return Made({"path": str(path)}, count)


def uniredit(folder: Path, count: int = 4, draw: Draw = draw) -> Made:
    """Write a JSON list beside two folders of images; games have rules."""
    names = ["viewpoint", "sokoban"]
    items = []
    for n in range(count):
        name = names[n % 2]
        item = {
            "index": n,
            "original_image_path": f"original_image/{name}/{n}.png",
            "reference_image_path": f"reference_image/{name}/{n}.png",
            "instruction": f"Make move {n}.",
            "name": name,
            "idx": n,
            "reference_effect": "The box is on its goal.",
        }
        if name == "sokoban":
            item["rules"] = "A box can be pushed, not pulled."
        items.append(item)
        paths = [item["original_image_path"], item["reference_image_path"]]
        _write(folder, ((path, draw(2 * n + k)) for k, path in enumerate(paths)))
    path = _json_list(folder / "data.json", iter(items))
    return Made({"path": str(path), "categories": names}, count)


def table(folder: Path, count: int = 4, draw: Draw = draw, form: str = "csv") -> Made:
    """Write a CSV, JSON lines, Parquet or a folder with a metadata.csv."""
    categories = ["室内", "outdoor"]
    rows = []
    for n in range(count):
        data = draw(n)
        row: dict[str, Any] = {
            "id": f"t{n}",
            "category": categories[n % 2],
            "instruction": f"Paint wall {n}.",
        }
        if form == "parquet":
            row["image"] = data
        elif form == "jsonl":
            row["image"] = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        else:
            name = f"images/{n}.png"
            _write(folder, [(name, data)])
            row["file_name" if form == "folder" else "image"] = name
            if form == "folder":
                del row["id"]
        rows.append(row)
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"categories": categories}
    if form == "parquet":
        path = folder / "table.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    elif form == "jsonl":
        path = folder / "table.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        path = folder / ("metadata.csv" if form == "folder" else "table.csv")
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return Made({"path": str(folder if form == "folder" else path), **settings}, count)


MAKERS: dict[str, Callable[..., Made]] = {
    "re-edit": re_edit,
    "gedit": gedit,
    "imgedit": imgedit,
    "kris": kris,
    "rise": rise,
    "uniredit": uniredit,
    "table": table,
}


def _write(folder: Path, files) -> None:
    for name, data in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def _json_list(path: Path, items: Iterator[dict]) -> Path:
    """Write a list of which only one item is in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        for number, item in enumerate(items):
            file.write(",\n" if number else "[\n")
            json.dump(item, file, ensure_ascii=False)
        file.write("\n]\n")
    return path
