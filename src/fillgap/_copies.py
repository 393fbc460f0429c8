"""Rows that occur more than once, and must score alike.

A matrix product may round the columns at its edges, or those of one panel, in another way than the
others; which ones depends on the processor. Two copies of a caption would then be ranked by chance
and not as level.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["copies", "level_columns"]

Array = NDArray[Any]
Rows = NDArray[np.intp]

#: Bytes of rows that are hashed at a time: they stay in the cache.
_BLOCK_BYTES: Final = 2**18


def copies(*sides: Array) -> tuple[Rows, Rows]:
    """Return the rows that are equal to an earlier one, and the first row that each is equal to.

    Parameters
    ----------
    *sides : array of shape (n, n_features)
        Of one type. Rows are counted through all sides.

    Returns
    -------
    tuple of array of int of shape (n_copies,)
        Ascending, and none in both.
    """
    keys = np.concatenate([_hashes(side) for side in sides])
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    of = first[which]
    found = np.flatnonzero(of != np.arange(len(of)))
    same = _rows(sides, found) == _rows(sides, of[found])
    equal = found[same.all(axis=1)]
    return equal, of[equal]


def level_columns(scores: Array, rows: Array) -> Array:
    """Return scores, changed in place, with one column for all copies of a row.

    Parameters
    ----------
    scores : array of shape (..., n_rows)
    rows : array of shape (n_rows, n_features)
        What the columns are scores of.
    """
    copy, first = copies(rows)
    if len(copy):
        scores[..., copy] = scores[..., first]
    return scores


def _hashes(rows: Array) -> NDArray[np.uint64]:
    """Return a number of each row; equal rows have equal ones."""
    n, n_features = rows.shape
    word = np.dtype(f"u{rows.dtype.itemsize}")
    factors = np.random.default_rng(0).integers(0, 2**64, n_features, dtype=np.uint64) | np.uint64(
        1
    )
    hashes = np.empty(n, dtype=np.uint64)
    step = max(1, _BLOCK_BYTES // (8 * n_features))
    for at in range(0, n, step):
        block = np.ascontiguousarray(rows[at : at + step]) + rows.dtype.type(0)  # no -0
        words = block.view(word)
        # Of a difference in the highest bit alone a product keeps that bit and nothing else.
        words = words ^ (words >> word.type(4 * word.itemsize))
        hashes[at : at + step] = (words * factors).sum(axis=1)
    return hashes


def _rows(sides: tuple[Array, ...], numbers: Rows) -> Array:
    """Return some rows, counted through all sides."""
    found = np.empty((len(numbers), sides[0].shape[1]), sides[0].dtype)
    start = 0
    for side in sides:
        inside = (numbers >= start) & (numbers < start + len(side))
        found[inside] = side[numbers[inside] - start]
        start += len(side)
    return found
