"""Rows whose bytes lie in a stream one after the other: .npy, members of .npz, safetensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, check_integer
from fillgap.io._names import full_name
from fillgap.io._reading import WRITE_AGAIN, Apply, Block, check_stored, read_ahead, reading
from fillgap.io._scales import Scales
from fillgap.pair import iter_blocks
from fillgap.remote import is_remote

__all__ = ["RawRows", "replaced_rows", "write_blocks"]


@dataclass(eq=False)
class RawRows:
    """A `RowSource` over one array in a binary stream.

    Parameters
    ----------
    path : Path
        The file it is in.
    key : str or None
        The name of the array in it, where it may hold several.
    shape : tuple of int
        (n_samples, n_features).
    stored : numpy dtype
        Type of the bytes in the file, in either byte order.
    offset, size : int
        Where the first entry lies in the stream, and how many bytes there are for the array.
    fortran : bool
        Whether columns, not rows, lie together.
    open : callable
        Returns a new stream; it is a member of an archive or the file itself.
    mappable : bool
        Whether the stream is the file itself, which can be mapped into memory.
    bfloat16 : bool
        Whether the entries, `stored` as uint16, are the upper halves of float32.
    scales : Scales or None
        What the entries, `stored` as int8, are multiplied by.

    Attributes
    ----------
    name : str
        What messages call it.
    dtype : numpy dtype
        Type of the blocks: float16, float32 or float64 in the byte order of this machine.

    Raises
    ------
    InputError, InputTypeError
        If shape, type and size are not those of a complete array of embeddings.
    """

    path: Path
    key: str | None
    shape: tuple[int, int]
    stored: np.dtype[Any]
    offset: int
    size: int
    fortran: bool
    open: Callable[[], BufferedIOBase]
    mappable: bool
    bfloat16: bool = False
    scales: Scales | None = None
    name: str = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.name = full_name(self.path, self.key)
        decoded = self.bfloat16 or self.scales is not None
        self.dtype = np.dtype(np.float32) if decoded else self.stored.newbyteorder("=")
        check_stored(self.shape, self.dtype, self.name)
        expected = math.prod(self.shape) * self.stored.itemsize
        if self.size != expected:
            raise InputError(
                f"{self.name} must be {expected} bytes of entries by its header, got {self.size}. "
                f"{WRITE_AGAIN}"
            )

    def iter_blocks(self, block_rows: int) -> Iterator[Block]:
        """Yield arrays of exactly `block_rows` rows, the last one shorter, from the start.

        The bytes are read, not mapped: pages of a map count as memory of the process.
        """
        check_integer(block_rows, "block_rows", low=1)
        return read_ahead(self.path, self._blocks(block_rows))

    def _blocks(self, block_rows: int) -> Iterator[Block]:
        read = self._read_columns if self.fortran else self._read_rows
        with reading(self.name, "a complete array"):
            stream = self.open()
        spans = [
            (start, min(block_rows, self.shape[0] - start))
            for start in range(0, self.shape[0], block_rows)
        ]
        factors = None if self.scales is None else self.scales.blocks(count for _, count in spans)
        with stream:
            for start, count in spans:
                with reading(self.name, "a complete array"):
                    block = read(stream, start, count)
                    factor = None if factors is None else next(factors)
                yield self._decoded(block) if factor is None else block * factor

    def mapped(self) -> Block | None:
        """Return the array as a memory map, or None where its bytes are not usable as they are."""
        if not self.mappable or self.stored != self.dtype or is_remote(self.path):
            return None
        with reading(self.name, "a complete array"):
            return np.memmap(
                self.path,
                dtype=self.dtype,
                mode="r",
                offset=self.offset,
                shape=self.shape,
                order="F" if self.fortran else "C",
            )

    def _read_rows(self, stream: BufferedIOBase, start: int, count: int) -> NDArray[Any]:
        if start == 0:
            stream.seek(self.offset)
        block = np.empty((count, self.shape[1]), self.stored)
        self._fill(stream, block)
        return block

    def _read_columns(self, stream: BufferedIOBase, start: int, count: int) -> NDArray[Any]:
        """Read the same rows of every column: one seek a column, and no more than the block."""
        columns = np.empty((self.shape[1], count), self.stored)
        for j, column in enumerate(columns):
            stream.seek(self.offset + (j * self.shape[0] + start) * self.stored.itemsize)
            self._fill(stream, column)
        return columns.T

    def _fill(self, stream: BufferedIOBase, array: NDArray[Any]) -> None:
        if stream.readinto(array.data) != array.nbytes:
            raise InputError(
                f"{self.name} must be as long as its header says, got the end of the file "
                f"too early. {WRITE_AGAIN}"
            )

    def _decoded(self, block: NDArray[Any]) -> Block:
        if self.bfloat16:
            return (block.astype(np.uint32) << 16).view(np.float32)
        return block.astype(self.dtype, order="C", copy=False)


def replaced_rows(source: RawRows, apply: Apply) -> tuple[tuple[int, int], Iterator[Block]]:
    """Return the shape, which a header needs first, and the blocks that `apply` makes."""
    blocks = (apply(rows, start) for start, rows in iter_blocks(source, source.name))
    first = [next(blocks)]
    return (source.shape[0], first[0].shape[1]), _joined(first, blocks)


def _joined(first: list[Block], others: Iterator[Block]) -> Iterator[Block]:
    """Yield all blocks; the list is emptied, so that the first is not held until the end."""
    yield first.pop()
    yield from others


def write_blocks(
    blocks: Iterable[NDArray[Any]],
    stored: np.dtype[Any],
    file: IO[bytes],
    *,
    bfloat16: bool = False,
) -> None:
    """Append the rows of all blocks in the type `stored`."""
    for block in blocks:
        if bfloat16:
            bits = np.ascontiguousarray(block, dtype=np.float32).view(np.uint32)
            bits = bits + (0x7FFF + ((bits >> 16) & 1))  # to the nearest, ties to even
            file.write((bits >> 16).astype(stored).data)
        else:
            file.write(np.ascontiguousarray(block, dtype=stored).data)
