"""Tables of columns: Parquet files, and folders that `datasets` saved, a few rows at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lockstep.benchmark.files import table_files
from lockstep.errors import BenchmarkError, counted

SUFFIXES = (".parquet", ".arrow")

ROWS = 4
"""Rows in memory at a time: a small file can say that each holds a large image."""

MAX_RATIO = 200
"""Most that a column may grow when it is unpacked; images do not grow, and texts not so much."""

MAX_UNPACKED = 2**28
"""Bytes of a column of one row group that may grow as they like."""


def kinds(path: Path) -> dict[str, pa.DataType]:
    """Return the type of each column.

    Raises:
        BenchmarkError: as `rows`.
    """
    first = _files(path)[0]
    with _told(first, 0):
        if first.suffix.lower() == ".parquet":
            schema = pq.read_schema(first)
        else:
            with pa.memory_map(str(first)) as source, pa.ipc.open_stream(source) as reader:
                schema = reader.schema
        return dict(zip(schema.names, schema.types, strict=True))


def is_plain(kind: pa.DataType) -> bool:
    """Tell whether a column holds numbers, texts, or nothing."""
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    return any(test(kind) for test in (*tests, *texts))


def rows(path: Path, columns: Sequence[str], size: int = ROWS) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, a folder of them, or a folder that `datasets` saved.

    Args:
        columns: those to read, as far as there are such; nothing of others is decoded.
        size: rows in memory at a time.

    Raises:
        BenchmarkError: if there is no file, one is broken, or holds what Python cannot.
    """
    for file in _files(path):
        count = 0
        batches = iter(_batches(file, columns, size))
        while True:
            with _told(file, count):
                if (batch := next(batches, None)) is None:
                    break
                batch.validate(full=True)
                found = _values(file, batch)
            yield from found
            count += len(found)


def _files(path: Path) -> list[Path]:
    found = table_files(path)
    if not found:
        raise BenchmarkError(f"{path}: found no .parquet and no .arrow file in it")
    if found[0].suffix.lower() not in SUFFIXES:
        raise BenchmarkError(
            f"{path}: expected a file of kind {' or '.join(SUFFIXES)}, found {path.suffix!r}"
        )
    return found


@contextmanager
def _told(file: Path, count: int) -> Iterator[None]:
    """Make one sentence of what Arrow says of a broken file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BenchmarkError(
            f"{file}: found a broken table after {counted(count, 'row')} ({reason})"
        ) from None


def _values(file: Path, batch: pa.RecordBatch) -> list[dict[str, Any]]:
    names, found = batch.schema.names, []
    for name, column in zip(names, batch.columns, strict=True):
        try:
            found.append(column.to_pylist())
        except Exception as error:  # of many kinds, such as for a date beyond the year 9999
            raise BenchmarkError(
                f"{file}: column {name!r}: expected texts, numbers or images, found {column.type} "
                f"({error})"
            ) from None
    if not names:
        return [{} for _ in range(batch.num_rows)]
    return [dict(zip(names, row, strict=True)) for row in zip(*found, strict=True)]


def _batches(path: Path, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**16) as file:
            wanted = _wanted(path, file.schema_arrow.names, columns)
            _check_sizes(path, file.metadata, wanted)
            for batch in file.iter_batches(batch_size=size, columns=wanted, use_threads=False):
                # Parquet takes "a.b" for a part of "a"
                yield batch.select(wanted)
    else:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
            wanted = _wanted(path, reader.schema.names, columns)
            for batch in reader:
                for start in range(0, batch.num_rows, size):
                    yield batch.select(wanted).slice(start, size)


def _wanted(path: Path, names: Sequence[str], columns: Sequence[str]) -> list[str]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BenchmarkError(f"{path}: expected each column once, found {twice[0]!r} twice")
    return [name for name in columns if name in names]


def _check_sizes(path: Path, metadata: pq.FileMetaData, wanted: list[str]) -> None:
    """Refuse columns that grow out of all measure when they are read."""
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            if not any(f"{column.path_in_schema}.".startswith(f"{name}.") for name in wanted):
                continue
            packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
            if unpacked > MAX_UNPACKED and unpacked > MAX_RATIO * max(packed, 1):
                raise BenchmarkError(
                    f"{path}: column {column.path_in_schema!r}: expected to unpack to at most "
                    f"{MAX_RATIO} times its {packed:,} bytes, found {unpacked:,}"
                )
