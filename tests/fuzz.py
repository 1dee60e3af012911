"""Broken files of every kind that others may make: each is read, or refused with a sentence.

    python -m tests.fuzz 3600        for an hour; what it finds is printed, and shrunk

No file may take more than `MAX_SECONDS`, nor all of them more than `MAX_MEMORY`. Beside benchmarks
they are what `tests/fuzz_readers.py` names; what fails there is kept in `tests/corpus/`, which
`tests/unit/test_corpus.py` reads. `tests/unit/test_hostile.py` breaks benchmarks for a short time.
"""

import copy
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hypothesis
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from lockstep.benchmark import intake
from lockstep.benchmark.score_files import read_score_file
from lockstep.benchmark.settings import BenchmarkSettings
from lockstep.errors import LockstepError
from lockstep.foreign import images
from lockstep.foreign.quarantine import Quarantine
from tests import formats, fuzz_readers
from tests.conftest import ROOT

MAX_SECONDS = 10.0
"""Of the processor for one file."""

MAX_MEMORY = 1024
"""MiB for all of them."""

CORPUS = ROOT / "tests" / "corpus"
"""Files that once failed: `{reader}.{what}{suffix}`."""

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("re-edit", {}),
    ("gedit", {}),
    ("gedit", {"saved": True}),
    ("imgedit", {}),
    ("imgedit", {"archive": "tar"}),
    ("imgedit", {"archive": "zip"}),
    ("kris", {}),
    ("rise", {}),
    ("uniredit", {}),
    ("table", {}),
    ("table", {"form": "jsonl"}),
    ("table", {"form": "parquet"}),
    ("table", {"form": "folder"}),
]

ODD = [
    *(None, True, 0, -1, 1e308, 10**30, float("nan"), "", " ", ".", "..", "/", "\\", "CON"),
    *("../../x", "/etc/passwd", "C:\\x", "a/../b", "\ud800", "\0", "\x1b[2J", "é", "e\u0301"),
    *("<svg/>", "data:,", "NaN", "x" * 300, "名" * 300, [], {}, [[]], {"a": 1}, ["a", None, 3]),
]
"""Values that a field may have."""

odd = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)

bites = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "end"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)
"""Changes of a file's bytes: kind, place, and new bytes."""

changes = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 12), odd), min_size=1, max_size=4)
"""Changes of a JSON file's fields: item, field, and new value."""


def bitten(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """Return bytes with some changed."""
    for kind, share, new in changes:
        place = int(share * len(data))
        match kind:
            case "set":
                data = data[:place] + new + data[place + len(new) :]
            case "cut":
                data = data[:place] + data[place + len(new) ** 3 :]
            case "insert":
                data = data[:place] + new + data[place:]
            case "end":
                data = data[:place]
    return data


def attempt(settings: dict[str, Any], folder: Path) -> None:
    """Prepare a benchmark; a sentence is fine, any other exception is not."""
    outside = {path for path in folder.rglob("*") if "manifest" not in path.parts}
    try:
        found = BenchmarkSettings(**settings)
        counts = intake.prepare(found, folder / "manifest")
        assert sum(counts.samples.values()) + counts.rejected + sum(counts.left_out.values()) >= 0
    except (LockstepError, ValueError) as error:
        # a ValueError is how a section of the configuration tells a mistake
        assert isinstance(error, LockstepError) or type(error).__name__ == "ValidationError", error
        assert str(error).strip()
    written = {path for path in folder.rglob("*") if "manifest" not in path.parts}
    assert written == outside, written - outside


@given(
    variant=st.sampled_from(VARIANTS),
    file=st.integers(0, 20),
    bytes_=bites,
    fields=changes,
    told=st.booleans(),
    structured=st.booleans(),
)
def attack(variant, file, bytes_, fields, told, structured):
    """Change one file of a benchmark, its bytes or its fields, and read it."""
    name, options = variant
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=os.environ.get("FUZZ_FOLDER")))
    try:
        made = formats.MAKERS[name](folder / "b", 3, **options)
        paths = sorted(path for path in (folder / "b").rglob("*") if path.is_file())
        listed = [path for path in paths if path.suffix == ".json"]
        if structured and listed:
            path = listed[file % len(listed)]
            path.write_text(changed(json.loads(path.read_text()), fields), errors="surrogatepass")
        else:
            path = paths[file % len(paths)]
            path.write_bytes(bitten(path.read_bytes(), bytes_))
        attempt(made.settings | ({"format": name} if told else {}), folder)
    finally:
        shutil.rmtree(folder)


PIECES = [
    *(b'"\\ud800"', b"\\ud800", b"1e999", b"-0", b"NaN", b"9" * 5000, b"[" * 3000, b"{" * 3000),
    *(
        b'{"a":' * 1000,
        b"\0",
        b"\x1b[2J",
        b"\xff",
        b"\xef\xbb\xbf",
        "\u202e".encode(),
        b"'=1",
        b'"',
    ),
    *(b"{{ ", b"{% for x in instruction %}", b"(" * 500, b"&a [*a]", b"<<: ", b"!!python/name:os"),
    *(b"null", b"true", b"{}", b"[]", b"../../x", b"\r", b"\n\n", b",,,,", b"a" * 100_000),
]
"""What readers stumble over."""

breaks = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.sampled_from(PIECES)),
    max_size=3,
)
"""Pieces put into a file: place, bytes that go for it, and the piece."""


@given(name=st.sampled_from(sorted(fuzz_readers.READERS)), pieces=breaks, bytes_=bites)
def attack_reader(name, pieces, bytes_):
    """Break a good file and have it read; one that fails is kept."""
    reader = fuzz_readers.READERS[name]
    data = reader.good.encode() if isinstance(reader.good, str) else reader.good
    for share, gone, piece in pieces:
        place = int(share * len(data))
        data = data[:place] + piece + data[place + gone :]
    # pieces alone leave more of a file's form than bytes that changed
    data = data if pieces else bitten(data, bytes_)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=os.environ.get("FUZZ_FOLDER")))
    try:
        path = folder / f"physical{reader.suffix}"
        path.write_bytes(data)
        began = time.process_time()
        fuzz_readers.read(name, path)
        assert time.process_time() - began < MAX_SECONDS, name
    except BaseException:
        # the last one that fails is the shortest
        (CORPUS / f"{name}.found{reader.suffix}").write_bytes(data)
        raise
    finally:
        shutil.rmtree(folder)


SCORES = [
    {"editor": "e", "category": "物理", "id": "é/1", "score": 7.25, "note": "good"},
    {"editor": "e", "category": "physical", "id": "b", "score": None, "note": None},
    {"editor": "f", "category": "c", "id": "b", "score": 10, "note": "NA"},
]


@given(form=st.sampled_from(["csv", "jsonl", "parquet"]), bytes_=bites, fields=changes)
def attack_scores(form, bytes_, fields):
    """Change a file of scores, its bytes or its fields, and read it as a judge's and as humans'."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=os.environ.get("FUZZ_FOLDER")))
    try:
        path = folder / f"scores.{form}"
        rows = json.loads(changed(copy.deepcopy(SCORES), fields)) if form == "jsonl" else SCORES
        write_scores(path, rows)
        if form != "jsonl" or len(bytes_) > 1:
            path.write_bytes(bitten(path.read_bytes(), bytes_))
        for read in (read_score_file, fuzz_readers.read_people):
            try:
                read(path)
            except LockstepError as error:
                assert str(error).strip()
    finally:
        shutil.rmtree(folder)


def write_scores(path: Path, rows: list[dict[str, Any]]) -> None:
    match path.suffix:
        case ".csv":
            pd.DataFrame(rows).to_csv(path, index=False)
        case ".parquet":
            pd.DataFrame(rows).to_parquet(path)
        case ".jsonl":
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")


@given(form=st.sampled_from(["PNG", "JPEG", "WEBP", "AVIF"]), bytes_=bites)
def attack_image(form, bytes_):
    """Change an image's bytes; it is decoded, refused, or ends a decoder that is not ours."""
    data = bitten(formats.draw(0, form=form), bytes_)
    QUARANTINE.ask(data, 10**6)
    try:
        QUARANTINE.answer()
    except LockstepError as error:
        assert str(error).strip()
    images.has_alpha(data)


QUARANTINE = Quarantine()

ATTACKS = [attack, attack_reader, attack_scores, attack_image]


def changed(value: Any, fields: list[tuple[int, int, Any]]) -> str:
    """Return a benchmark's JSON with other values in some fields of some items."""
    items = list(value.values()) if isinstance(value, dict) else value
    for item, field, new in fields if items else ():
        chosen = items[item % len(items)]
        if isinstance(chosen, dict) and chosen:
            chosen[sorted(chosen)[field % len(chosen)]] = new
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    began = time.monotonic()
    examples = 0
    settings = hypothesis.settings(
        max_examples=500,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    attacks = list(map(settings, ATTACKS))
    while time.monotonic() - began < seconds:
        for each in attacks:
            each()
            examples += 500
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{examples} files in {time.monotonic() - began:.0f} s, {peak:.0f} MiB", flush=True)
        assert peak < MAX_MEMORY, f"{peak:.0f} MiB, expected less than {MAX_MEMORY}"


if __name__ == "__main__":
    main()
