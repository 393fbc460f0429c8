"""Rows that occur more than once, which must stay equal and score alike.

A matrix product may round the columns at its edges, or those of one panel, in another way than the
others; which ones depends on the processor. Two copies of a caption would then be ranked by chance
and not as level.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["copies", "level_columns", "level_rows"]

Array = NDArray[Any]
Rows = NDArray[np.intp]

#: Columns that are looked at first.
_FEW: Final = 16
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
    n, n_features = sum(len(side) for side in sides), sides[0].shape[1]
    if n < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    # Rows that differ mostly differ in a few columns; only others need be looked at whole.
    few = np.unique(np.linspace(0, n_features - 1, _FEW).astype(np.intp))
    seen = np.concatenate([_hashes(side, few) for side in sides])
    likely = np.flatnonzero(_first_of(seen) != np.arange(n))
    if not len(likely):
        return likely, likely
    likely = np.flatnonzero(np.isin(seen, seen[likely]))
    parts = [_hashes(_rows(sides, likely[at])) for at in _blocks(len(likely), n_features)]
    whole = np.concatenate(parts)
    of = likely[_first_of(whole)]
    copy, first = likely[of != likely], of[of != likely]
    same = [
        (_rows(sides, copy[at]) == _rows(sides, first[at])).all(axis=1)
        for at in _blocks(len(copy), n_features)
    ]
    equal = np.concatenate([np.empty(0, bool), *same])
    return copy[equal], first[equal]


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


def level_rows(mapped: Any, rows: Any) -> Any:
    """Return mapped rows, changed in place, with equal ones for all copies of a row.

    Parameters
    ----------
    mapped : array of shape (n_rows, n_components)
    rows : array of shape (n_rows, n_features)
        What they were mapped from; tensors are left as they are.
    """
    if isinstance(rows, np.ndarray):
        level_columns(mapped.T, rows)
    return mapped


def _first_of(keys: NDArray[np.uint64]) -> Rows:
    """Return where each key occurs for the first time."""
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(first[which], dtype=np.intp)


def _hashes(rows: Array, columns: Rows | None = None) -> NDArray[np.uint64]:
    """Return a number of each row; those equal in these columns have equal ones."""
    n_columns = rows.shape[1] if columns is None else len(columns)
    # There are no whole numbers as wide as an extended float; it is told by its nearest double.
    dtype = rows.dtype if rows.dtype.itemsize <= 8 else np.dtype(np.float64)
    word = np.dtype(f"u{dtype.itemsize}")
    factors, hashes = _factors(n_columns), np.empty(len(rows), dtype=np.uint64)
    for at in _blocks(len(rows), n_columns):
        block = rows[at] if columns is None else rows[at][:, columns]
        words = (np.ascontiguousarray(block, dtype) + dtype.type(0)).view(word)  # no -0
        # Of a difference in the highest bit alone a product keeps that bit and nothing else.
        words = words ^ (words >> word.type(4 * word.itemsize))
        hashes[at] = (words * factors).sum(axis=1)
    return hashes


def _blocks(n: int, n_columns: int) -> list[slice]:
    step = max(1, _BLOCK_BYTES // (8 * n_columns))
    return [slice(at, at + step) for at in range(0, n, step)]


@lru_cache(maxsize=8)
def _factors(n_features: int) -> NDArray[np.uint64]:
    """Return odd numbers, by which every bit of a row has a part in its hash."""
    drawn = np.random.default_rng(0).integers(0, 2**64, n_features, dtype=np.uint64)
    return drawn | np.uint64(1)


def _rows(sides: tuple[Array, ...], numbers: Rows) -> Array:
    """Return some rows, counted through all sides."""
    found = np.empty((len(numbers), sides[0].shape[1]), sides[0].dtype)
    start = 0
    for side in sides:
        inside = (numbers >= start) & (numbers < start + len(side))
        found[inside] = side[numbers[inside] - start]
        start += len(side)
    return found
