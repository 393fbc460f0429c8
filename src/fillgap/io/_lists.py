"""Arrow columns of lists: to rows of an array and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fillgap.errors import InputError, InputTypeError
from fillgap.io._names import Modality, choose_key, full_name
from fillgap.io._reading import (
    WRITE_AGAIN,
    Apply,
    Block,
    check_stored,
    exact_blocks,
    guarded,
    read_ahead,
    reading,
)
from fillgap.pair import BLOCK_ROWS

__all__ = ["ListRows", "array_of", "choose_column", "replaced_batches"]

#: Of all columns of a batch, as stored: pictures in other columns make rows large.
_BATCH_BYTES = 1 << 26
_REMOVE_ROWS = "Remove such rows, and look for a failed encoding."


@dataclass(eq=False)
class ListRows:
    """A `RowSource` over a column of lists of floating point numbers.

    Parameters
    ----------
    path : Path
        The file it is in.
    key : str
        The name of the column.
    n_rows : int
        How many rows the file says it has.
    schema : pyarrow.Schema
        Of the whole file.
    batches : callable
        Called as batches(columns, max_rows); returns record batches with these columns (None: all),
        none of them longer.
    kind : str
        For messages, for example "a Parquet file".

    Raises
    ------
    InputError, InputTypeError
        If the column is not one list of floats a row, or the file has no rows.
    """

    path: Path
    key: str
    n_rows: int
    schema: pa.Schema
    batches: Callable[[list[str] | None, int], Iterable[pa.RecordBatch]]
    kind: str
    name: str = field(init=False)
    shape: tuple[int, int] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.name = full_name(self.path, self.key)
        column_type = self.schema.field(self.key).type
        if not _is_list(column_type) or not pa.types.is_floating(column_type.value_type):
            raise InputTypeError(
                f"{self.name} must be a column of lists of floating point numbers, "
                f"got {column_type}. Name the column with the embeddings, or convert it."
            )
        self.dtype = np.dtype(column_type.value_type.to_pandas_dtype())
        self.shape = (self.n_rows, self._width())
        check_stored(self.shape, self.dtype, self.name)

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
        for batch in guarded(self.batches(columns, max_rows), self.name, self.kind):
            with reading(self.name, self.kind):
                batch.validate(full=True)  # offsets of a damaged file may point anywhere
            yield done, batch
            done += batch.num_rows
        if done != self.n_rows:
            raise InputError(
                f"{self.name} must be {self.n_rows} rows as its file says, got {done}. "
                f"{WRITE_AGAIN}"
            )

    def _width(self) -> int:
        """Return the length of the first list: that of all others is compared with it."""
        for _, batch in self.checked_batches([self.key], 1):
            width = pc.list_value_length(batch.column(self.key))[0].as_py()
            if width is not None:
                return width
            raise InputError(
                f"{self.name} must be numbers in every row, got null in row 0. {_REMOVE_ROWS}"
            )
        return 0

    def rows_of(self, batch: pa.RecordBatch, first_row: int) -> Block:
        """Return the column as an array of shape (rows, n_features).

        Raises
        ------
        InputError
            If a list is null, of another length, or has a null in it; the message says which row.
        """
        with reading(self.name, self.kind):
            column = batch.column(self.key)
            lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
            self._refuse_first(lengths != self.shape[1], lengths, first_row)
            values = column.flatten()
            if values.null_count:
                holes = values.is_null().to_numpy(zero_copy_only=False)
                row = int(np.argmax(holes)) // self.shape[1]
                raise InputError(
                    f"{self.name} must be numbers throughout, got a null in row {first_row + row}. "
                    f"{_REMOVE_ROWS}"
                )
            return values.to_numpy(zero_copy_only=False).reshape(len(column), self.shape[1])

    def _refuse_first(self, bad: Any, lengths: Any, first_row: int) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            got = "null" if lengths[row] < 0 else f"{lengths[row]} numbers"
            raise InputError(
                f"{self.name} must be {self.shape[1]} numbers in every row, as in row 0, "
                f"got {got} in row {first_row + row}. {_REMOVE_ROWS}"
            )


def choose_column(path: Path, schema: pa.Schema, key: str | None, modality: Modality | None) -> str:
    """Return the name of the column of embeddings."""
    usable = {
        column.name: _is_list(column.type) and pa.types.is_floating(column.type.value_type)
        for column in schema
    }
    chosen = choose_key(usable, key, modality, path, "column")
    if schema.names.count(chosen) > 1:
        raise InputError(
            f"{path} must hold one column {chosen!r}, got {schema.names.count(chosen)}. "
            "Rename them, so that it is clear which one is meant."
        )
    return chosen


def replaced_batches(source: ListRows, apply: Apply) -> Iterator[pa.RecordBatch]:
    """Yield all columns of the file, the rows of `source` passed through `apply`."""
    position = source.schema.get_field_index(source.key)
    row_bytes = source.path.stat().st_size // source.n_rows + 1
    max_rows = min(max(_BATCH_BYTES // row_bytes, 1), BLOCK_ROWS)
    for start, batch in source.checked_batches(None, max_rows):
        rows = apply(source.rows_of(batch, start), start)
        column = source.schema.field(position)
        if pa.types.is_fixed_size_list(column.type):
            column = column.with_type(pa.list_(column.type.value_field, rows.shape[1]))
        columns = batch.columns
        columns[position] = array_of(rows, column.type)
        schema = source.schema.set(position, column)
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def array_of(rows: Block, list_type: pa.DataType) -> pa.Array:
    """Return rows as a column of the given list type."""
    values = pa.array(np.ascontiguousarray(rows).ravel(), type=list_type.value_type)
    if pa.types.is_fixed_size_list(list_type):
        return pa.FixedSizeListArray.from_arrays(values, type=list_type)
    large = pa.types.is_large_list(list_type)
    offsets = np.arange(len(rows) + 1, dtype=np.int64 if large else np.int32) * rows.shape[1]
    kind = pa.LargeListArray if large else pa.ListArray
    return kind.from_arrays(pa.array(offsets), values, type=list_type)


def _is_list(column_type: pa.DataType) -> bool:
    types = pa.types
    return (
        types.is_list(column_type)
        or types.is_large_list(column_type)
        or types.is_fixed_size_list(column_type)
    )
