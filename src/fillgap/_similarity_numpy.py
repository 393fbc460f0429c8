"""Reduce blocks of similarities with NumPy, as many rows at a time as a cache holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fillgap._copies import copies
from fillgap._similarity import Question, Scores, level_within

__all__ = ["NumpyPool"]

Array = NDArray[Any]

#: A group of items has at most this many members: a longer fold saves no time.
LONGEST_FOLD = 32
#: Bytes of similarities that a core works on at a time: near the size of its cache, and enough
#: rows for what each step costs in Python.
CACHE_BYTES = 2 * 2**20


class _Found(NamedTuple):
    """Items that reach the bound of their row: the row, the item, and the similarity."""

    row: Array
    item: Array
    value: Array


class _Side:
    """The items of one modality, and a block of similarities with them.

    The buffer is padded with -inf to `fold` times `groups` columns; item j is in group
    j modulo `groups`.
    """

    def __init__(self, rows: Array, n_block: int, k: int) -> None:
        self.rows, self.size = rows, rows.shape[0]
        self.fold = max(1, min(LONGEST_FOLD, self.size // (8 * k)))
        self.groups = -(-self.size // self.fold)
        self.scores = np.empty((n_block, self.fold * self.groups), rows.dtype)
        self.scores[:, self.size :] = -np.inf

    def fill(self, queries: Array) -> None:
        """Compute the similarities of a block of queries."""
        np.matmul(queries, self.rows.T, out=self.scores[: len(queries), : self.size])

    def maxima(self, part: slice) -> Array:
        """Return the largest similarity in each group, one row for each query."""
        return self.scores[part].reshape(-1, self.fold, self.groups).max(axis=1)

    def reaching(self, bounds: Array, part: slice, maxima: Array) -> _Found:
        """Return every item of these rows whose similarity is at least the bound of its row."""
        row, group = np.divmod(np.flatnonzero(maxima >= bounds[:, None]), self.groups)
        columns = group[:, None] + self.groups * np.arange(self.fold)
        values = self.scores[part].take(row[:, None] * self.scores.shape[1] + columns)
        hit = np.flatnonzero(values >= bounds[row, None])
        return _Found(row[hit // self.fold], columns.take(hit), values.take(hit))


class NumpyPool:
    """A pool of two modalities in memory; several threads may scan it at the same time.

    Parameters
    ----------
    same, other : array of shape (n_items, n_features)
        Unit rows of the modality of the queries, and of the other one.
    n_block : int
        Queries in a block at most.
    k, k_own : int
        Neighbours to keep in the whole pool, and within `same`.
    """

    def __init__(self, same: Array, other: Array, n_block: int, k: int, k_own: int) -> None:
        self.rows, self.sizes = (same, other), (n_block, k, k_own)
        self.copies = copies(same, other)
        self._held = threading.local()  # each thread has buffers of its own

    def scan(self, queries: Array, question: Question, out: Scores) -> None:
        """Fill `out` with what a block of queries finds."""
        scanner = getattr(self._held, "scanner", None)
        if scanner is None:
            scanner = self._held.scanner = _Scanner(self.rows, self.copies, *self.sizes)
        scanner.scan(queries, question, out)


class _Scanner:
    """The buffers of one thread, and what is found in them."""

    def __init__(
        self,
        rows: tuple[Array, Array],
        equal: tuple[Array, Array],
        n_block: int,
        k: int,
        k_own: int,
    ) -> None:
        self.same, self.other = (_Side(side, n_block, max(k, k_own)) for side in rows)
        self.equal = list(_by_side(equal, len(rows[0])))
        self.k, self.k_own = k, k_own
        width = self.same.scores.shape[1] + self.other.scores.shape[1]
        self.step = max(1, CACHE_BYTES // (width * rows[0].dtype.itemsize))
        self.within = rows[0].dtype.type(level_within(rows[0].dtype))

    def scan(self, queries: Array, question: Question, out: Scores) -> None:
        self.same.fill(queries)
        self.other.fill(queries)
        self._level(len(queries))
        n, first = len(queries), self.same.size
        of = np.repeat(np.arange(n), np.diff(question.start))
        mine = question.item < first
        out.pair_score[mine] = self.same.scores[of[mine], question.item[mine]]
        out.pair_score[~mine] = self.other.scores[of[~mine], question.item[~mine] - first]
        if question.own is not None:
            self.same.scores[np.arange(n), question.own] = -np.inf
        for at in range(0, n, self.step):
            part = slice(at, min(at + self.step, n))
            self._find_neighbours(part, out)
            self._rank_best_other(part, out)
            self._rank_pairs(part, question.start, out)

    def _level(self, n: int) -> None:
        """Give all copies of an item one similarity with each of n queries."""
        sides = (self.same, self.other)
        for into, copy, of, first in self.equal:
            sides[into].scores[:n, copy] = sides[of].scores[:n, first]

    def _find_neighbours(self, part: slice, out: Scores) -> None:
        same, other = self.same.maxima(part), self.other.maxima(part)
        out.nearest_same[part], out.nearest_other[part] = same.max(axis=1), other.max(axis=1)
        bounds = _kth_largest(np.concatenate([same, other], axis=1), self.k)
        own_bounds = _kth_largest(same, self.k_own)
        bounds, own_bounds = bounds - self.within, own_bounds - self.within
        near = self.same.reaching(np.minimum(bounds, own_bounds), part, same)
        far = self.other.reaching(bounds, part, other)
        out.own_items[part] = _best(near, self.k_own, self.within)[0]
        far = far._replace(item=far.item + self.same.size)
        both = _Found(*(np.concatenate(columns) for columns in zip(near, far, strict=True)))
        out.items[part], out.values[part] = _best(both, self.k, self.within)
        last = out.values[part, -1]
        for found, tied in ((near, out.tied_same), (far, out.tied_other)):
            level = np.abs(found.value - last[found.row]) <= self.within
            tied[part] = np.bincount(found.row[level], minlength=len(last))

    def _rank_best_other(self, part: slice, out: Scores) -> None:
        best = out.nearest_other[part]
        beaten = np.flatnonzero(out.nearest_same[part] >= best - self.within)
        rows = beaten + part.start
        out.above[rows], out.level[rows] = _count(self.same.scores, rows, best[beaten], self.within)

    def _rank_pairs(self, part: slice, start: Array, out: Scores) -> None:
        pairs = slice(start[part.start], start[part.stop])
        rows = np.repeat(
            np.arange(part.start, part.stop), np.diff(start[part.start : part.stop + 1])
        )
        for column, side in enumerate((self.same, self.other)):
            above, level = _count(side.scores, rows, out.pair_score[pairs], self.within)
            out.pair_above[pairs, column], out.pair_level[pairs, column] = above, level


def _by_side(equal: tuple[Array, Array], n_same: int) -> Iterator[tuple[int, Array, int, Array]]:
    """Yield (side, columns, side, columns that they equal) of copies in a pool, where any are."""
    copy, first = equal
    for into in (0, 1):
        for of in range(into + 1):
            chosen = ((copy >= n_same) == into) & ((first >= n_same) == of)
            if chosen.any():
                yield into, copy[chosen] - into * n_same, of, first[chosen] - of * n_same


def _count(scores: Array, rows: Array, levels: Array, within: Any) -> tuple[Array, Array]:
    """Return how many similarities in each of these rows are above a level, and how many at it."""
    above, reaching = np.empty((2, len(rows)), dtype=np.int32)
    bounds = zip(rows.tolist(), levels + within, levels - within, strict=True)
    for i, (row, upper, lower) in enumerate(bounds):
        values = scores[row]
        above[i] = np.count_nonzero(values > upper)
        reaching[i] = np.count_nonzero(values >= lower)
    return above, reaching - above


def _kth_largest(values: Array, k: int) -> Array:
    """Return the k-th largest of each row."""
    return np.partition(values, -k, axis=1)[:, -k]


def _best(found: _Found, k: int, within: Any) -> tuple[Array, Array]:
    """Return the k best items of each row and their similarities, best first.

    Of the items level with the last one an even spread is taken, not the first of them: where
    everything is level, the neighbours are then a fair sample of the pool.
    """
    order = np.lexsort((-found.value, found.row))
    item, value = found.item[order], found.value[order]
    counts = np.bincount(found.row)
    start = np.cumsum(counts) - counts
    chosen = start[:, None] + np.arange(k)
    last = value[chosen[:, -1:]]
    next_one = value[np.minimum(start + k, len(value) - 1)]
    for row in np.flatnonzero((counts > k) & (next_one >= last[:, 0] - within)):
        mine = value[start[row] : start[row] + counts[row]]
        level = np.flatnonzero(np.abs(mine - last[row]) <= within)
        missing = k - level[0]
        spread = (2 * np.arange(missing) + 1) * len(level) // (2 * missing)
        chosen[row, level[0] :] = start[row] + level[spread]
    best = value[chosen]
    return item[chosen], np.where(best <= last + within, last, best)
