"""One scan of a pool of two modalities: nearest items, ranks of relevant ones, and level scores.

A matrix product may round the columns at its edges, or those of one panel, in another way than the
others; which ones depends on the processor. Copies of a row are therefore found first and given one
score: two copies of a caption would be ranked by chance otherwise, and not as level.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import check_integer
from fillgap.linalg import Array
from fillgap.runtime import Progress, map_blocks, n_threads, silent

Rows = NDArray[np.intp]

#: Bytes that the similarities of one block may take.
MEMORY_BYTES = 64 * 2**20
#: Neighbours within the own modality that a scan keeps.
N_OWN = 10
#: A group of items has at most this many members: a longer fold saves no time.
LONGEST_FOLD = 32
#: Bytes of similarities that a core works on at a time: near the size of its cache, and enough
#: rows for what each step costs in Python.
CACHE_BYTES = 2 * 2**20
#: Cosines that differ by no more are level: in double precision much less than any difference that
#: means something, and more than rounding. In single precision these two are not apart.
_LEVEL: Final = {"float32": 0.0, "float64": 2.0**-44}
#: Columns that are looked at first for copies.
_FEW: Final = 16
#: Bytes of rows that are hashed at a time: they stay in the cache.
_BLOCK_BYTES: Final = 2**18


def copies(*sides: Array) -> tuple[Rows, Rows]:
    """Return the rows that are equal to an earlier one, and the first row that each is equal to.

    Rows, of sides of one type, are counted through all sides. The numbers ascend.
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
    """Return scores (..., n_rows), changed in place, with one column for all copies of a row."""
    copy, first = copies(rows)
    if len(copy):
        scores[..., copy] = scores[..., first]
    return scores


def level_rows(mapped: Any, rows: Any) -> Any:
    """Return mapped rows, changed in place, equal for all copies of a row; tensors as they are."""
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
    found = np.empty((len(numbers), sides[0].shape[1]), sides[0].dtype)
    start = 0
    for side in sides:
        inside = (numbers >= start) & (numbers < start + len(side))
        found[inside] = side[numbers[inside] - start]
        start += len(side)
    return found


class _Found(NamedTuple):  # items that reach the bound of their row
    row: Array
    item: Array
    value: Array


class _Side:
    """The items of one modality, and a block of similarities with them.

    It is padded with -inf to `fold` times `groups` columns; item j is in group j modulo `groups`.
    """

    def __init__(self, rows: Array, n_block: int, k: int) -> None:
        self.rows, self.size = rows, rows.shape[0]
        self.fold = max(1, min(LONGEST_FOLD, self.size // (8 * k)))
        self.groups = -(-self.size // self.fold)
        self.scores = np.empty((n_block, self.fold * self.groups), rows.dtype)
        self.scores[:, self.size :] = -np.inf

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


class NumpyScanner:
    """A pool of two modalities in memory, and what a thread needs to scan it.

    Items are unit rows of the modality of the queries (`same`) and of the other one; `equal` are
    their copies, and k and k_own the neighbours to keep in the whole pool and within `same`.
    """

    def __init__(
        self, rows: tuple[Array, Array], equal: tuple[Rows, Rows], n_block: int, k: int, k_own: int
    ) -> None:
        same, n = rows[0], len(rows[0])
        self.sides = tuple(_Side(side, n_block, max(k, k_own)) for side in rows)
        self.same, self.other = self.sides
        self.k, self.k_own = k, k_own
        width = self.same.scores.shape[1] + self.other.scores.shape[1]
        self.step = max(1, CACHE_BYTES // (width * same.dtype.itemsize))
        self.within = same.dtype.type(level_within(same.dtype))
        #: (side, columns, side, columns that they equal), where there are any.
        self.equal: list[tuple[int, Rows, int, Rows]] = []
        copy, first = equal
        for into in (0, 1):
            for of in range(into + 1):
                chosen = ((copy >= n) == into) & ((first >= n) == of)
                if chosen.any():
                    self.equal.append((into, copy[chosen] - into * n, of, first[chosen] - of * n))

    def scan(self, queries: Array, question: Question, out: Scores) -> None:
        """Fill `out` with what a block of queries finds."""
        n, first = len(queries), self.same.size
        for side in self.sides:
            np.matmul(queries, side.rows.T, out=side.scores[:n, : side.size])
        for into, copy, of_side, original in self.equal:
            self.sides[into].scores[:n, copy] = self.sides[of_side].scores[:n, original]
        of = np.repeat(np.arange(n), np.diff(question.start))
        mine = question.item < first
        out.pair_score[mine] = self.same.scores[of[mine], question.item[mine]]
        out.pair_score[~mine] = self.other.scores[of[~mine], question.item[~mine] - first]
        if question.own is not None:
            self.same.scores[np.arange(n), question.own] = -np.inf
        for at in range(0, n, self.step):
            part = slice(at, min(at + self.step, n))
            self._find_neighbours(part, out)
            best = out.nearest_other[part]
            beaten = np.flatnonzero(out.nearest_same[part] >= best - self.within)
            rows = beaten + at
            out.above[rows], out.level[rows] = self._count(self.same, rows, best[beaten])
            pairs = slice(question.start[at], question.start[part.stop])
            for column, side in enumerate(self.sides):
                above, level = self._count(side, of[pairs], out.pair_score[pairs])
                out.pair_above[pairs, column], out.pair_level[pairs, column] = above, level

    def _find_neighbours(self, part: slice, out: Scores) -> None:
        same, other = self.same.maxima(part), self.other.maxima(part)
        out.nearest_same[part], out.nearest_other[part] = same.max(axis=1), other.max(axis=1)
        both = np.concatenate([same, other], axis=1)
        bounds, own_bounds = (
            np.partition(values, -k, axis=1)[:, -k] - self.within
            for values, k in ((both, self.k), (same, self.k_own))
        )
        near = self.same.reaching(np.minimum(bounds, own_bounds), part, same)
        far = self.other.reaching(bounds, part, other)
        out.own_items[part] = _best(near, self.k_own, self.within)[0]
        far = far._replace(item=far.item + self.same.size)
        pool = _Found(*(np.concatenate(columns) for columns in zip(near, far, strict=True)))
        out.items[part], out.values[part] = _best(pool, self.k, self.within)
        last = out.values[part, -1]
        for found, tied in ((near, out.tied_same), (far, out.tied_other)):
            level = np.abs(found.value - last[found.row]) <= self.within
            tied[part] = np.bincount(found.row[level], minlength=len(last))

    def _count(self, side: _Side, rows: Array, levels: Array) -> tuple[Array, Array]:
        """Return how many similarities in each of these rows are above a level, and at it."""
        above, reaching = np.empty((2, len(rows)), dtype=np.int32)
        bounds = zip(rows.tolist(), levels + self.within, levels - self.within, strict=True)
        for i, (row, upper, lower) in enumerate(bounds):
            values = side.scores[row]
            above[i] = np.count_nonzero(values > upper)
            reaching[i] = np.count_nonzero(values >= lower)
        return above, reaching - above


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


class TorchScanner:
    """A pool of two modalities as tensors; answers as `NumpyScanner` does."""

    def __init__(self, same: Any, other: Any, k: int, k_own: int) -> None:
        self.same, self.other, self.k, self.k_own = same, other, k, k_own

    def scan(self, queries: Any, question: Question, out: Scores) -> None:
        """Fill `out` with what a block of queries finds."""
        import torch

        scores = torch.cat([queries @ self.same.T, queries @ self.other.T], dim=1)
        first, n = len(self.same), len(queries)
        of = np.repeat(np.arange(n), np.diff(question.start))
        pair_score = scores[self._index(of), self._index(question.item)]
        if question.own is not None:
            scores[self._index(np.arange(n)), self._index(question.own)] = -torch.inf
        same, other = scores[:, :first], scores[:, first:]
        values, items = scores.topk(self.k)
        last, best = values[:, -1:], other.amax(dim=1, keepdim=True)
        within = level_within(scores.dtype)
        found = {
            "nearest_same": same.amax(dim=1),
            "nearest_other": best[:, 0],
            "above": (same > best + within).sum(dim=1),
            "level": _level(same, best, within),
            "values": torch.where(values <= last + within, last, values),
            "items": items,
            "tied_same": _level(same, last, within),
            "tied_other": _level(other, last, within),
            "own_items": same.topk(self.k_own).indices,
            "pair_score": pair_score,
        }
        for name, tensor in found.items():
            getattr(out, name)[...] = tensor.cpu().numpy()
        counts = np.diff(question.start)
        for turn in range(int(counts.max(initial=0))):  # one of each query: less than a block
            rows = np.flatnonzero(counts > turn)
            pairs = question.start[rows] + turn
            at = pair_score[self._index(pairs)][:, None]
            for column, side in enumerate((same, other)):
                chosen = side if len(rows) == n else side[self._index(rows)]
                above = (chosen > at + within).sum(dim=1)
                out.pair_above[pairs, column] = above.cpu().numpy()
                out.pair_level[pairs, column] = _level(chosen, at, within).cpu().numpy()

    def _index(self, numbers: NDArray[Any]) -> Any:
        import torch

        return torch.as_tensor(numbers.astype(np.int64), device=self.same.device)


def _level(scores: Any, at: Any, within: float) -> Any:
    """Count what is level with a score in each row."""
    return ((scores >= at - within) & (scores <= at + within)).sum(dim=1)


@dataclass(frozen=True, eq=False)
class Scores:
    """What the pool says about the queries; arrays have one row for each query or each pair.

    Those whose names start with "pair" are of the pairs of a query and a relevant item.
    """

    nearest_same: Array  # largest cosine with an item of the query's own modality
    nearest_other: Array
    above: Array  # items of the own modality above the best one of the other modality
    level: Array  # and level with it
    values: Array  # cosines of the k nearest items, best first; those level with the last have its
    items: Array  # their numbers
    tied_same: Array  # items of each modality level with the last of `values`, listed or not
    tied_other: Array
    own_items: Array  # the k_own nearest items of the own modality, best first
    pair_score: Array  # cosine with the relevant item
    pair_above: Array  # items of the own and of the other modality above that, (n_pairs, 2)
    pair_level: Array  # and level with it

    @classmethod
    def empty(cls, n_queries: int, n_pairs: int, k: int, k_own: int, dtype: Any) -> Scores:
        """Return arrays to be filled."""
        shapes: dict[str, tuple[int, ...]] = {
            "values": (n_queries, k),
            "items": (n_queries, k),
            "own_items": (n_queries, k_own),
            "pair_score": (n_pairs,),
            "pair_above": (n_pairs, 2),
            "pair_level": (n_pairs, 2),
        }
        cosines = {"nearest_same", "nearest_other", "values", "pair_score"}
        arrays = {}
        for name in (field.name for field in fields(cls)):
            shape = shapes.get(name, (n_queries,))
            arrays[name] = np.zeros(shape, dtype if name in cosines else np.int32)
        return cls(**arrays)

    def part(self, queries: slice, pairs: slice) -> Scores:
        """Return views of some queries and of their pairs."""
        parts = {n: a[pairs if n.startswith("pair") else queries] for n, a in vars(self).items()}
        return Scores(**parts)


@dataclass(frozen=True, eq=False)
class Question:
    """Which item each query leaves out, and which are relevant to it."""

    own: Array | None  # the item of the own modality that is the query itself
    start: Array  # pairs start[i] to start[i + 1] belong to query i
    item: Array  # number of the relevant item: own modality first, then the other one

    def part(self, queries: slice) -> Question:
        """Return the same for some queries."""
        start = self.start[queries.start : queries.stop + 1]
        own = None if self.own is None else self.own[queries]
        return Question(own, start - start[0], self.item[start[0] : start[-1]])


def level_within(dtype: Any) -> float:
    """Return by how much cosines of a type may differ and be level."""
    return _LEVEL[str(dtype).rpartition(".")[2]]


def block_rows(n_items: int, itemsize: int, memory_bytes: int = MEMORY_BYTES) -> int:
    """Return how many rows a block of similarities within the budget has (at least 16)."""
    check_integer(memory_bytes, "memory_bytes", low=1)
    return max(16, memory_bytes // (n_items * itemsize))


def answer(
    queries: Any,
    same: Any,
    other: Any,
    question: Question,
    *,
    k: int,
    k_own: int,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress | None = None,
) -> Scores:
    """Scan the pool of `same` and `other`, items of the queries' own modality and of the other one.

    All are unit rows of one type; PyTorch tensors are scanned where they lie. `k` neighbours are
    kept in the whole pool and `k_own` within `same`, of those that there are. The blocks in work
    take `memory_bytes`, or as much as 16 rows need.
    """
    n, report = int(queries.shape[0]), progress or silent
    in_numpy = isinstance(same, np.ndarray)
    dtype = same.dtype if in_numpy else np.dtype(str(same.dtype).rpartition(".")[2])
    rows = block_rows(len(same) + len(other), dtype.itemsize, memory_bytes)
    out = Scores.empty(n, len(question.item), k, k_own, dtype)
    threads = n_threads() if in_numpy else 1
    if in_numpy:
        rows = max(16, min(rows, n) // threads)
        equal = copies(same, other)
    else:
        rows = max(16, rows // 2)  # its comparisons and the sorted copy take as much again
    buffers = threading.local()  # each thread has its own

    def scan(at: int) -> int:
        scanner = getattr(buffers, "scanner", None)
        if scanner is None:
            scanner = buffers.scanner = (
                NumpyScanner((same, other), equal, rows, k, k_own)
                if in_numpy
                else TorchScanner(same, other, k, k_own)
            )
        part = slice(at, min(at + rows, n))
        pairs = slice(int(question.start[at]), int(question.start[part.stop]))
        scanner.scan(queries[part], question.part(part), out.part(part, pairs))
        return part.stop

    for done in map_blocks(scan, range(0, n, rows), threads=threads if n > rows else 1):
        report(done, n, "comparing")
    return out
