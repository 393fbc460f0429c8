"""What a sample of queries finds in a pool that is read in pieces: two passes that merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from fillgap.distributed.executors import Executor
from fillgap.distributed.fit_job import (
    Attempt,
    JobReport,
    Outcome,
    SumOfBlocks,
    merge_outcomes,
    with_rate,
)
from fillgap.distributed.pieces import (
    Piece,
    are_pairs,
    open_sides,
    pieces_of_pairs,
    pieces_of_sides,
    without_shards,
)
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
_Copies: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp]]

#: Query rows that are compared with a block of items at a time.
CHUNK = 512


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries of one modality.

    Attributes
    ----------
    units : array of shape (n_queries, n_features)
        Unit rows, float32.
    rows : array of int of shape (n_queries,)
        Their rows in their modality.
    question : Question
        The item that each leaves out, and the relevant ones: own modality first.
    n_same : int
        Items of the own modality in the pool.
    """

    units: Array
    rows: Array
    question: Question
    n_same: int

    def pairs_in(self, same: bool, first: int, last: int) -> tuple[Array, Array, Array]:
        """Return (pair, query, column) of the relevant items among these rows of one side."""
        offset = 0 if same else self.n_same
        item = self.question.item - offset
        inside = (self.question.item >= self.n_same) != same
        pair = np.flatnonzero(inside & (item >= first) & (item < last))
        query = np.searchsorted(self.question.start, pair, side="right") - 1
        return pair, query, item[pair] - first

    def scores(self, units: Any, equal: _Copies, same: bool, first: int, chunk: slice) -> Any:
        """Return the cosines of some queries with a block, where that lies.

        Copies in the block have equal ones, and a query's own item has −∞.
        """
        scores = _beside(units, self.units[chunk]) @ units.T
        if len(equal[0]):
            scores[:, equal[0]] = scores[:, equal[1]]
        if same:
            own = np.flatnonzero(
                (self.rows[chunk] >= first) & (self.rows[chunk] < first + len(units))
            )
            place = _beside(units, own), _beside(units, self.rows[chunk][own] - first)
            scores[place] = -np.inf
        return scores


@dataclass
class Found:
    """The nearest items of each query in what was read so far, for both kinds of queries.

    Attributes
    ----------
    best : list of array of shape (2, n_queries)
        Largest cosine with an item of the own modality, and of the other one.
    top, own : list of tuple of two arrays of shape (n_queries, k)
        Cosines and numbers of the nearest items in the pool, and in the own modality.
    pairs : list of array of shape (n_pairs,)
        Cosine with each relevant item; −∞ where it was not read.
    """

    best: list[Array] = field(default_factory=list)
    top: list[tuple[Array, Array]] = field(default_factory=list)
    own: list[tuple[Array, Array]] = field(default_factory=list)
    pairs: list[Array] = field(default_factory=list)

    def absorb(self, other: Found) -> None:
        """Add what other blocks hold."""
        for side in range(len(self.best)):
            self.best[side] = np.maximum(self.best[side], other.best[side])
            self.pairs[side] = np.maximum(self.pairs[side], other.pairs[side])
            self.top[side] = _better(self.top[side], other.top[side])
            self.own[side] = _better(self.own[side], other.own[side])


@dataclass(frozen=True)
class FindBlock:
    """A function of a block: what all queries find in it.

    Parameters
    ----------
    queries : tuple of Queries
        Of the images, and of the texts.
    k, k_own : tuple of int
        Neighbours to keep, for each kind of queries.
    """

    queries: tuple[Queries, Queries]
    k: tuple[int, int]
    k_own: tuple[int, int]

    def __call__(self, first_row: int, X: Any | None, Y: Any | None) -> Found:
        """Return what they find in these rows of images, of texts, or of both."""
        total: Found | None = None
        for side, block in enumerate((X, Y)):
            if block is None:
                continue
            what = ("images", "texts")[side]
            units, found = _units(block, what, first_row), Found()
            for asked in (0, 1):
                self._find(found, asked, units, asked == side, first_row)
            if total is None:
                total = found
            else:
                total.absorb(found)
        return total if total is not None else Found()

    def _find(self, found: Found, asked: int, units: Any, same: bool, first: int) -> None:
        queries, k, k_own = self.queries[asked], self.k[asked], self.k_own[asked]
        n, equal = len(queries.rows), _copies_in(units)
        best = np.full((2, n), -np.inf, np.float32)
        top, own = _nothing(n, k), _nothing(n, k_own)
        pairs = np.full(len(queries.question.item), -np.inf, np.float32)
        pair, query, column = queries.pairs_in(same, first, first + len(units))
        for at in range(0, n, CHUNK):
            chunk = slice(at, min(at + CHUNK, n))
            scores = queries.scores(units, equal, same, first, chunk)
            here = (query >= chunk.start) & (query < chunk.stop)
            place = _beside(units, query[here] - at), _beside(units, column[here])
            pairs[pair[here]] = to_host(scores[place])
            best[0 if same else 1, chunk] = to_host(array_namespace(scores).max(scores, axis=1))
            offset = first + (0 if same else queries.n_same)
            for kept, width in ((top, k), (own, k_own if same else 0)):
                if width:
                    values, items = _largest(scores, width)
                    kept[0][chunk, : values.shape[1]] = values
                    kept[1][chunk, : values.shape[1]] = items + offset
        found.best.append(best)
        found.top.append(top)
        found.own.append(own)
        found.pairs.append(pairs)


@dataclass
class Counts:
    """How many items are above certain cosines, or level with them, for both kinds of queries.

    Attributes
    ----------
    of : list of dict
        Arrays of `Scores` by name.
    """

    of: list[dict[str, Array]] = field(default_factory=list)

    def absorb(self, other: Counts) -> None:
        """Add what other blocks hold."""
        for mine, theirs in zip(self.of, other.of, strict=True):
            for name, counts in theirs.items():
                mine[name] = mine[name] + counts


@dataclass(frozen=True)
class CountBlock:
    """A function of a block: what in it is above the cosines that a first pass found."""

    queries: tuple[Queries, Queries]
    found: Found

    def __call__(self, first_row: int, X: Any | None, Y: Any | None) -> Counts:
        """Count in these rows of images, of texts, or of both."""
        counts = Counts([self._zeros(asked) for asked in (0, 1)])
        for side, block in enumerate((X, Y)):
            if block is not None:
                units = _units(block, ("images", "texts")[side], first_row)
                for asked in (0, 1):
                    self._count(counts.of[asked], asked, units, asked == side, first_row)
        return counts

    def _zeros(self, asked: int) -> dict[str, Array]:
        n, pairs = len(self.queries[asked].rows), len(self.found.pairs[asked])
        single = ("above", "level", "tied_same", "tied_other")
        zeros = {name: np.zeros(n, np.int64) for name in single}
        return zeros | {
            name: np.zeros((pairs, 2), np.int64) for name in ("pair_above", "pair_level")
        }

    def _count(
        self, counts: dict[str, Array], asked: int, units: Any, same: bool, first: int
    ) -> None:
        queries, n = self.queries[asked], len(self.queries[asked].rows)
        start, level = queries.question.start, self.found.pairs[asked]
        best, last = (
            _beside(units, found)[:, None]
            for found in (self.found.best[asked][1], self.found.top[asked][0][:, -1])
        )
        within, equal = level_within(self.found.top[asked][0].dtype), _copies_in(units)
        for at in range(0, n, CHUNK):
            chunk = slice(at, min(at + CHUNK, n))
            scores = queries.scores(units, equal, same, first, chunk)
            if same:
                counts["above"][chunk] += _count_true(scores > best[chunk] + within)
                counts["level"][chunk] += _count_level(scores, best[chunk], within)
            name = "tied_same" if same else "tied_other"
            counts[name][chunk] += _count_level(scores, last[chunk], within)
            pairs = slice(int(start[chunk.start]), int(start[chunk.stop]))
            query = np.repeat(np.arange(chunk.stop - at), np.diff(start[at : chunk.stop + 1]))
            column = 0 if same else 1
            for lo in range(pairs.start, pairs.stop, CHUNK):
                some = slice(lo, min(lo + CHUNK, pairs.stop))
                mine = scores[
                    _beside(units, query[some.start - pairs.start : some.stop - pairs.start])
                ]
                own = _beside(units, level[some])[:, None]
                counts["pair_above"][some, column] += _count_true(mine > own + within)
                counts["pair_level"][some, column] += _count_level(mine, own, within)


def as_scores(found: Found, counts: Counts, asked: int) -> Scores:
    """Return what both passes found as the similarity kernel returns it."""
    best, top = found.best[asked], found.top[asked]
    last = top[0][:, -1:]
    values = np.where(top[0] <= last + level_within(top[0].dtype), last, top[0])
    return Scores(
        nearest_same=best[0],
        nearest_other=best[1],
        values=values,
        items=top[1],
        own_items=found.own[asked][1],
        pair_score=found.pairs[asked],
        **counts.of[asked],
    )


def _nothing(n: int, k: int) -> tuple[Array, Array]:
    return np.full((n, k), -np.inf, np.float32), np.full((n, k), -1, np.int64)


def _units(block: Any, what: str, first_row: int) -> Any:
    """Return unit rows in float32, where the block lies."""
    units = unit_rows(block, what, first_row=first_row)
    xp = array_namespace(units)
    return xp.astype(units, xp.float32, copy=False)


def _beside(units: Any, array: Array) -> Any:
    """Return an array where the rows lie."""
    return array if isinstance(units, np.ndarray) else to_device(array, units.device)


def _copies_in(units: Any) -> _Copies:
    """Return the copies in a block; on a device equal rows have equal cosines by themselves."""
    nothing = np.empty(0, np.intp)
    return copies(units) if isinstance(units, np.ndarray) else (nothing, nothing)


def _count_level(scores: Any, level: Any, within: float) -> Array:
    return _count_true((scores >= level - within) & (scores <= level + within))


def _count_true(holds: Any) -> Array:
    return to_host(holds.sum(axis=1))


def _largest(scores: Any, k: int) -> tuple[Array, Array]:
    """Return the k largest of each row (all, where there are fewer) and their columns, ordered."""
    if not isinstance(scores, np.ndarray):
        values, chosen = map(to_host, scores.topk(min(k, scores.shape[1]), dim=1))
    else:
        if scores.shape[1] > k:
            chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        else:
            chosen = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        values = np.take_along_axis(scores, chosen, axis=1)
    order = np.lexsort((chosen, -values), axis=1)
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(chosen, order, axis=1)


def _better(mine: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return the best of two lists; of equal cosines the item with the lower number first."""
    k = mine[0].shape[1]
    values, items = (np.concatenate(both, axis=1) for both in zip(mine, other, strict=True))
    order = np.lexsort((items, -values), axis=1)[:, :k]
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(items, order, axis=1)


class Sizes(NamedTuple):
    """What a sample of queries is drawn from."""

    n_images: int
    n_texts: int
    one_to_one: bool


@dataclass
class Gathered:
    """Sums, and the rows of the sample that were read so far with their numbers."""

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


@dataclass(frozen=True)
class Sources:
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
    images, texts : str or path
        As for `open_sides`.
    executor : Executor
        Who does the work.
    paired : bool, optional
        Left out, sides of equal size are pairs row by row.
    n_neighbors : int
        Neighbours for the measures of mixing.
    max_queries : int
        Rows of each modality that are queries.
    random_state : int
        Seed of the sample and of resamples.
    skip_bad_shards : bool
        Whether shards that cannot be read, or hold unusable rows, are left out and reported; of
        pairs, with their partners.
    device : str, optional
        As for `fit_shards`; what the sample itself is measured by runs in NumPy, here.
    progress : callable, optional
        Called as progress(pieces done, pieces in all, what).

    Returns
    -------
    tuple of Measurements and JobReport
    """
    started = perf_counter()
    sides = open_sides(images, texts, skip_bad_shards=skip_bad_shards)
    one_to_one = are_pairs(*sides) if paired is None else paired
    report = JobReport(skipped=sides[0].bad | sides[1].bad)

    def reduce(function: Callable[..., Any], *, skip: bool = False) -> Outcome:
        attempt = Attempt(SumOfBlocks(function, device), skip)
        shown = with_rate(progress, sum(piece.n_rows for piece in pieces), executor.n_workers)
        found: Outcome = executor.map_reduce(attempt, pieces, merge_outcomes, progress=shown)
        report.add(found.report)
        return found

    while True:  # again without the shards that turned out to be bad: the sample is another one
        pieces = pieces_of_pairs(*sides) if one_to_one else pieces_of_sides(*sides)
        sizes = _sizes(pieces, one_to_one)
        chosen = choose_queries(sizes, max_queries, random_state)
        gather = partial(gather_block, chosen=chosen, cross=one_to_one)
        first = reduce(gather, skip=skip_bad_shards)
        if not first.report.skipped:
            break
        sides = without_shards(sides, pieces, first.report.skipped)
    gathered = first.value
    sample = EmbeddingPair(
        gathered.sample(0),
        gathered.sample(1),
        paired=one_to_one,
        name=Path(sides[0].name).stem or sides[0].name,
    )
    scan = _scan(sample, sizes, chosen, (n_neighbors, N_OWN), lambda f: reduce(f).value)
    report.seconds = perf_counter() - started
    sources = Sources(sample, scan, gathered.moments)
    return _measurements(sources, sizes, random_state, progress or silent), report


def _sizes(pieces: Sequence[Piece], one_to_one: bool) -> Sizes:
    """Return how many rows of each side there are to be read."""
    n, m = (
        sum(part.stop - part.start for part in parts if part is not None)
        for parts in zip(*((piece.images, piece.texts) for piece in pieces), strict=True)
    )
    return Sizes(n, m, one_to_one)


def _scan(
    sample: EmbeddingPair,
    sizes: Sizes,
    chosen: tuple[Array, Array],
    widths: tuple[int, int],
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
    k = min(widths[0], sum(n) - 1)
    found = reduce(FindBlock(both, (k, k), (min(widths[1], n[0] - 1), min(widths[1], n[1] - 1))))
    counts = reduce(CountBlock(both, found))
    scans = [
        query_scan(
            as_scores(found, counts, side),
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
