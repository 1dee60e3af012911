"""Tables of columns: Parquet files, and folders that `datasets` saved, a few rows at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lockstep.benchmark.files import table_files
from lockstep.errors import BenchmarkError

ROWS = 4
"""Rows in memory at a time: a small file can say that each holds a large image."""

MAX_RATIO = 200
"""Most that a column may grow when it is unpacked; images do not grow, and texts not so much."""

MAX_UNPACKED = 2**28
"""Bytes of a column of one row group that may grow as they like."""


def rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, a folder of them, or a folder that `datasets` saved.

    Args:
        columns: those to read, as far as there are such; None reads all.

    Raises:
        BenchmarkError: if there is none, or one is broken.
    """
    found = table_files(path)
    if not found:
        raise BenchmarkError(f"{path}: found no .parquet and no .arrow file in it")
    for file in found:
        count = 0
        try:
            batches = _parquet(file, columns) if file.suffix == ".parquet" else _arrow(file)
            for batch in batches:
                batch.validate(full=True)
                for row in batch.to_pylist():
                    yield row
                    count += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BenchmarkError(
                f"{file}: found a broken table after {count} rows ({reason})"
            ) from None


def _parquet(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**16) as file:
        names = file.schema_arrow.names
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise BenchmarkError(f"{path}: found column {sorted(twice)[0]!r} twice")
        _check_sizes(path, file.metadata)
        wanted = None if columns is None else [name for name in columns if name in names]
        yield from file.iter_batches(batch_size=ROWS, columns=wanted, use_threads=False)


def _check_sizes(path: Path, metadata: pq.FileMetaData) -> None:
    """Refuse a file that grows out of all measure when it is read."""
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
            if unpacked > MAX_UNPACKED and unpacked > MAX_RATIO * max(packed, 1):
                raise BenchmarkError(
                    f"{path}: found column {column.path_in_schema!r} of {packed:,} bytes that "
                    f"unpack to {unpacked:,}, accepted is up to {MAX_RATIO} times as many"
                )


def _arrow(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, ROWS):
                yield batch.slice(start, ROWS)
