"""Rows that are read block by block: arrays in memory, memory maps, and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fillgap._checks import check_matrix

__all__ = ["BLOCK_ROWS", "RowSource", "fingerprint", "iter_blocks"]

#: Rows in a block: 16 MiB of 512 float32 columns, so that sums of d × d cost little beside it.
BLOCK_ROWS = 8192


@runtime_checkable
class RowSource(Protocol):
    """Embeddings that can be read in blocks, more than once, without holding them all.

    Attributes
    ----------
    shape : tuple of int
        (n_samples, n_features), known before anything is read.
    dtype : numpy dtype
        float16, float32 or float64.
    name : str
        What messages call it: a path, with the key or column where there is one.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    name: str

    def iter_blocks(self, block_rows: int) -> Iterator[Any]:
        """Yield arrays of exactly `block_rows` rows, the last one shorter, from the start."""
        ...


def iter_blocks(X: Any, what: str, block_rows: int = BLOCK_ROWS) -> Iterator[tuple[int, Any]]:
    """Yield (number of the first row, block) over a `RowSource` or an array.

    Blocks of an array are views; a memory-mapped array is therefore read one block at a time.
    """
    if isinstance(X, RowSource):
        start = 0
        for block in X.iter_blocks(block_rows):
            yield start, block
            start += block.shape[0]
        return
    array = check_matrix(X, what)
    for start in range(0, array.shape[0], block_rows):
        yield start, array[start : start + block_rows]


def fingerprint(*sides: Any) -> str:
    """Return a SHA-256 of the shape, the type and the first block of each side, in hexadecimal.

    It tells data sets apart without reading them whole.
    """
    digest = hashlib.sha256()
    for side in sides:
        digest.update(f"{tuple(side.shape)} {side.dtype}".encode())
        _, block = next(iter_blocks(side, "rows"))
        digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()
