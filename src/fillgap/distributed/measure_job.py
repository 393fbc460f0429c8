"""Measure by workers: what a sample of queries finds in a pool that is read in pieces.

A first pass gathers sums and the sample, a second finds the nearest items, a third counts what is
above or level with these. Each returns what merges by `absorb`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from fillgap.distributed.executors import Executor
from fillgap.distributed.fit_job import JobReport, sum_pieces
from fillgap.distributed.pieces import are_pairs, cut, open_sides, without_pieces
from fillgap.errors import InputError, unit_rows
from fillgap.kernel import N_OWN, Question, Scores, copies, level_within
from fillgap.metrics.faults import examine_pairing, examine_rows
from fillgap.metrics.pool import PoolScan
from fillgap.metrics.scan import choose_queries, query_scan, relevant_items, with_images_first
from fillgap.metrics.summary import run, with_intervals
from fillgap.metrics.table import MEASURES
from fillgap.metrics.verdict import Measurements, give_verdict
from fillgap.moments import PairMoments
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress, silent, to_device, to_host

Array = NDArray[Any]
#: Cosines and numbers of the nearest items of each query, two arrays of shape (n_queries, k).
Nearest = tuple[Array, Array]

#: Query rows that are compared with a block of items at a time.
CHUNK = 512


class Sizes(NamedTuple):
    """What a sample of queries is drawn from."""

    n_images: int
    n_texts: int
    one_to_one: bool


class Sources(NamedTuple):
    """What measures read, under the names that the table of measures knows."""

    pair: EmbeddingPair
    scan: PoolScan
    moments: PairMoments

    @property
    def paired_moments(self) -> PairMoments:
        """The sums of the pairs."""
        if self.moments.cross is None:
            raise InputError(
                "images and texts must be paired to compare their structure, got unpaired sets. "
                "Pass sides of equal size, row by row."
            )
        return self.moments


def measure_shards(
    images: str | Path,
    texts: str | Path | None = None,
    *,
    executor: Executor,
    paired: bool | None = None,
    n_neighbors: int = 90,
    max_queries: int = 2000,
    random_state: int = 0,
    skip_bad_shards: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> tuple[Measurements, JobReport]:
    """Measure the gap of sides that workers read, three times each.

    Measures of means and covariances are of all rows. Measures of neighbours ask a seeded sample of
    queries, the same that `measure` would draw, against all rows. Measures of single rows or pairs
    are of that sample.

    Parameters
    ----------
    images, texts, executor, skip_bad_shards, progress
        As for `fit_shards`.
    paired : bool, optional
        Left out, sides of equal size are pairs row by row.
    n_neighbors : int
        Neighbours for the measures of mixing.
    max_queries : int
        Rows of each modality that are queries.
    random_state : int
        Seed of the sample and of resamples.
    device : str, optional
        As for `fit_shards`; what the sample itself is measured by runs in NumPy, here.

    Returns
    -------
    tuple of Measurements and JobReport
    """
    started = perf_counter()
    sides = open_sides(images, texts, skip_bad_shards=skip_bad_shards)
    one_to_one = are_pairs(sides) if paired is None else paired
    report = JobReport(skipped=sides[0].bad | sides[1].bad)
    while True:  # again without the shards that turned out to be bad: the sample is another one
        sides, pieces = cut(sides, paired=one_to_one)
        sizes = Sizes(sides[0].shape[0], sides[1].shape[0], one_to_one)
        chosen = choose_queries(sizes, max_queries, random_state)
        first = sum_pieces(
            partial(gather_block, chosen=chosen, cross=one_to_one),
            pieces,
            executor,
            skip_bad_shards=skip_bad_shards,
            device=device,
            progress=progress,
        )
        report.add(first.report)
        if not first.report.skipped:
            break
        sides = without_pieces(sides, pieces, first.report.skipped)

    def reduce(function: Callable[..., Any]) -> Any:
        found = sum_pieces(function, pieces, executor, device=device, progress=progress)
        report.add(found.report)
        return found.value

    gathered = first.value
    sample = EmbeddingPair(
        gathered.sample(0),
        gathered.sample(1),
        paired=one_to_one,
        name=Path(sides[0].name).stem or sides[0].name,
    )
    scan = _scan(sample, sizes, chosen, n_neighbors, reduce)
    report.seconds = perf_counter() - started
    sources = Sources(sample, scan, gathered.moments)
    return _measurements(sources, sizes, random_state, progress or silent), report


def _scan(
    sample: EmbeddingPair,
    sizes: Sizes,
    chosen: tuple[Array, Array],
    n_neighbors: int,
    reduce: Callable[..., Any],
) -> PoolScan:
    """Return what the sample finds in all pieces."""
    n = sizes.n_images, sizes.n_texts
    index = np.arange(n[1]) if sizes.one_to_one else None
    relevant = relevant_items(index, *chosen)
    queries = []
    for side, rows in enumerate(chosen):
        query, item = relevant[side]
        units = unit_rows((sample.images, sample.texts)[side], ("images", "texts")[side])
        start = np.searchsorted(query, np.arange(len(rows) + 1))
        question = Question(rows, start, n[side] + item)
        queries.append(Queries(units.astype(np.float32), rows, question, n[side]))
    both = queries[0], queries[1]
    k = min(n_neighbors, sum(n) - 1)
    k_own = min(N_OWN, n[0] - 1), min(N_OWN, n[1] - 1)
    found = reduce(partial(find_block, queries=both, k=k, k_own=k_own))
    counts = reduce(partial(count_block, queries=both, found=found))
    scans = [
        query_scan(
            as_scores(found.of[side], counts.of[side]),
            both[side].question,
            n_same=n[side],
            n_other=n[1 - side],
            rows=chosen[side],
        )
        for side in (0, 1)
    ]
    return PoolScan(scans[0], with_images_first(scans[1], n[0], sum(n)), *n, index)


def _measurements(
    sources: Sources, sizes: Sizes, random_state: int, progress: Progress
) -> Measurements:
    """Run every measure that applies."""
    results, skipped = run(MEASURES, sources, progress)
    findings = examine_rows(sources.pair)
    if sizes.one_to_one:
        findings += examine_pairing(sources.scan, sources.moments)
    drawn = f"{sources.pair.n_images} of {sizes.n_images} images and {sources.pair.n_texts} of "
    drawn += f"{sizes.n_texts} texts"
    notes = {
        entry.name: f"of a sample: {drawn}."
        for entry in MEASURES.values()
        if entry.reads == "pair" and entry.name in results and sources.scan.is_sampled
    }
    if sources.scan.is_sampled:
        notes["queries"] = f"{drawn} were queries, drawn at random, against all rows."
    return Measurements(
        sources.pair.name,
        sizes.n_images,
        sizes.n_texts,
        sources.pair.n_features,
        give_verdict(sources.scan, findings),
        tuple(findings),
        with_intervals(results, sources, random_state),
        {},
        skipped,
        notes,
    )


@dataclass
class Gathered:
    """Sums, and of each side the rows of the sample that were read so far with their numbers."""

    moments: PairMoments
    rows: tuple[list[tuple[Array, Array]], list[tuple[Array, Array]]]

    def absorb(self, other: Gathered) -> None:
        """Add what other blocks hold."""
        self.moments.absorb(other.moments)
        for mine, theirs in zip(self.rows, other.rows, strict=True):
            mine.extend(theirs)

    def sample(self, side: int) -> Array:
        """Return the gathered rows in the order of their numbers."""
        numbers = np.concatenate([number for number, _ in self.rows[side]])
        return np.concatenate([rows for _, rows in self.rows[side]])[np.argsort(numbers)]


def gather_block(
    first_row: int, X: Any | None, Y: Any | None, *, chosen: tuple[Array, Array], cross: bool
) -> Gathered:
    """Return the sums of a block, and those of its rows that are queries."""
    rows: tuple[list[tuple[Array, Array]], list[tuple[Array, Array]]] = ([], [])
    for side, block in enumerate((X, Y)):
        if block is not None:
            first, last = np.searchsorted(chosen[side], [first_row, first_row + len(block)])
            numbers = chosen[side][first:last]
            rows[side].append((numbers, to_host(block[numbers - first_row])))
    return Gathered(PairMoments.from_block(first_row, X, Y, cross=cross), rows)


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries of one modality."""

    units: Array  # unit rows, float32
    rows: Array  # their rows in their modality
    question: Question  # items are numbered with the own modality first
    n_same: int  # items of the own modality in the pool

    def pairs_in(self, same: bool, first: int, last: int) -> tuple[Array, Array, Array]:
        """Return (pair, query, column) of the relevant items among these rows of one side."""
        item = self.question.item - (0 if same else self.n_same)
        inside = (self.question.item >= self.n_same) != same
        pair = np.flatnonzero(inside & (item >= first) & (item < last))
        query = np.searchsorted(self.question.start, pair, side="right") - 1
        return pair, query, item[pair] - first

    def scores(self, block: Block, same: bool, chunk: slice) -> Any:
        """Return the cosines of some queries with a block, where that lies.

        Copies in the block have equal ones, and a query's own item has −∞.
        """
        units, first = block.units, block.first
        scores = _beside(units, self.units[chunk]) @ units.T
        if len(block.copies[0]):
            scores[:, block.copies[0]] = scores[:, block.copies[1]]
        if same:
            rows = self.rows[chunk]
            own = np.flatnonzero((rows >= first) & (rows < first + len(units)))
            scores[_beside(units, own), _beside(units, rows[own] - first)] = -np.inf
        return scores


class Block(NamedTuple):
    """Unit rows of one side, in float32, where they lie."""

    units: Any
    first: int  # number of the first row
    copies: tuple[Array, Array]  # none on a device, where equal rows have equal cosines


def _blocks(first_row: int, X: Any | None, Y: Any | None) -> Iterator[tuple[int, Block]]:
    """Yield (side, block) of the sides that are there."""
    for side, (rows, what) in enumerate(((X, "images"), (Y, "texts"))):
        if rows is not None:
            units = unit_rows(rows, what, first_row=first_row)
            xp = array_namespace(units)
            units = xp.astype(units, xp.float32, copy=False)
            none = np.empty(0, np.intp)
            equal = copies(units) if isinstance(units, np.ndarray) else (none, none)
            yield side, Block(units, first_row, equal)


def _chunks(n: int) -> list[slice]:
    return [slice(at, min(at + CHUNK, n)) for at in range(0, n, CHUNK)]


def _beside(units: Any, array: Array) -> Any:
    """Return an array where the rows lie."""
    return array if isinstance(units, np.ndarray) else to_device(array, units.device)


@dataclass
class Nearby:
    """The nearest items of the queries of one modality in what was read so far."""

    best: Array  # largest cosine with the own modality, and with the other one: (2, n_queries)
    top: Nearest  # in the pool
    own: Nearest  # in the own modality
    pairs: Array  # cosine with each relevant item; −∞ where it was not read


@dataclass
class Found:
    """What the queries of the images, and of the texts, found."""

    of: list[Nearby]

    def absorb(self, other: Found) -> None:
        """Add what other blocks hold."""
        for mine, theirs in zip(self.of, other.of, strict=True):
            mine.best = np.maximum(mine.best, theirs.best)
            mine.pairs = np.maximum(mine.pairs, theirs.pairs)
            mine.top = _better(mine.top, theirs.top)
            mine.own = _better(mine.own, theirs.own)


def find_block(
    first_row: int,
    X: Any | None,
    Y: Any | None,
    *,
    queries: tuple[Queries, Queries],
    k: int,
    k_own: tuple[int, int],
) -> Found:
    """Return what the queries of images and of texts find in a block.

    They keep `k` neighbours in the pool and `k_own` in their own modality.
    """
    blocks = [
        Found([_find(queries[i], block, i == side, k, k_own[i]) for i in (0, 1)])
        for side, block in _blocks(first_row, X, Y)
    ]
    for other in blocks[1:]:
        blocks[0].absorb(other)
    return blocks[0]


def _find(queries: Queries, block: Block, same: bool, k: int, k_own: int) -> Nearby:
    units, first, n = block.units, block.first, len(queries.rows)
    best = np.full((2, n), -np.inf, np.float32)
    top, own = (
        (np.full((n, k), -np.inf, np.float32), np.full((n, k), -1, np.int64)) for k in (k, k_own)
    )
    pairs = np.full(len(queries.question.item), -np.inf, np.float32)
    pair, query, column = queries.pairs_in(same, first, first + len(units))
    for chunk in _chunks(n):
        scores = queries.scores(block, same, chunk)
        here = (query >= chunk.start) & (query < chunk.stop)
        place = _beside(units, query[here] - chunk.start), _beside(units, column[here])
        pairs[pair[here]] = to_host(scores[place])
        best[0 if same else 1, chunk] = to_host(array_namespace(scores).max(scores, axis=1))
        offset = first + (0 if same else queries.n_same)
        for kept, width in ((top, k), (own, k_own if same else 0)):
            if width:
                values, items = _largest(scores, width)
                kept[0][chunk, : values.shape[1]] = values
                kept[1][chunk, : values.shape[1]] = items + offset
    return Nearby(best, top, own, pairs)


def _largest(scores: Any, k: int) -> Nearest:
    """Return the k largest of each row (all, where there are fewer) and their columns, ordered."""
    if not isinstance(scores, np.ndarray):
        values, chosen = map(to_host, scores.topk(min(k, scores.shape[1]), dim=1))
    else:
        if scores.shape[1] > k:
            chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        else:
            chosen = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        values = np.take_along_axis(scores, chosen, axis=1)
    return _ordered(values, chosen)


def _better(mine: Nearest, other: Nearest) -> Nearest:
    """Return the best of two lists."""
    values, items = (np.concatenate(both, axis=1) for both in zip(mine, other, strict=True))
    values, items = _ordered(values, items)
    k = mine[0].shape[1]
    return values[:, :k], items[:, :k]


def _ordered(values: Array, items: Array) -> Nearest:
    """Return both by falling cosine; of equal cosines the item with the lower number first."""
    order = np.lexsort((items, -values), axis=1)
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(items, order, axis=1)


@dataclass
class Counts:
    """How many items are above certain cosines, or level with them: for both kinds of queries."""

    of: list[dict[str, Array]]  # arrays of `Scores` by name

    def absorb(self, other: Counts) -> None:
        """Add what other blocks hold."""
        for mine, theirs in zip(self.of, other.of, strict=True):
            for name, counts in theirs.items():
                mine[name] = mine[name] + counts


def count_block(
    first_row: int, X: Any | None, Y: Any | None, *, queries: tuple[Queries, Queries], found: Found
) -> Counts:
    """Count what in a block is above the cosines that a first pass found."""
    counts = []
    for nearby in found.of:
        n, n_pairs = len(nearby.best[0]), len(nearby.pairs)
        single = ("above", "level", "tied_same", "tied_other")
        zeros = {name: np.zeros(n, np.int64) for name in single}
        double = ("pair_above", "pair_level")
        counts.append(zeros | {name: np.zeros((n_pairs, 2), np.int64) for name in double})
    for side, block in _blocks(first_row, X, Y):
        for i in (0, 1):
            _count(counts[i], queries[i], found.of[i], block, i == side)
    return Counts(counts)


def _count(
    counts: dict[str, Array], queries: Queries, found: Nearby, block: Block, same: bool
) -> None:
    units, start = block.units, queries.question.start
    best = _beside(units, found.best[1])[:, None]
    last = _beside(units, found.top[0][:, -1])[:, None]
    within = level_within(found.top[0].dtype)
    for chunk in _chunks(len(queries.rows)):
        scores = queries.scores(block, same, chunk)
        if same:
            counts["above"][chunk] += _count_true(scores > best[chunk] + within)
            counts["level"][chunk] += _count_level(scores, best[chunk], within)
        name = "tied_same" if same else "tied_other"
        counts[name][chunk] += _count_level(scores, last[chunk], within)
        sizes = np.diff(start[chunk.start : chunk.stop + 1])
        query = np.repeat(np.arange(len(sizes)), sizes)
        column = 0 if same else 1
        first, stop = int(start[chunk.start]), int(start[chunk.stop])
        for at in range(first, stop, CHUNK):
            some = slice(at, min(at + CHUNK, stop))
            mine = scores[_beside(units, query[some.start - first : some.stop - first])]
            own = _beside(units, found.pairs[some])[:, None]
            counts["pair_above"][some, column] += _count_true(mine > own + within)
            counts["pair_level"][some, column] += _count_level(mine, own, within)


def _count_level(scores: Any, level: Any, within: float) -> Array:
    return _count_true((scores >= level - within) & (scores <= level + within))


def _count_true(holds: Any) -> Array:
    return to_host(holds.sum(axis=1))


def as_scores(found: Nearby, counts: dict[str, Array]) -> Scores:
    """Return what both passes found as the similarity kernel returns it."""
    values, items = found.top
    last = values[:, -1:]
    return Scores(
        nearest_same=found.best[0],
        nearest_other=found.best[1],
        values=np.where(values <= last + level_within(values.dtype), last, values),
        items=items,
        own_items=found.own[1],
        pair_score=found.pairs,
        **counts,
    )
