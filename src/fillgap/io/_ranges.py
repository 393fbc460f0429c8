"""Parts of embeddings: single shards, and ranges of rows within them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fillgap.errors import InputError, InputTypeError
from fillgap.io._names import Modality
from fillgap.io._open import adapter_of
from fillgap.io._raw import RawRows
from fillgap.io._reading import Block, exact_blocks
from fillgap.io._shards import place_of, shard_paths
from fillgap.pair import RowSource

__all__ = ["BadShard", "RowRange", "open_shards", "reads_ranges", "rows_between"]


@dataclass(frozen=True)
class BadShard:
    """A shard that cannot be opened, and why."""

    name: str
    reason: str


@dataclass(eq=False)
class RowRange:
    """A `RowSource` over some rows of another one, for formats that are read from their start.

    Parameters
    ----------
    source : RowSource
        Where the rows are.
    start, stop : int
        Which of them: from `start` on, before `stop`.
    """

    source: RowSource
    start: int
    stop: int
    name: str = field(init=False)
    shape: tuple[int, int] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.name, self.dtype = self.source.name, self.source.dtype
        self.shape = (self.stop - self.start, self.source.shape[1])

    def iter_blocks(self, block_rows: int) -> Iterator[Block]:
        """Yield arrays of exactly `block_rows` rows, the last one shorter."""
        return exact_blocks(self._chunks(block_rows), block_rows)

    def _chunks(self, block_rows: int) -> Iterator[Block]:
        at = 0
        for block in self.source.iter_blocks(block_rows):
            first, last = max(self.start - at, 0), min(self.stop - at, len(block))
            if first < last:
                yield block[first:last]
            at += len(block)
            if at >= self.stop:
                return


def open_shards(path: str | Path, modality: Modality | None = None) -> list[RowSource | BadShard]:
    """Open each file that a path stands for by itself; one that cannot be read is a `BadShard`.

    Parameters
    ----------
    path, modality
        As for `open_rows`.

    Raises
    ------
    InputError
        If the path stands for nothing.
    """
    place, key = place_of(path, modality)
    return [_opened(file, key, modality) for file in shard_paths(place)]


def _opened(file: Path, key: str | None, modality: Modality | None) -> RowSource | BadShard:
    try:
        return adapter_of(file).open_file(file, key, modality)
    except (InputError, InputTypeError) as error:
        return BadShard(str(file), str(error))


def reads_ranges(source: RowSource) -> bool:
    """Tell whether any range of rows can be read without reading what comes before it."""
    return isinstance(source, RawRows) and source.mappable and not source.fortran


def rows_between(source: RowSource, start: int, stop: int) -> RowSource:
    """Return the rows of `source` from `start` on and before `stop`, as a source of their own."""
    if (start, stop) == (0, source.shape[0]):
        return source
    if not isinstance(source, RawRows) or source.fortran:
        return RowRange(source, start, stop)
    bytes_per_row = source.shape[1] * source.stored.itemsize
    return replace(
        source,
        shape=(stop - start, source.shape[1]),
        offset=source.offset + start * bytes_per_row,
        size=(stop - start) * bytes_per_row,
        scales=None if source.scales is None else source.scales.since(start),
    )
