"""Files whose names another system wrote are found, or it is told why not."""

import os
import struct
import tarfile
import unicodedata
import zipfile
import zlib

import pytest

from lockstep.benchmark.files import Archive, open_files
from lockstep.errors import SampleError
from lockstep.foreign import files
from lockstep.foreign.files import find_file, read_file

NAME = "物理/é_01.png"
"""As a benchmark gives it."""

STORED = {
    "as it is": NAME,
    "decomposed, as by macOS": unicodedata.normalize("NFD", NAME),
    "upper case": "物理/É_01.PNG",
    "full width": "物理/é_０１.png",
}


def of_bytes(folder, name: bytes, data: bytes) -> None:
    path = os.path.join(os.fsencode(folder), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


@pytest.mark.parametrize("how", STORED)
def test_a_file_is_found_in_any_form_of_its_name(tmp_path, how):
    of_bytes(tmp_path / "images", STORED[how].encode(), b"data")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(f"top/{STORED[how]}", b"data")
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        file.add(tmp_path / "images", "top")
    for place in ("images", "a.zip", "a.tar"):
        assert open_files(tmp_path / place).read(NAME) == b"data", place


def test_a_file_is_found_in_gbk(tmp_path):
    name = "物理/球_01.png"
    of_bytes(tmp_path / "images", name.encode("gbk"), b"data")
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        file.add(tmp_path / "images", "top")
    unflagged_zip(tmp_path / "a.zip", {name.encode("gbk"): b"data"})
    for place in ("images", "a.tar", "a.zip"):
        assert open_files(tmp_path / place).read(name) == b"data", place


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "cp437"])
def test_a_zip_that_does_not_say_how_its_names_are_written_is_read(tmp_path, encoding):
    name = "ü/é.png" if encoding == "cp437" else "物理/é.png"
    unflagged_zip(tmp_path / "a.zip", {name.encode(encoding): b"data"})
    assert open_files(tmp_path / "a.zip").read(name) == b"data"


def test_a_zip_with_the_slashes_of_windows_is_read(tmp_path):
    unflagged_zip(tmp_path / "a.zip", {b"top\\images\\1.png": b"data"})
    assert open_files(tmp_path / "a.zip").read("images/1.png") == b"data"


def unflagged_zip(path, files: dict[bytes, bytes]) -> None:
    """Write a zip whose names are bytes of which it says nothing, as older programs do."""
    body, directory = b"", b""
    for name, data in files.items():
        head = struct.pack(
            "<5HIIIHH", 20, 0, 0, 0, 0, zlib.crc32(data), len(data), len(data), len(name), 0
        )
        directory += b"PK\1\2" + struct.pack("<H", 20) + head
        directory += struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name
        body += b"PK\3\4" + head + name + data
    end = struct.pack("<4HIIH", 0, 0, len(files), len(files), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\5\6" + end)


def test_of_several_names_that_may_be_meant_none_is_guessed(tmp_path):
    for name in ("A.png", "a.PNG"):
        of_bytes(tmp_path / "images", name.encode(), b"data")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("A.png", "a.PNG"):
            file.writestr(name, b"data")
    for place in ("images", "a.zip"):
        files = open_files(tmp_path / place)
        with pytest.raises(
            SampleError, match=r"expected one file 'a\.png' in .*, found 'A.png' and"
        ):
            files.read("a.png")
        assert files.read("A.png") == b"data"
        with pytest.raises(SampleError, match=r"found no file 'b\.png' in"):
            files.read("b.png")


def test_no_other_form_of_a_name_leads_out_of_a_folder(tmp_path):
    (tmp_path / "secret").mkdir()
    of_bytes(tmp_path, b"secret/x.png", b"secret")
    (tmp_path / "images").mkdir()
    os.symlink(tmp_path / "secret", tmp_path / "images" / "OUT")
    with pytest.raises(SampleError, match="a link that leads out of it"):
        open_files(tmp_path / "images").read("out/x.png")
    for name in ("．．/secret/x.png", "‥/secret/x.png", "images/..／secret/x.png"):
        with pytest.raises(SampleError):
            open_files(tmp_path / "images").read(name)


def test_names_of_no_known_writing_are_passed_over(tmp_path):
    of_bytes(tmp_path, b"\xff\xff\x80.png", b"data")
    of_bytes(tmp_path, b"a.png", b"data")
    assert open_files(tmp_path).read("A.png") == b"data"
    assert find_file(tmp_path, "A", [".png"]) == tmp_path / "a.png"
    archive = Archive(tmp_path, {"\udcff\udcff.png": lambda: b"data"})
    with pytest.raises(SampleError, match="found no file"):
        archive.read("b.png")


@pytest.mark.parametrize("name", ["é.txt", "e\u0301.TXT", "É.txt", "é.Txt"])
def test_the_file_of_a_sample_is_found(tmp_path, name):
    of_bytes(tmp_path, name.encode(), b"")
    assert find_file(tmp_path, "é", [".txt"]).name == name
    assert find_file(tmp_path, "e", [".txt"]) is None
    assert find_file(tmp_path / "missing", "é", [".txt"]) is None


def test_the_file_of_a_sample_is_found_by_the_id_that_its_benchmark_gives(tmp_path):
    from lockstep.foreign.ids import safe_id

    of_bytes(tmp_path, b"a b?.png", b"")
    of_bytes(tmp_path, "球_01.png".encode("gbk"), b"")
    assert find_file(tmp_path, safe_id("a b?"), [".png"]).name == "a b?.png"
    assert find_file(tmp_path, "球_01", [".png"]) is not None


def test_a_file_that_comes_later_is_found_and_a_folder_is_listed_once(tmp_path, monkeypatch):
    assert find_file(tmp_path, "a", [".png"]) is None
    of_bytes(tmp_path, b"a.png", b"")
    assert find_file(tmp_path, "a", [".png"]) is not None
    os.utime(tmp_path, (1, 1))
    assert find_file(tmp_path, "a", [".png"]) is not None
    monkeypatch.setattr(files.os, "listdir", lambda path: pytest.fail("listed again"))
    assert find_file(tmp_path, "b", [".png"]) is None


def test_a_file_that_is_none_or_too_large_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SampleError, match="found 'pipe', which is no file"):
        read_file(tmp_path / "pipe", "pipe")
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(SampleError, match="expected up to 10 bytes in 'large', found 11"):
        read_file(tmp_path / "large", "large", 10)


def test_an_id_that_utf8_cannot_hold_is_an_id(tmp_path):
    from lockstep.benchmark.score_files import read_score_file
    from lockstep.editors.rewriting.table import read_texts

    path = tmp_path / "rows.jsonl"
    row = '"category": "physical", "score": 5, "rewritten": "Do it."'
    path.write_text("".join(f'{{"id": "\\ud8{n}", {row}}}\n' for n in ("00", "01")))
    assert len(read_score_file(path).rows) == 2
    assert sorted(read_texts(str(path)).values()) == ["Do it.", "Do it."]
