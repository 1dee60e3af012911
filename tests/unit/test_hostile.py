"""Files from the internet: each is read right or refused with a sentence, and nothing escapes."""

import base64
import io
import json
import os
import re
import resource
import struct
import tarfile
import time
import zipfile
import zlib

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lockstep import records
from lockstep.benchmark import detect, intake
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.errors import BenchmarkError
from lockstep.records import Rejected
from tests import formats, fuzz


def read(tmp_path, path, **settings):
    """Prepare a benchmark, and return its samples by category and its rejects' reasons."""
    found = BenchmarkSettings(path=str(path), **settings)
    intake.prepare(found, tmp_path / "manifest")
    samples = [
        sample
        for category in found.categories
        for sample in records.read_manifest(tmp_path / "manifest" / f"{category}.jsonl")
    ]
    rejected = records.read_records(tmp_path / "manifest" / "rejected.jsonl", Rejected)
    return samples, [reject.reason for reject in rejected]


def rows(tmp_path, *changes, **settings):
    """Read a table of JSON lines, a row for each change of a good one."""
    image = base64.b64encode(formats.draw(0)).decode()
    good = {"id": "a", "category": "c", "image": f"data:,{image}", "instruction": "Do."}
    path = tmp_path / "t.jsonl"
    lines = [
        change if isinstance(change, str) else json.dumps({**good, "id": f"s{n}", **change})
        for n, change in enumerate(changes)
    ]
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    return read(tmp_path, path, categories=["c"], **settings)


def re_edit(tmp_path, text, **settings):
    path = tmp_path / "b.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    return read(tmp_path, path, format="re-edit", **settings)


def good_json(tmp_path, count=1):
    made = formats.re_edit(tmp_path / "good", count)
    with open(made.settings["path"], encoding="utf-8") as file:
        return file.read()


def png(width, height, *chunks):
    """Return a PNG that only says that it is so large."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*c) for c in chunks) + chunk(b"IEND", b"")


nan = float("nan")

BOMB = zlib.compress(b"\0" * 200_000_000)
"""200 MB in 200 kB."""

PIXELS = (b"IDAT", zlib.compress(bytes(8 * 25)))
"""Of an image of 8 × 8."""


def scans(count, image=None):
    """Return a JPEG that is painted over and over: its last scan is there so many times."""
    buffer = io.BytesIO()
    (image or Image.new("L", (64, 64))).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    start, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    before = data.count(b"\xff\xda") - 1
    return data[:start] + data[start:end] * (count - before) + data[end:]


IMAGES = {
    "a PNG of 50,000 pixels a side": (png(50_000, 50_000, (b"IDAT", BOMB)), "50000×50000 pixels"),
    "a profile that unpacks to 200 MB": (
        png(8, 8, (b"iCCP", b"a\0\0" + BOMB)),
        "expected a colour profile below 16,777,216 bytes, found a larger one",
    ),
    "a text that unpacks to 200 MB": (png(8, 8, (b"zTXt", b"a\0\0" + BOMB), PIXELS), None),
    "5 GB in a hundred texts": (png(8, 8, *[(b"zTXt", b"a\0\0" + BOMB)] * 25, PIXELS), None),
    "pixels expected to unpack to at most 200 times its 200 MB": (png(8, 8, (b"IDAT", BOMB)), None),
    "a JPEG of 500 scans": (scans(500), "expected a JPEG of up to 100 scans, found 500"),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "found an SVG, which is not read"),
    "an HTML page": (b"<!doctype html><html><img src=x onerror=alert(1)>", "an HTML page, which"),
    "nothing": (b"", "found"),
    "a GIF": (formats.draw(0, form="GIF"), "found a GIF, which is not read"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_is_none_or_a_bomb_is_rejected_in_bounded_time_and_memory(tmp_path, name):
    data, reason = IMAGES[name]
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    image = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    samples, reasons = rows(tmp_path, {}, {"image": image})
    assert [sample.id for sample in samples] == ["s0", *(["s1"] if reason is None else [])]
    assert reason is None or reason in reasons[0], reasons
    assert time.monotonic() - began < 120
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


TEXTS = [
    (
        {"instruction": "x" * 30_000},
        "instruction: expected a text of up to 20,000 characters, found 30,000",
    ),
    (
        {"instruction": "\x1b[2J"},
        r"instruction: expected characters that can be shown, found U\+001B",
    ),
    ({"instruction": "a\0b"}, r"instruction: expected characters that can be shown, found U\+0000"),
    (
        {"instruction": "\ud800"},
        r"instruction: expected characters that can be shown, found U\+D800",
    ),
    ({"instruction": 5}, "instruction: expected a text, found 5"),
    ({"instruction": ["a"]}, "expected a text"),
    ({"id": None}, "id: expected a text or a whole number, found nothing"),
    ({"id": 1.5}, "id: expected a text, found 1.5"),
    ({"language": "EN"}, "language: expected en or zh, found 'EN'"),
    ({"seed": "٣"}, "seed: expected a number, found '٣'"),
    ({"seed": "1_0"}, "seed: expected a number, found '1_0'"),
    ({"seed": 1e400}, "seed: expected a whole number below 2.64, found inf"),
    ({"seed": 10**50}, "seed: expected a whole number below 2.64, found"),
    (
        {"image": "../../etc/passwd"},
        "image: expected a relative path without '..', found '../../etc/passwd'",
    ),
    ({"image": "/etc/passwd"}, "image: expected a relative path without '..', found '/etc/passwd'"),
    ({"image": "C:\\x.png"}, "image: expected a relative path without '..', found"),
    ({"image": "..\\..\\x.png"}, "image: expected a relative path without '..', found"),
    ({"image": "missing.png"}, "image: found no file 'missing.png'"),
    ({"image": "data:,@@"}, "image: found bad base64"),
    ({"image": ["a.png"] * 40}, "image: expected up to 16 images, found 40"),
    ('{"id": "x", "id": "y"}', "expected each field once, found 'id' twice"),
    ('{"id": ', "found a broken line"),
    ("[" * 100_000, "found a broken line"),
    ("5", "expected an object, found int"),
]


@pytest.mark.parametrize(("change", "reason"), TEXTS, ids=lambda v: str(v)[:40])
def test_a_hostile_field_rejects_its_sample_alone(tmp_path, change, reason):
    import re

    samples, reasons = rows(tmp_path, {"id": "first"}, change, {"id": "last"})
    assert [sample.id for sample in samples] == ["first", "last"]
    assert re.search(reason, reasons[0]), reasons


def test_an_empty_field_says_nothing(tmp_path):
    optional = ("language", "description", "reference", "rationale", "expected", "difficulty")
    for nothing in ("", None, float("nan")):
        (sample,), reasons = rows(tmp_path, dict.fromkeys(optional, nothing))
        assert sample.reference is None
        assert not reasons
    nothing = {"seed": float("nan"), "tags": [float("nan"), None, "a"], "file_name": float("nan")}
    (sample,), reasons = rows(tmp_path, nothing)
    assert (sample.source_seed, sample.tags, reasons) == (None, ["a"], [])
    item = json.loads(good_json(tmp_path))[0]
    optional = ("original_description_en", "rationale_short_en", "difficulty", "seed", "tags")
    (sample,), reasons = re_edit(tmp_path, json.dumps([item | dict.fromkeys(optional, nan)]))
    assert (sample.description, sample.source_seed, sample.tags, reasons) == ("", None, [], [])


def test_what_is_needed_is_not_nan(tmp_path):
    _, reasons = rows(
        tmp_path, {"instruction": nan}, {"id": nan}, {"image": nan}, {"category": nan}
    )
    fields = ("instruction", "id", "image", "category")
    for field, reason in zip(fields, reasons, strict=True):
        assert re.fullmatch(f"{field}: expected .*, found nothing", reason)


def test_a_seed_is_read_as_tables_write_it(tmp_path):
    samples, _ = rows(tmp_path, *({"seed": seed} for seed in (42.0, "42", "42.0", " 42 ", "-7")))
    assert [sample.source_seed for sample in samples] == [42, 42, 42, 42, -7]


UNREAD = {
    "made": pa.array([2**58], pa.timestamp("ms")),
    "day": pa.array([2**31 - 1], pa.date32()),
    "took": pa.array([2**62], pa.duration("s")),
    "nested": pa.array([[{"a": [1]}]]),
    "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    "broken": pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers()),
}


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_columns_that_nobody_reads_are_not_decoded(tmp_path, form):
    good = {"id": ["a"], "category": ["c"], "instruction": ["Do."], "image": [formats.draw(0)]}

    def write(table):
        path = tmp_path / f"t.{form.upper()}"
        if form == "parquet":
            pq.write_table(table, path)
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
                out.write_table(table)
        return path

    path = write(pa.table({**good, **UNREAD}))
    assert detect.detect(path) == "table"
    samples, reasons = read(tmp_path, path, categories=["c"])
    assert (len(samples), reasons) == (1, [])
    path = write(pa.table({**good, "seed": UNREAD["made"]}))
    with pytest.raises(BenchmarkError, match="'seed': expected texts, numbers or images, found"):
        read(tmp_path, path, format="table", categories=["c"])
    path = write(pa.table({"other": [1, 2], "category": ["c", "c"]}))
    _, reasons = read(tmp_path, path, format="table", categories=["c"])
    assert len(reasons) == 2


@pytest.mark.parametrize("name", ["t.tsv", "t.xlsx", "t.ndjson", "t.csv.gz", "t"])
def test_a_table_of_an_unknown_kind_is_told_which_are_known(tmp_path, name):
    path = tmp_path / name
    path.write_text("id\tcategory\n1\tc\n")
    known = r"\.csv, \.jsonl, \.parquet, \.arrow"
    with pytest.raises(BenchmarkError, match=f"expected a table .*{known}"):
        read(tmp_path, path, format="table", categories=["c"])
    with pytest.raises(BenchmarkError, match=rf"expected JSON or a file of kind \.json, {known}"):
        detect.detect(path)
    with pytest.raises(BenchmarkError, match=r"a file of kind \.parquet or \.arrow, found"):
        read(tmp_path, path, format="gedit")


@pytest.mark.parametrize(
    ("name", "variant", "named"),
    [
        ("gedit", {}, True),
        ("gedit", {}, False),
        ("gedit", {"saved": True}, False),
        ("table", {"form": "jsonl"}, True),
    ],
)
def test_a_table_is_found_whatever_the_case_of_its_suffix(tmp_path, name, variant, named):
    made = formats.MAKERS[name](tmp_path / "b", 2, **variant)
    (path,) = (p for p in (tmp_path / "b").rglob("*.*") if p.suffix != ".json")
    upper = path.rename(path.with_suffix(path.suffix.upper()))
    settings = made.settings | {"path": upper if named else tmp_path / "b"}
    samples, reasons = read(tmp_path, **settings)
    assert (len(samples), reasons) == (made.samples, [])


def test_ids_that_a_file_system_may_mix_up_are_told_apart_or_rejected(tmp_path):
    names = [
        "Ab",
        "aB",
        "é",
        "e\u0301",
        "x" * 300,
        "x" * 301,
        "CON",
        "nul.txt",
        "..",
        "a/b",
        "ﬁ",
        "fi",
    ]
    samples, reasons = rows(tmp_path, *({"id": name} for name in names))
    ids = [sample.id for sample in samples]
    assert len({name.casefold() for name in ids}) == len(ids)
    assert all("/" not in i and len(i.encode()) < 200 and i.strip(".") for i in ids)
    assert not any(i.upper().startswith(("CON", "NUL")) for i in ids)
    assert [reason.removeprefix("expected each id once, found ")[:6] for reason in reasons] == [
        "'aB' t",
        "'é' a ",
        "'fi' t",
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_any_unicode_encoding_is_read_right(tmp_path, encoding):
    samples, reasons = re_edit(tmp_path, good_json(tmp_path, 2).encode(encoding), language="zh")
    assert reasons == []
    assert [sample.instruction for sample in samples] == ["放开球", "放开球"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda good: b"", "found broken JSON after 0 items"),
        (lambda good: b"\xff" * 100, "expected text in UTF-8 or UTF-16"),
        (lambda good: good[: len(good) // 2].encode(), "found broken JSON after 0 items"),
        (lambda good: b"[" * 2_000_000, "nested too deep"),
        (lambda good: b'{"a":' * 200_000, "nested too deep"),
        (lambda good: b"[" + b" " * 200_000_000, r"expected .*, found the end|larger than"),
        (lambda good: b'["' + b"a" * 150_000_000, "larger than 134,217,728 characters"),
        (lambda good: f"{good} x".encode(), "behind its end"),
        (lambda good: good.replace("}", ",}", 1).encode(), "found broken JSON after 0 items"),
    ],
    ids=range(9),
)
def test_a_hostile_file_is_one_sentence_in_bounded_memory(tmp_path, make, message):
    text = make(good_json(tmp_path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BenchmarkError, match=message):
        re_edit(tmp_path, text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 900_000


def test_a_key_twice_rejects_one_item_and_a_member_twice_one_of_both(tmp_path):
    item = json.loads(good_json(tmp_path))[0]
    twice = json.dumps(item)[:-1] + ', "seed": 7}'
    samples, reasons = re_edit(tmp_path, f"[{twice}, {json.dumps(item)}]")
    assert len(samples) == 1
    assert reasons == ["expected each field once, found 'seed' twice"]
    made = formats.imgedit(tmp_path / "i", 2)
    with open(made.settings["path"], encoding="utf-8") as file:
        text = file.read().replace('"1001"', '"1000"')
    records.write_text(made.settings["path"], text)
    samples, reasons = read(tmp_path, made.settings["path"])
    assert len(samples) == 1
    assert reasons == ["expected each id once, found '1000' a second time"]


def test_links_lead_nowhere_but_to_where_a_model_hub_keeps_files(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(formats.draw(1))
    made = formats.kris(tmp_path / "models" / "snapshots" / "rev", 5)
    folder = tmp_path / "models" / "snapshots" / "rev" / "KRIS_Bench" / "color_change"
    os.remove(folder / "1.png")
    os.symlink(secret, folder / "1.png")
    _, reasons = read(tmp_path, made.settings["path"])
    assert reasons == [
        "ori_img: expected a file in its folder, found 'color_change/1.png', a link that leads out "
        "of it"
    ]
    blobs = tmp_path / "models" / "blobs"
    blobs.mkdir()
    os.rename(secret, blobs / "abc")
    os.remove(folder / "1.png")
    os.symlink(blobs / "abc", folder / "1.png")
    samples, reasons = read(tmp_path, made.settings["path"])
    assert (len(samples), reasons) == (5, [])


def test_what_is_no_file_is_not_waited_for(tmp_path):
    made = formats.imgedit(tmp_path / "i", 1)
    path = tmp_path / "i" / "daily object" / "000000000.jpg"
    path.unlink()
    os.mkfifo(path)
    _, reasons = read(tmp_path, made.settings["path"])
    assert "which is no file" in reasons[0]


def test_an_archive_that_climbs_links_or_unpacks_without_end_gives_nothing(tmp_path):
    made = formats.imgedit(tmp_path / "i", 3, archive="tar")
    with tarfile.open(made.settings["images"], "w") as tar:
        for name, kind in (
            ("../daily object/000000000.jpg", tarfile.REGTYPE),
            ("daily object/000000001.jpg", tarfile.SYMTYPE),
            ("daily object/000000002.jpg", tarfile.LNKTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    _, reasons = read(tmp_path, **made.settings)
    assert len(reasons) == 3
    assert all("found no file" in reason for reason in reasons[1:])
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        for n in range(3):
            file.writestr(f"daily object/{n:09d}.jpg", b"\0" * 110_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, reasons = read(tmp_path, made.settings["path"], images=str(bomb))
    assert all("expected up to" in reason for reason in reasons)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    assert not (tmp_path.parent / "daily object").exists()


@pytest.mark.parametrize("cut", [0, 4, 100, -1, -9])
def test_a_truncated_parquet_is_one_sentence(tmp_path, cut):
    made = formats.gedit(tmp_path / "g", 2)
    with open(made.settings["path"], "rb") as file:
        data = file.read()
    path = tmp_path / "cut.parquet"
    path.write_bytes(data[:cut])
    with pytest.raises(BenchmarkError, match="found a broken table after 0 rows"):
        read(tmp_path, path, format="gedit")


def test_a_parquet_that_unpacks_to_gigabytes_is_refused(tmp_path):
    path = tmp_path / "bomb.parquet"
    schema = pa.schema([("id", pa.string()), ("category", pa.string()), ("image", pa.binary())])
    zeros = pa.array([b"\0" * 2_000_000] * 200, pa.binary())
    names = [pa.array([f"{n}" for n in range(200)]), pa.array(["c"] * 200)]
    table = pa.Table.from_arrays([*names, zeros], schema=schema)
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    del table, zeros
    with pytest.raises(BenchmarkError, match="expected to unpack to at most 200 times its"):
        read(tmp_path, path, format="table", categories=["c"])


def test_a_csv_with_broken_rows_or_columns_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,category,image,instruction\n1,c,x.png\n2,c,y.png,Do.\n")
    _, reasons = read(tmp_path, path, format="table", categories=["c"])
    assert reasons[0] == f"{path}: line 2: expected 4 cells, found 3"
    path.write_text("id,category,image,instruction\n1,c,x.png,Do, and more.\n")
    _, reasons = read(tmp_path, path, format="table", categories=["c"])
    assert reasons[0] == (
        f"{path}: line 2: expected 4 cells, found 5 (a text with a comma stands in double quotes)"
    )
    path.write_text("id,id,category\n1,c,x.png\n")
    with pytest.raises(BenchmarkError, match="expected each column once, found 'id' twice"):
        read(tmp_path, path, format="table", categories=["c"])
    path.write_text('id,category,image,instruction\n1,c,"x')
    with pytest.raises(BenchmarkError, match="found a broken line 2"):
        read(tmp_path, path, format="table", categories=["c"])


@pytest.mark.parametrize("attack", fuzz.ATTACKS, ids=lambda attack: attack.__name__)
def test_fuzzing_finds_nothing(tmp_path, monkeypatch, attack):
    monkeypatch.setenv("FUZZ_FOLDER", str(tmp_path))
    hypothesis.settings(max_examples=100, deadline=None)(attack)()


def test_reading_text_does_not_depend_on_where_chunks_end(tmp_path, monkeypatch):
    from lockstep.benchmark import streams

    path = tmp_path / "x.json"
    given = [{"a": "é\ufeff", "n": -1.5e3, "b": [True, None, "\\u00e9\n"]}, 12345, "x" * 50]
    for chunk in (1, 2, 3, 7, 64):
        monkeypatch.setattr(streams, "CHUNK", chunk)
        for encoding in ("utf-8", "utf-16"):
            path.write_bytes(json.dumps(given, ensure_ascii=False).encode(encoding))
            assert [value for _, value in streams.values(path)] == given
