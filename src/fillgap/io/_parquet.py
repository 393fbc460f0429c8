"""Parquet files with the embeddings in a column of lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fillgap.io._lists import ListRows, array_of, choose_column, replaced_batches
from fillgap.io._names import DEFAULT_KEY, Modality
from fillgap.io._reading import Apply, Block, open_binary, reading
from fillgap.remote import is_remote

__all__ = ["KIND", "batches", "open_file", "read_schema", "rewrite", "write"]

KIND = "a Parquet file"


def open_file(path: Path, key: str | None, modality: Modality | None) -> ListRows:
    """Open one column of a file; nothing but its footer and its first row are read."""
    with reading(str(path), KIND), _open(path) as file:
        n_rows, schema = file.metadata.num_rows, file.schema_arrow
        column = choose_column(path, schema, key, modality)
    return ListRows(path, column, n_rows, schema, partial(batches, path), KIND)


def rewrite(source: ListRows, target: Path, apply: Apply) -> None:
    """Write the file of `source` with that column replaced; others and the metadata stay."""
    _write(target, source.key, replaced_batches(source, apply))


def write(
    target: Path,
    key: str | None,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    blocks: Iterable[Block],
) -> None:
    """Write one column of fixed-size lists, given in blocks."""
    column = DEFAULT_KEY if key is None else key
    list_type = pa.list_(pa.from_numpy_dtype(dtype), shape[1])
    schema = pa.schema([pa.field(column, list_type, nullable=False)])
    arrays = (array_of(block.astype(dtype, copy=False), list_type) for block in blocks)
    _write(target, column, (pa.record_batch([array], schema=schema) for array in arrays))


def read_schema(path: Path) -> pa.Schema:
    """Return names and types of all columns."""
    with _open(path) as file:
        return file.schema_arrow


def batches(path: Path, columns: list[str] | None, max_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield these columns (None: all) in batches of at most `max_rows` rows."""
    with _open(path) as file:
        yield from file.iter_batches(batch_size=max_rows, columns=columns)


def _open(path: Path) -> pq.ParquetFile:
    """Open with a small buffer: by default Arrow loads whole row groups ahead."""
    if is_remote(path):  # each request takes its time: fewer, and larger ones
        return pq.ParquetFile(open_binary(path), pre_buffer=False, buffer_size=1 << 23)
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


def _write(target: Path, column: str, parts: Iterator[pa.RecordBatch]) -> None:
    """Write batches, the embeddings as streams of bytes of equal rank: smaller, faster to read."""
    first = next(parts)
    others = [name for name in first.schema.names if name != column]
    with pq.ParquetWriter(
        target,
        first.schema,
        compression="zstd",
        use_dictionary=others,
        write_statistics=others,
        use_byte_stream_split=[f"{column}.list.element"],
    ) as writer:
        writer.write_batch(first)
        for batch in parts:
            writer.write_batch(batch)
