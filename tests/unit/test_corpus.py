"""Files of others that once were a traceback, a hang or too much memory."""

import pytest

from tests import fuzz, fuzz_readers

KEPT = sorted(fuzz.CORPUS.iterdir())


def test_there_is_a_corpus():
    assert KEPT


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_once_failed_is_read_or_refused_with_a_sentence(path, tmp_path):
    # some readers ask for the name of a category
    copy = tmp_path / f"physical{path.suffix}"
    copy.write_bytes(path.read_bytes())
    fuzz_readers.read(path.name.partition(".")[0], copy)


@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_a_good_file_of_each_kind_is_read(name, tmp_path):
    reader = fuzz_readers.READERS[name]
    path = tmp_path / f"physical{reader.suffix}"
    good = reader.good
    path.write_bytes(good.encode() if isinstance(good, str) else good)
    if name not in ("configuration", "report"):
        # whose models and tables are not here
        reader.read(path)
