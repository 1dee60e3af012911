"""Files: atomic writes, and provenance inside images."""

import numpy as np
import pytest
from PIL import Image

from lockstep import records
from lockstep.records import EditRecord, Rejected, notes


def image() -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8))


def test_an_edit_gives_its_pixels_and_its_provenance_back(tmp_path):
    path = tmp_path / "物理.png"
    records.save_edit(path, image(), {"key": "k", "id": "物理"})
    pixels = records.pixels_sha256(image())
    assert records.read_provenance(path) == {"key": "k", "id": "物理", "pixels_sha256": pixels}
    with Image.open(path) as stored:
        assert records.pixels_sha256(stored) == records.pixels_sha256(image())


def test_a_note_names_what_was_made_and_what_of(tmp_path):
    made = tmp_path / "tables" / "a.csv"
    output = notes.Output(tmp_path, [made], {"config": "0"}, "tables/*.json")
    with notes.noted(output):
        records.write_text(made, "1")
        records.write_text(made.with_suffix(".json"), "2")
    found = notes.read_note(output.note)
    assert found == notes.Note(
        made_of={"config": "0"},
        files={"tables/a.csv": records.sha256(b"1"), "tables/a.json": records.sha256(b"2")},
    )
    assert notes.misfit(output) is None


def test_no_part_of_an_edit_passes_for_the_whole(tmp_path):
    path = tmp_path / "a.png"
    records.save_edit(path, image(), {"key": "k"})
    data = path.read_bytes()
    for size in {0, 1, 8, 100, len(data) // 2, len(data) - 12, len(data) - 5, len(data) - 1}:
        path.write_bytes(data[:size])
        assert records.read_provenance(path) is None, size
    broken = bytearray(data)
    broken[len(data) // 2] ^= 1
    path.write_bytes(bytes(broken))
    assert records.read_provenance(path) is None


def test_a_foreign_image_has_no_provenance(tmp_path):
    image().save(tmp_path / "a.png")
    assert records.read_provenance(tmp_path / "a.png") is None
    assert records.read_provenance(tmp_path / "missing.png") is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    records.write_text(path, "old")
    with pytest.raises(RuntimeError), records.atomic(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_keys_of_records_are_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    record = Rejected(position=1, id="物理", subset=None, reason="x", later="kept")
    records.write_records(path, [record])
    (read,) = records.read_records(path, Rejected)
    assert read.later == "kept"
    assert read == record


def test_a_cut_off_file_of_records_is_not_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"position": 1, "id": null, "subset"')
    with pytest.raises(ValueError, match="Invalid JSON"):
        records.read_records(path, Rejected)


def test_canonical_json_is_one_text_for_equal_values():
    assert records.canonical_json({"b": 1, "a": "物"}) == '{"a":"物","b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.canonical_json({"a": float("nan")})


def test_pixels_of_another_shape_are_other_pixels():
    flat = Image.new("RGB", (4, 2))
    assert records.pixels_sha256(flat) != records.pixels_sha256(Image.new("RGB", (2, 4)))


def test_a_record_without_a_score_has_none():
    record = EditRecord(
        id="a", category="c", key="k", status="ok", seed=1, wave=0, shard=0, device="cpu0"
    )
    assert record.image is None
    assert not record.cached
