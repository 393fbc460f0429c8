"""Arrow's own files and streams (.arrow, .feather) with the embeddings in a column of lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fillgap.io._lists import ListRows, array_of, choose_column, replaced_batches
from fillgap.io._names import DEFAULT_KEY, Modality
from fillgap.io._reading import Apply, Block, open_binary, reading
from fillgap.remote import is_remote

__all__ = ["KIND", "batches", "open_file", "read_schema", "rewrite", "write"]

KIND = "an Arrow file or stream (a Feather file of version 2)"
_FILE_MAGIC = b"ARROW1"
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


def open_file(path: Path, key: str | None, modality: Modality | None) -> ListRows:
    """Open one column: the heads of all batches are read, since rows are counted nowhere else.

    Compressed files (Feather by default) are thereby decompressed once, a batch at a time.
    """
    with reading(str(path), KIND):
        _check_end(path)
        schema = read_schema(path)
        n_rows = sum(batch.num_rows for batch in _all_batches(path))
        column = choose_column(path, schema, key, modality)
    return ListRows(path, column, n_rows, schema, partial(batches, path), KIND)


def rewrite(source: ListRows, target: Path, apply: Apply) -> None:
    """Write the file or stream of `source` anew with that column replaced."""
    _write(target, replaced_batches(source, apply), stream=not _is_file(source.path))


def write(
    target: Path,
    key: str | None,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    blocks: Iterable[Block],
) -> None:
    """Write one column of fixed-size lists, given in blocks, as an Arrow file."""
    list_type = pa.list_(pa.from_numpy_dtype(dtype), shape[1])
    schema = pa.schema([pa.field(DEFAULT_KEY if key is None else key, list_type, nullable=False)])
    arrays = (array_of(block.astype(dtype, copy=False), list_type) for block in blocks)
    _write(target, (pa.record_batch([array], schema=schema) for array in arrays), stream=False)


def read_schema(path: Path) -> pa.Schema:
    """Return names and types of all columns."""
    with _source(path) as source:
        return _reader(path, source).schema


def batches(path: Path, columns: list[str] | None, max_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield these columns (None: all) in views of at most `max_rows` rows of the mapped file.

    A reader of some columns alone would copy whole batches, so all are read and some selected.
    """
    for batch in _all_batches(path):
        chosen = batch if columns is None else batch.select(columns)
        for start in range(0, batch.num_rows, max_rows):
            yield chosen.slice(start, max_rows)


def _check_end(path: Path) -> None:
    """Refuse a stream without its end mark: Arrow takes one cut between batches for whole."""
    with open_binary(path) as stream:
        stream.seek(max(stream.seek(0, 2) - len(_STREAM_END), 0))
        if not _is_file(path) and stream.read() != _STREAM_END:
            raise ValueError("it ends without the mark of its end")


def _is_file(path: Path) -> bool:
    """Tell a file, which ends in a footer, from a stream, which `datasets` writes as .arrow."""
    with open_binary(path) as stream:
        return stream.read(len(_FILE_MAGIC)) == _FILE_MAGIC


def _source(path: Path) -> pa.NativeFile:
    return pa.PythonFile(open_binary(path)) if is_remote(path) else pa.memory_map(str(path))


def _reader(path: Path, source: pa.NativeFile) -> Any:
    return pa.ipc.open_file(source) if _is_file(path) else pa.ipc.open_stream(source)


def _all_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches as they were written, views of the mapped file if not compressed."""
    with _source(path) as source:
        reader = _reader(path, source)
        if isinstance(reader, pa.RecordBatchStreamReader):
            yield from reader
            return
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)


def _write(target: Path, parts: Iterator[pa.RecordBatch], *, stream: bool) -> None:
    first = next(parts)
    start = pa.ipc.new_stream if stream else pa.ipc.new_file
    with pa.OSFile(str(target), "wb") as sink, start(sink, first.schema) as writer:
        writer.write_batch(first)
        for batch in parts:
            writer.write_batch(batch)
