"""Measure shards: sums exactly, neighbours by a sample of queries against all shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, unit_rows
from fillgap._device import to_host
from fillgap._progress import Progress, silent
from fillgap._similarity import N_OWN, Question
from fillgap.distributed._executor import Executor
from fillgap.distributed._nearest import CountBlock, FindBlock, Queries, as_scores
from fillgap.distributed._pieces import (
    Piece,
    are_pairs,
    open_sides,
    pieces_of_pairs,
    pieces_of_sides,
    without_shards,
)
from fillgap.distributed._work import Attempt, JobReport, Outcome, merge_outcomes, with_rate
from fillgap.distributed.fit import SumOfBlocks
from fillgap.embeddings import EmbeddingPair
from fillgap.metrics import MEASURES, PoolScan, give_verdict
from fillgap.metrics.faults import examine_pairing, examine_rows
from fillgap.metrics.measurements import Measurements
from fillgap.metrics.scan import choose_queries, query_scan, relevant_items, with_images_first
from fillgap.metrics.summary import run, with_intervals
from fillgap.moments import PairMoments

__all__ = ["measure_shards"]

Array = NDArray[Any]


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
