"""Exact search: the largest inner products of queries with rows that need not fit into memory.

The rows are multiplied in blocks. A block is folded into maxima over groups of its columns; only
groups that reach the k-th best score found so far are looked at, so that nothing is partitioned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Part", "nearest"]

Array = NDArray[Any]

#: Scores in a block: 4 MB of float32, which a cache holds.
_BLOCK_SCORES = 2**20
#: Queries multiplied at a time.
_MOST_QUERIES = 256
#: Columns of a group at most; a block has at least this many times k groups.
_LONGEST_FOLD, _GROUPS_PER_K = 32, 4


@dataclass(frozen=True, eq=False)
class Part:
    """Rows that are searched together.

    Attributes
    ----------
    rows : list of array of shape (n_rows, dimension)
        One for each term.
    dead : array of int
        Rows that must not be found, in ascending order.
    """

    rows: list[Array]
    dead: Array


def nearest(queries: Sequence[Array], parts: Sequence[Part], k: int) -> tuple[Array, Array]:
    """Return the numbers and the scores of the k rows with the largest sums of products.

    Parameters
    ----------
    queries : sequence of array of shape (n_queries, dimension)
        One for each term.
    parts : sequence of Part
        Rows are numbered from the first part to the last.
    k : int
        At least 1; where there are fewer rows, all are returned.

    Returns
    -------
    items : array of int of shape (n_queries, min(k, n_rows))
        Best first; of equal scores the lower number is first.
    scores : array of the same shape, float32
    """
    n, alive = len(queries[0]), sum(len(part.rows[0]) - len(part.dead) for part in parts)
    k = min(k, alive)
    items, scores = np.zeros((n, k), dtype=np.int64), np.zeros((n, k), dtype=np.float32)
    if k == 0:
        return items, scores
    for at in range(0, n, _MOST_QUERIES):
        chosen = slice(at, at + _MOST_QUERIES)
        scan = _Scan([side[chosen] for side in queries], k)
        first = 0
        for part in parts:
            scan.read(part, first)
            first += len(part.rows[0])
        items[chosen], scores[chosen] = scan.items, scan.scores
    return items, scores


class _Scan:
    """The k best rows so far of a block of queries."""

    def __init__(self, queries: list[Array], k: int) -> None:
        n = len(queries[0])
        self.queries, self.k = queries, k
        columns = 1 << max(11, min(16, (_BLOCK_SCORES // n).bit_length() - 1))
        self.fold = max(1, min(_LONGEST_FOLD, columns // (_GROUPS_PER_K * k)))
        self.groups = columns // self.fold
        self.block = np.empty((n, self.fold * self.groups), dtype=np.float32)
        self.items = np.zeros((n, k), dtype=np.int64)
        self.scores = np.full((n, k), -np.inf, dtype=np.float32)

    def read(self, part: Part, first: int) -> None:
        """Look at the rows of a part, which are numbered from `first`."""
        step, size = self.block.shape[1], len(part.rows[0])
        for start in range(0, size, step):
            stop = min(start + step, size)
            self._multiply([rows[start:stop] for rows in part.rows])
            low, high = np.searchsorted(part.dead, (start, stop))
            self.block[:, part.dead[low:high] - start] = -np.inf
            self._keep(first + start)

    def _multiply(self, rows: list[Array]) -> None:
        """Fill the block with scores, and with -inf beyond them."""
        width = len(rows[0])
        block = self.block[:, :width]
        np.matmul(self.queries[0], rows[0].T, out=block)
        for queries, more in zip(self.queries[1:], rows[1:], strict=True):
            block += queries @ more.T
        self.block[:, width:] = -np.inf

    def _keep(self, first: int) -> None:
        """Put what the block has above the k-th best score into the list of each query."""
        maxima = self.block.reshape(len(self.block), self.fold, self.groups).max(axis=1)
        bounds = self.scores[:, -1]
        above = maxima > bounds[:, None]
        if self.k <= self.groups and np.count_nonzero(above) > self.k * len(above):
            # The k-th largest maximum is another bound from below: nearly all are above the old one
            # at the start, and where rows of the modality of the queries begin.
            least = np.partition(maxima, -self.k, axis=1)[:, -self.k]
            bounds = np.maximum(bounds, np.nextafter(least, np.float32(-np.inf)))
            above = maxima > bounds[:, None]
        row, group = np.nonzero(above)
        if not len(row):
            return
        columns = group[:, None] + self.groups * np.arange(self.fold)
        values = self.block[row[:, None], columns]
        hit = np.nonzero(values > bounds[row, None])
        self._merge(row[hit[0]], first + columns[hit], values[hit])

    def _merge(self, row: Array, item: Array, value: Array) -> None:
        touched = np.unique(row)
        row = np.concatenate([np.repeat(touched, self.k), row])
        item = np.concatenate([self.items[touched].ravel(), item])
        value = np.concatenate([self.scores[touched].ravel(), value])
        # What was found earlier has lower numbers, except where nothing was found yet.
        order = np.lexsort((item, -value, row))
        counts = np.bincount(row, minlength=len(self.items))[touched]
        start = np.cumsum(counts) - counts
        chosen = order[start[:, None] + np.arange(self.k)]
        self.items[touched], self.scores[touched] = item[chosen], value[chosen]
