"""Tables of Parquet and Arrow: embeddings in a column of lists, and what stands beside them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, InputTypeError
from fillgap.files import missing_path
from fillgap.io.arrays import (
    RawRows,
    open_npy,
    open_npz,
    open_safetensors,
    write_npy,
    write_npz,
    write_safetensors,
)
from fillgap.io.names import (
    DEFAULT_KEY,
    WRITE_AGAIN,
    Apply,
    Block,
    Modality,
    NewRows,
    check_stored,
    choose_key,
    exact_blocks,
    full_name,
    guarded,
    listed,
    read_ahead,
    reading,
    split_key,
)
from fillgap.pair import BLOCK_ROWS
from fillgap.remote import is_remote

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: Names under which people keep them, the likeliest first; compared without regard to case.
CAPTIONS = ("caption", "captions", "text", "texts")
IDS = ("id", "key", "image_path", "url")
INDEX = ("image_index",)

#: Of all columns of a batch, as stored: pictures in other columns make rows large.
_BATCH_BYTES = 1 << 26
_REMOVE_ROWS = "Remove such rows, and look for a failed encoding."


class ListRows:
    """A `RowSource` over a column of lists of floats, in a table that says it has `n_rows`."""

    def __init__(self, path: Path, key: str, n_rows: int, schema: pa.Schema, table: Table) -> None:
        self.path, self.key, self.n_rows = path, key, n_rows
        self.schema, self.table = schema, table
        self.name = full_name(path, key)
        column_type = schema.field(key).type
        if not _holds_floats(column_type):
            raise InputTypeError(
                f"{self.name} must be a column of lists of floating point numbers, "
                f"got {column_type}. Name the column with the embeddings, or convert it."
            )
        self.dtype = np.dtype(column_type.value_type.to_pandas_dtype())
        self.shape = (n_rows, self._width())
        check_stored(self.shape, self.dtype, self.name)

    def _width(self) -> int:
        """Return the length of the first list: that of all others is compared with it."""
        for _, batch in self.checked_batches([self.key], 1):
            numbers = batch.column(self.key)[0].as_py()
            if numbers is not None:
                return len(numbers)
            raise InputError(
                f"{self.name} must be numbers in every row, got null in row 0. {_REMOVE_ROWS}"
            )
        return 0

    def iter_blocks(self, block_rows: int) -> Iterator[Block]:
        """Yield arrays of exactly `block_rows` rows, the last one shorter, from the start."""
        batches = self.checked_batches([self.key], block_rows)
        rows = (self.rows_of(batch, first) for first, batch in batches)
        return read_ahead(self.path, exact_blocks(rows, block_rows))

    def checked_batches(
        self, columns: list[str] | None, max_rows: int
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (number of the first row, batch); refuse other than the stated number of rows."""
        done = 0
        batches = self.table.batches(self.path, columns, max_rows)
        for batch in guarded(batches, self.name, self.table.kind):
            with reading(self.name, self.table.kind):
                batch.validate(full=True)  # offsets of a damaged file may point anywhere
            yield done, batch
            done += batch.num_rows
        if done != self.n_rows:
            raise InputError(
                f"{self.name} must be {self.n_rows} rows as its file says, got {done}. "
                f"{WRITE_AGAIN}"
            )

    def rows_of(self, batch: pa.RecordBatch, first_row: int) -> Block:
        """Return the column as an array, or refuse its first list that is null or not full."""
        import pyarrow.compute as pc

        with reading(self.name, self.table.kind):
            column = batch.column(self.key)
            lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
            others = lengths != self.shape[1]
            if others.any():
                row = int(np.argmax(others))
                got = "null" if lengths[row] < 0 else f"{lengths[row]} numbers"
                raise InputError(
                    f"{self.name} must be {self.shape[1]} numbers in every row, as in row 0, "
                    f"got {got} in row {first_row + row}. {_REMOVE_ROWS}"
                )
            values = column.flatten()
            if values.null_count:
                holes = values.is_null().to_numpy(zero_copy_only=False)
                row = int(np.argmax(holes)) // self.shape[1]
                raise InputError(
                    f"{self.name} must be numbers throughout, got a null in row {first_row + row}. "
                    f"{_REMOVE_ROWS}"
                )
            return values.to_numpy(zero_copy_only=False).reshape(len(column), self.shape[1])


class Table(NamedTuple):
    """How one kind of table is read and written, in batches of rows.

    `batches(path, columns, max_rows)` gives these columns, or all for None;
    `write(target, key, batches, like)` writes them, the embeddings in the column `key`, as the
    file `like` is written.
    """

    kind: str
    schema: Callable[[Path], pa.Schema]
    count: Callable[[Path], int]
    batches: Callable[[Path, list[str] | None, int], Iterator[pa.RecordBatch]]
    write: Callable[[Path, str, Iterator[pa.RecordBatch], Path | None], None]


def open_column(table: Table, path: Path, key: str | None, modality: Modality | None) -> ListRows:
    """Open the column of that name, or the one that stands out."""
    with reading(str(path), table.kind):
        schema, n_rows = table.schema(path), table.count(path)
        usable = {column.name: _holds_floats(column.type) for column in schema}
        key = choose_key(usable, key, modality, path, "column")
        if schema.names.count(key) > 1:
            raise InputError(
                f"{path} must hold one column {key!r}, got {schema.names.count(key)}. "
                "Rename them, so that it is clear which one is meant."
            )
    return ListRows(path, key, n_rows, schema, table)


def write_column(table: Table, target: Path, key: str | None, rows: NewRows) -> None:
    """Write one column of fixed-size lists."""
    import pyarrow as pa

    key = DEFAULT_KEY if key is None else key
    kind = pa.list_(pa.from_numpy_dtype(rows.dtype), rows.shape[1])
    schema = pa.schema([pa.field(key, kind, nullable=False)])
    arrays = (_column_of(block.astype(rows.dtype, copy=False), kind) for block in rows.blocks)
    batches = (pa.record_batch([array], schema=schema) for array in arrays)
    table.write(target, key, batches, None)


def rewrite_column(source: ListRows, target: Path, apply: Apply) -> None:
    """Write a copy, each block of `source` passed through `apply`; other columns stay."""
    source.table.write(target, source.key, _rewritten(source, apply), source.path)


def _rewritten(source: ListRows, apply: Apply) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    position = source.schema.get_field_index(source.key)
    row_bytes = source.path.stat().st_size // source.n_rows + 1
    max_rows = min(max(_BATCH_BYTES // row_bytes, 1), BLOCK_ROWS)
    for start, batch in source.checked_batches(None, max_rows):
        rows = apply(source.rows_of(batch, start), start)
        column = source.schema.field(position)
        if pa.types.is_fixed_size_list(column.type):
            column = column.with_type(pa.list_(column.type.value_field, rows.shape[1]))
        columns = batch.columns
        columns[position] = _column_of(rows, column.type)
        schema = source.schema.set(position, column)
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _holds_floats(column_type: pa.DataType) -> bool:
    from pyarrow import types

    is_list = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(test(column_type) for test in is_list) and types.is_floating(column_type.value_type)


def _column_of(rows: Block, list_type: pa.DataType) -> pa.Array:
    """Return rows as a column of the given list type."""
    import pyarrow as pa

    values = pa.array(np.ascontiguousarray(rows).ravel(), type=list_type.value_type)
    if pa.types.is_fixed_size_list(list_type):
        return pa.FixedSizeListArray.from_arrays(values, type=list_type)
    large = pa.types.is_large_list(list_type)
    offsets = np.arange(len(rows) + 1, dtype=np.int64 if large else np.int32) * rows.shape[1]
    kind = pa.LargeListArray if large else pa.ListArray
    return kind.from_arrays(pa.array(offsets), values, type=list_type)


def _open_parquet(path: Path) -> pq.ParquetFile:
    """Open with a small buffer: by default Arrow loads whole row groups ahead."""
    import pyarrow.parquet as pq

    if is_remote(path):  # each request takes its time: fewer, and larger ones
        return pq.ParquetFile(path.open("rb"), pre_buffer=False, buffer_size=1 << 23)
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


def _parquet_schema(path: Path) -> pa.Schema:
    with _open_parquet(path) as file:
        return file.schema_arrow


def _parquet_count(path: Path) -> int:
    with _open_parquet(path) as file:
        return file.metadata.num_rows


def _parquet_batches(
    path: Path, columns: list[str] | None, max_rows: int
) -> Iterator[pa.RecordBatch]:
    with _open_parquet(path) as file:
        yield from file.iter_batches(batch_size=max_rows, columns=columns)


def _write_parquet(
    target: Path, key: str, batches: Iterator[pa.RecordBatch], _like: Path | None
) -> None:
    """Write the embeddings as streams of bytes of equal rank: smaller, faster to read."""
    import pyarrow.parquet as pq

    first = next(batches)
    others = [name for name in first.schema.names if name != key]
    with pq.ParquetWriter(
        target,
        first.schema,
        compression="zstd",
        use_dictionary=others,
        write_statistics=others,
        use_byte_stream_split=[f"{key}.list.element"],
    ) as writer:
        for batch in chain([first], batches):
            writer.write_batch(batch)


def _is_ipc_file(path: Path) -> bool:
    """Tell a file, which ends in a footer, from a stream, which `datasets` writes as .arrow."""
    with path.open("rb") as stream:
        return stream.read(6) == b"ARROW1"


@contextmanager
def _ipc_reader(path: Path) -> Iterator[Any]:
    import pyarrow as pa

    opened = pa.PythonFile(path.open("rb")) if is_remote(path) else pa.memory_map(str(path))
    with opened as source:
        yield pa.ipc.open_file(source) if _is_ipc_file(path) else pa.ipc.open_stream(source)


def _ipc_schema(path: Path) -> pa.Schema:
    with _ipc_reader(path) as reader:
        return reader.schema


def _ipc_count(path: Path) -> int:
    """Count by the heads of all batches: compressed ones are decompressed, one at a time."""
    end = b"\xff\xff\xff\xff\0\0\0\0"
    with path.open("rb") as stream:
        stream.seek(max(stream.seek(0, 2) - len(end), 0))
        if not _is_ipc_file(path) and stream.read() != end:  # Arrow takes what is left for whole
            raise ValueError("it ends without the mark of its end")
    return sum(batch.num_rows for batch in _whole_ipc_batches(path))


def _whole_ipc_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches as they were written, views of the mapped file if not compressed."""
    with _ipc_reader(path) as reader:
        if _is_ipc_file(path):
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            yield from reader


def _ipc_batches(path: Path, columns: list[str] | None, max_rows: int) -> Iterator[pa.RecordBatch]:
    """Select from all columns: a reader of some alone would copy whole batches."""
    for batch in _whole_ipc_batches(path):
        chosen = batch if columns is None else batch.select(columns)
        for start in range(0, batch.num_rows, max_rows):
            yield chosen.slice(start, max_rows)


def _write_ipc(
    target: Path, _key: str, batches: Iterator[pa.RecordBatch], like: Path | None
) -> None:
    import pyarrow as pa

    first = next(batches)
    start = pa.ipc.new_file if like is None or _is_ipc_file(like) else pa.ipc.new_stream
    with pa.OSFile(str(target), "wb") as sink, start(sink, first.schema) as writer:
        for batch in chain([first], batches):
            writer.write_batch(batch)


class Format(NamedTuple):
    """How files of one suffix are opened and written; with columns, how these are read."""

    open_file: Callable[[Path, str | None, Modality | None], RawRows | ListRows]
    write: Callable[[Path, str | None, NewRows], None]
    table: Table | None = None


def _format_of_tables(table: Table) -> Format:
    return Format(partial(open_column, table), partial(write_column, table), table)


_PARQUET = Table(
    "a Parquet file", _parquet_schema, _parquet_count, _parquet_batches, _write_parquet
)
_IPC = Table(
    "an Arrow file or stream (a Feather file of version 2)",
    _ipc_schema,
    _ipc_count,
    _ipc_batches,
    _write_ipc,
)
FORMATS = {
    ".npy": Format(open_npy, write_npy),
    ".npz": Format(open_npz, write_npz),
    ".safetensors": Format(open_safetensors, write_safetensors),
    ".parquet": _format_of_tables(_PARQUET),
    ".arrow": _format_of_tables(_IPC),
    ".feather": _format_of_tables(_IPC),
}
TABLE_SUFFIXES = tuple(suffix for suffix, form in FORMATS.items() if form.table is not None)


def format_of(path: Path) -> Format:
    """Return how a file is opened and written, by its suffix."""
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise InputError(
            f"{path} must end in one of {', '.join(FORMATS)}, got {path.suffix!r}. "
            "Convert it, for example with numpy.save."
        )
    return form


def find_column(paths: Sequence[Path], names: Sequence[str]) -> str | None:
    """Return the first of `names` that every table has as a column of plain values."""
    flat = [
        {name.lower(): name for name, is_flat in _columns(path).items() if is_flat}
        for path in paths
    ]
    shared = [name for name in names if all(name in columns for columns in flat)]
    return flat[0][shared[0]] if shared else None


def read_column(paths: Sequence[Path], name: str) -> list[Any]:
    """Return one column of several tables, one after the other, as plain Python values."""
    values: list[Any] = []
    for path in paths:
        table = _table(path)
        with reading(full_name(path, name), table.kind):
            for batch in table.batches(path, [name], 1 << 16):
                values += batch.column(name).to_pylist()
    return values


def _columns(path: Path) -> dict[str, bool]:
    """Return the names of the columns, and whether each holds plain values."""
    table = _table(path)
    with reading(str(path), table.kind):
        return {column.name: not column.type.num_fields for column in table.schema(path)}


def _table(path: Path) -> Table:
    form = FORMATS.get(path.suffix.lower())
    if form is None or form.table is None:
        raise InputError(
            f"{path} must be a file with columns ({', '.join(TABLE_SUFFIXES)}), "
            f"got {path.suffix!r}. Convert it first."
        )
    return form.table


def read_captions(spec: str | Path) -> list[str]:
    """Return the texts in a file, with nothing for what is missing.

    Parameters
    ----------
    spec : str or path
        A .txt file with one a line, a .json file with a list of strings, or a .csv, .parquet,
        .arrow or .feather file with a column `caption` or one named as in "file.csv:title".
    """
    path, key = _existing(spec)
    suffix = path.suffix.lower()
    if suffix == ".txt":
        with reading(str(path), "a text file in UTF-8"):
            text = path.read_text(encoding="utf-8-sig")
        values = text.removesuffix("\n").split("\n")  # a caption may hold other separators
    elif suffix == ".json":
        with reading(str(path), "a JSON file"):
            values = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(values, list):
            raise InputTypeError(
                f"{path} must be a list of texts, got {type(values).__name__}. "
                "Write one JSON list with a string for each row."
            )
    else:
        read = _csv_column if suffix == ".csv" else _table_column
        values = read(path, key, CAPTIONS)
    texts = ["" if value is None else value for value in values]
    for row, value in enumerate(texts):
        if not isinstance(value, str):
            raise InputTypeError(
                f"{full_name(path, key)} must be text in every row, got {value!r:.40} in row "
                f"{row}. Name the column that holds the captions."
            )
    return texts


def read_index(spec: str | Path) -> NDArray[np.integer[Any]]:
    """Return row numbers: a 1-D .npy file, or a column (default `image_index`) of a table."""
    path, key = _existing(spec)
    if path.suffix.lower() == ".npy":
        with reading(str(path), "an .npy file of row numbers"), path.open("rb") as stream:
            index = np.load(stream, allow_pickle=False)
    else:
        index = np.asarray(_table_column(path, key, INDEX))
    if index.dtype.kind not in "iu" or index.ndim != 1:
        raise InputTypeError(
            f"{full_name(path, key)} must be a 1-D list of row numbers, "
            f"got {index.dtype} of shape {index.shape}. Count the rows of the images from 0."
        )
    return index


def _existing(spec: str | Path) -> tuple[Path, str | None]:
    path, key = split_key(spec)
    if not path.is_file():
        raise missing_path(path)
    return path, key


def _csv_column(path: Path, key: str | None, names: Sequence[str]) -> list[Any]:
    with (
        reading(str(path), "a CSV file in UTF-8"),
        path.open(encoding="utf-8-sig", newline="") as file,
    ):
        rows = list(csv.reader(file, strict=True))
    header = rows[0] if rows else []
    lowered = [name.lower() for name in header]
    wanted = [header.index(key)] if key in header else []
    if key is None:
        wanted = [lowered.index(name) for name in names if name in lowered]
    if not wanted:
        raise _no_column(path, key, names, header)
    return [row[wanted[0]] if wanted[0] < len(row) else None for row in rows[1:] if row]


def _table_column(path: Path, key: str | None, names: Sequence[str]) -> list[Any]:
    column = find_column([path], names) if key is None else key
    present = list(_columns(path))
    if column is None or column not in present:
        raise _no_column(path, key, names, present)
    return read_column([path], column)


def _no_column(
    path: Path, key: str | None, names: Sequence[str], present: Sequence[str]
) -> InputError:
    wanted = " or ".join(repr(name) for name in (names if key is None else (key,)))
    return InputError(
        f"{path} must hold the column {wanted}, got {listed(present)}. "
        "Name one of these behind a colon."
    )
