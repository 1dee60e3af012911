"""Reading benchmarks: what is accepted, what is rejected and why."""

import base64
import io
import json

import pytest
from PIL import Image

from lockstep import records
from lockstep.benchmark import intake
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.demo import tiny
from lockstep.errors import BenchmarkError
from lockstep.records import Rejected

ANIMATED = {"save_all": True, "append_images": [Image.new("RGB", (32, 24), "red")]}


def encoded(form="PNG", mode="RGB", size=(32, 24), **options) -> str:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, form, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def item(**changes) -> dict:
    given = {
        "subset": "物理",
        "original_description": "球",
        "original_description_en": "A ball.",
        "edit_instruction": "放开球",
        "edit_instruction_en": "Let go.",
        "src_img_b64": encoded(),
        "rationale_short": "会落下",
        "rationale_short_en": "It falls.",
        "tags": ["gravity"],
        "difficulty": "easy",
        "original_image_path": "folder/00000_物理_easy.png",
        "seed": 42,
    }
    return {k: v for k, v in {**given, **changes}.items() if v is not None}


def prepare(tmp_path, items, **settings):
    path = tmp_path / "benchmark.json"
    path.write_text(items if isinstance(items, str) else json.dumps(items), encoding="utf-8")
    settings = BenchmarkSettings(path=str(path), **{"format": "re-edit", **settings})
    counts = intake.prepare(settings, tmp_path / "manifest")
    rejected = records.read_records(tmp_path / "manifest" / "rejected.jsonl", Rejected)
    assert counts.rejected == len(rejected)
    return counts, rejected


def manifest(tmp_path, category="physical"):
    return records.read_manifest(tmp_path / "manifest" / f"{category}.jsonl")


def test_a_sample_keeps_what_the_benchmark_says(tmp_path):
    prepare(tmp_path, [item()])
    (sample,) = manifest(tmp_path)
    assert sample.id == "00000_物理_easy"
    assert (sample.instruction, sample.rationale) == ("Let go.", "It falls.")
    assert (sample.width, sample.height, sample.source_seed) == (32, 24, 42)
    assert (sample.tags, sample.difficulty, sample.index) == (["gravity"], "easy", 0)
    stored = base64.b64decode(item()["src_img_b64"])
    with open(sample.image, "rb") as file:
        assert file.read() == stored
    assert sample.image_sha256 == records.sha256(stored)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"src_img_b64": "photos/glass.png"},
            r"src_img_b64: found bad base64 \(.*\); it begins with 'photos/glass.png'",
        ),
        ({"src_img_b64": None}, "src_img_b64: expected base64 of an image, found no such field"),
        ({"src_img_b64": " "}, "src_img_b64: expected base64 of an image, found an empty text"),
        ({"src_img_b64": 5}, "src_img_b64: expected base64 of an image, found 5"),
        ({"src_img_b64": base64.b64encode(b"<svg/>").decode()}, "an SVG, which is not"),
        ({"src_img_b64": encoded()[:60]}, "broken image|no image"),
        ({"src_img_b64": encoded("GIF")}, "found a GIF, which is not read"),
        (
            {"src_img_b64": encoded(size=(400, 400))},
            "expected up to 100,000 pixels .* 400×400 pixels",
        ),
        (
            {"src_img_b64": encoded(size=(404, 4))},
            "expected a side up to 100 times the other, .* 404×4 pixels",
        ),
        ({"src_img_b64": encoded("WEBP", **ANIMATED)}, "found an animation of 2 pictures"),
        ({"src_img_b64": encoded(**ANIMATED)}, "found an animation of 2 pictures"),
        (
            {"edit_instruction_en": "  "},
            "edit_instruction_en: expected an instruction, found an empty text",
        ),
        ({"edit_instruction_en": None}, "language_fallback: true would take edit_instruction"),
        ({"subset": "phsical"}, r"subset: found category 'phsical' \(did you mean 'physical'\?\)"),
        ({"subset": None}, "subset: expected the name of a category, found no such field"),
        ({"subset": " "}, "subset: expected the name of a category, found an empty text"),
        (
            {"edit_instruction_en": None},
            "edit_instruction_en: expected an instruction, found no such field",
        ),
        ({"original_image_path": None}, "original_image_path: .*, found no such field"),
        (
            {"original_image_path": "../../etc/passwd"},
            "original_image_path: expected a relative path .*, found '../../etc",
        ),
        (
            {"original_image_path": "/etc/passwd"},
            "original_image_path: expected a relative path .*, found '/etc/passwd'",
        ),
        ({"original_image_path": "..\\x.png"}, "original_image_path"),
        ({"original_image_path": "C:/x.png"}, "original_image_path"),
        ({"original_image_path": None}, "original_image_path"),
        ({"original_image_path": "folder/00001_物理_easy.png"}, "a second time"),
    ],
)
def test_a_broken_sample_is_rejected_with_its_reason_and_the_others_stay(tmp_path, changes, reason):
    import re

    good = item(original_image_path="00001_物理_easy.png")
    counts, rejected = prepare(tmp_path, [good, item(**changes)], max_pixels=100_000)
    assert counts.samples["physical"] == 1
    (reject,) = rejected
    assert reject.position == 1
    assert re.search(reason, reject.reason), reject.reason


def test_tags_are_a_list_or_a_text_with_commas(tmp_path):
    prepare(tmp_path, [item(tags="liquid, gravity")])
    (sample,) = manifest(tmp_path)
    assert sample.tags == ["liquid", "gravity"]


def test_strict_makes_the_first_rejected_sample_an_error_and_leaves_no_manifest(tmp_path):
    said = r"benchmark\.json: item 2 \('folder/00000_.*'\): subset: found"
    with pytest.raises(BenchmarkError, match=said):
        prepare(tmp_path, [item(), item(subset="x")], strict=True)
    assert not list((tmp_path / "manifest").glob("*.jsonl"))


def test_no_item_can_write_outside_its_folder(tmp_path):
    odd = ["a/b.png", "....png", "x y*?.png", "é\u0301.png", "con.png", "名" * 300 + ".png"]
    prepare(tmp_path, [item(original_image_path=path) for path in odd])
    ids = [sample.id for sample in manifest(tmp_path)]
    assert len(set(ids)) == len(ids) >= 5
    for name in ids:
        assert "/" not in name
        assert not name.startswith(".")
        assert len(name.encode()) <= 200


def test_the_manifest_says_what_lies_under_transparency(tmp_path):
    clear = item(original_image_path="b.png", src_img_b64=encoded(mode="RGBA"))
    prepare(tmp_path, [item(), clear], background="Lime")
    assert [sample.transparent for sample in manifest(tmp_path)] == [False, True]
    assert {sample.background for sample in manifest(tmp_path)} == {"#00ff00"}


def test_an_identical_image_is_stored_once(tmp_path):
    prepare(tmp_path, [item(original_image_path=f"{i}.png") for i in range(3)])
    assert len(list((tmp_path / "manifest" / "images").iterdir())) == 1
    assert [sample.index for sample in manifest(tmp_path)] == [0, 1, 2]


def test_subsets_by_either_name_are_one_category(tmp_path):
    names = ["社会", "cultural", "social"]
    items = [item(subset=n, original_image_path=f"{n}.png") for n in names]
    counts, _ = prepare(tmp_path, items)
    assert counts.samples["social"] == 3


def test_the_other_language_is_taken_only_if_told_to(tmp_path):
    only_chinese = item(edit_instruction_en="")
    counts, _ = prepare(tmp_path, [only_chinese], language_fallback=True)
    assert counts.samples["physical"] == 1
    assert manifest(tmp_path)[0].instruction == "放开球"
    prepare(tmp_path, [item()], language="zh")
    assert manifest(tmp_path)[0].instruction == "放开球"
    assert manifest(tmp_path)[0].rationale == "会落下"


def test_limit_takes_the_first_of_each_category(tmp_path):
    items = [
        item(subset=subset, original_image_path=f"{subset}{i}.png")
        for i in range(4)
        for subset in ("物理", "环境")
    ]
    counts, _ = prepare(tmp_path, items, limit=2, categories=("physical", "causal"))
    assert counts.samples == {"physical": 2, "causal": 0}
    assert [s.id for s in manifest(tmp_path)] == ["物理0", "物理1"]


def test_what_was_not_asked_for_is_neither_rejected_nor_an_error(tmp_path):
    items = [
        item(original_image_path="a.png"),
        item(subset="社会", edit_instruction_en=""),
        item(subset="社会", src_img_b64="@@@"),
        item(original_image_path="b.png", src_img_b64="@@@"),
    ]
    counts, rejected = prepare(tmp_path, items, categories=("physical",), limit=1, strict=True)
    assert (counts.samples, rejected) == ({"physical": 1}, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found broken JSON after 0 items"),
        ("{}", "expected at least one sample, found none"),
        ("[]", "expected at least one sample, found none"),
        (json.dumps([item()])[:-40], "found broken JSON after 0 items"),
        (json.dumps([item()])[:-1] + ", {", "found broken JSON after 1 item "),
    ],
)
def test_a_file_that_is_no_benchmark_is_one_clear_error(tmp_path, text, message):
    with pytest.raises(BenchmarkError, match=message):
        prepare(tmp_path, text)


def test_an_item_that_is_no_object_is_rejected(tmp_path):
    counts, rejected = prepare(tmp_path, [item(), None, 5, "x", [1]])
    assert counts.samples["physical"] == 1
    assert len(rejected) == 4


def test_memory_does_not_grow_with_the_file(tmp_path):
    import tracemalloc

    def peak(samples):
        image = encoded(size=(400, 300), mode="RGB")
        # a large text, as a two-megabyte photograph would be
        blob = base64.b64encode(base64.b64decode(image) + b"\0" * 400_000).decode()
        path = tmp_path / f"{samples}.json"
        with open(path, "w") as file:
            file.write("[")
            for i in range(samples):
                file.write("," * (i > 0))
                json.dump(item(src_img_b64=blob, original_image_path=f"{i}.png"), file)
            file.write("]")
        settings = BenchmarkSettings(path=str(path))
        tracemalloc.start()
        intake.prepare(settings, tmp_path / f"m{samples}", processes=1)
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    peak(2)
    # more than are in memory for a process
    assert peak(60) < 1.3 * peak(20)


def test_the_demo_benchmark_is_accepted_whole(tmp_path):
    tiny.make_benchmark(tmp_path / "b.json", per_category=3)
    settings = BenchmarkSettings(path=str(tmp_path / "b.json"))
    counts = intake.prepare(settings, tmp_path / "manifest")
    assert counts == (dict.fromkeys(settings.categories, 3), 0, {}, {})
