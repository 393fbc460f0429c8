"""How long a comparison should take, from one split of its first images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from fillgap._checks import CANNOT_RUN, check_integer, check_random_state
from fillgap._progress import Progress, silent
from fillgap.aligners import Aligner
from fillgap.aligners.sums import SumAligner
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.cells import Cell, Given, Judged, Mapper, Split, forget
from fillgap.evaluation.compare import Collected, check_pair, named_aligners
from fillgap.evaluation.comparison import RAW, summarise
from fillgap.evaluation.splits import held_out_splits
from fillgap.evaluation.two_sided import draw_two_sided

__all__ = ["TRIAL_IMAGES", "ComparisonPlan", "plan_compare"]

#: Images of a trial: half are fitted on, and the other half are as many as are ever tested on.
TRIAL_IMAGES = 4000


@dataclass(frozen=True)
class ComparisonPlan:
    """What `compare` would do.

    Attributes
    ----------
    n_images : int
        Images of the comparison.
    n_fit, n_test : int
        Images fitted on and tested on in each split; about, where some of them are equal.
    n_splits, n_fits : int
        Splits, and fits of all methods on all of them.
    n_workers : int
        How many methods are judged at a time.
    trial_images : int
        Images of the trial.
    seconds_of_methods : dict
        What one fit of each method and its judgement should take; NaN where that is not known,
        because the method holds all rows and the trial had fewer.
    seconds_before, seconds_after : float
        What the rows as they are take on all splits, and the intervals at the end: work that
        workers do not share.
    failures : dict
        Methods that cannot run on the images of the trial, and why.
    """

    n_images: int
    n_fit: int
    n_test: int
    n_splits: int
    n_fits: int
    n_workers: int
    trial_images: int
    seconds_of_methods: dict[str, float]
    seconds_before: float
    seconds_after: float
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def unknown(self) -> list[str]:
        """The methods whose time is not known."""
        return [name for name, took in self.seconds_of_methods.items() if math.isnan(took)]

    @property
    def seconds(self) -> float:
        """Time from start to end without those methods, if workers do not hinder each other."""
        known = (took for took in self.seconds_of_methods.values() if not math.isnan(took))
        shared = self.n_splits * sum(known) / self.n_workers
        return self.seconds_before + shared + self.seconds_after

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON holds."""
        return asdict(self) | {"seconds": self.seconds}


@dataclass
class Timing:
    """What a method took on the split of the trial, in seconds.

    Attributes
    ----------
    name : str
        The method.
    judged : Judged
        What its judgement found.
    split, fit, judge, clusters : float
        What the first method of a split takes for all of them, one fit, one judgement, and what is
        judged on the first split alone.
    fit_of_image : float
        What a fit takes for each image more; NaN where that is not known.
    failure : str or None
        Why it cannot run.
    """

    name: str
    judged: Judged = field(default_factory=Judged)
    split: float = 0.0
    fit: float = 0.0
    judge: float = 0.0
    clusters: float = 0.0
    fit_of_image: float = math.nan
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class TryCell:
    """A function of a cell that does with a clock what `JudgeCell` does."""

    source: Callable[[], EmbeddingPair]

    def __call__(self, cell: Cell) -> Timing:
        """Return the times."""
        pair, found, clock = self.source(), Timing(cell.name), Clock()
        split = Split.of(pair, cell)
        test, found.split = split.test, clock()
        try:
            if cell.aligner is not None:
                test, _ = split.aligned(cell.aligner)
                found.fit = clock()
            found.judged = split.judge(test)
            found.judge = clock()
            if cell.aligner is None:
                split.judge(test, clusters=True)
                found.clusters = max(0.0, clock() - found.judge)
            elif isinstance(cell.aligner, SumAligner):
                found.fit_of_image = _slope(split, cell.aligner, found.fit)
        except CANNOT_RUN as error:
            if cell.aligner is None:
                raise
            found.failure = str(error)
        return found


class Clock:
    """Seconds since the last call."""

    def __init__(self) -> None:
        self.started = perf_counter()

    def __call__(self) -> float:
        """Return them, and begin again."""
        before, self.started = self.started, perf_counter()
        return self.started - before


def _slope(split: Split, aligner: Aligner, seconds: float) -> float:
    """Return what a fit takes for each image more, from one to half of the images."""
    half = copy(split)
    half.train = split.train.take_images(np.arange(split.train.n_images // 2))
    clock = Clock()
    half.aligned(aligner)
    return max(0.0, seconds - clock()) / (split.train.n_images - half.train.n_images)


def plan_compare(
    pair: EmbeddingPair,
    aligners: Sequence[str | Aligner] | Mapping[str, Aligner] | None = None,
    *,
    n_images: int,
    n_splits: int = 5,
    test_size: float = 0.5,
    max_test: int = 2000,
    n_resamples: int = 1000,
    quantise: Sequence[str] = (),
    executor: Mapper | None = None,
    n_workers: int = 1,
    source: Callable[[], EmbeddingPair] | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> ComparisonPlan:
    """Return what `compare` would do with more images of the same kind.

    Parameters
    ----------
    pair : EmbeddingPair
        Some of the images with their texts, `TRIAL_IMAGES` of them or all that there are: every
        method is fitted to one part and judged on the other, once.
    n_images : int
        Images of the comparison.
    aligners, n_splits, test_size, max_test, n_resamples, quantise, executor, source, random_state
        As for `compare`; the source reads `pair`.
    n_workers : int
        Of the executor.
    progress : callable, optional
        Called as progress(methods done, methods in all, method).

    Raises
    ------
    InputError
        As `compare` does.
    """
    check_integer(n_splits, "n_splits", low=1)
    check_pair(pair, quantise)
    methods = named_aligners(aligners)
    splits = held_out_splits(
        pair, n_splits=1, test_size=test_size, max_test=max_test, random_state=random_state
    )
    train, test = next(splits)
    pools = draw_two_sided(pair.take_images(test), check_random_state(random_state))
    cells = [
        Cell(name, aligner, 0, train, test, pools)
        for name, aligner in {RAW: None, **methods}.items()
    ]
    attempt = TryCell(source or Given(pair))
    try:
        raw, *tried = _tried(attempt, cells, executor, progress or silent)
    finally:
        forget()
    whole = pair.n_images == n_images
    n_test = len(test) if whole else min(max(round(test_size * n_images), 2), max_test)
    n_fit = len(train) if whole else n_images - n_test
    able = [timing for timing in tried if timing.failure is None]
    stored = 1 + len(quantise)
    tested = n_images * (1 - (1 - n_test / n_images) ** n_splits)  # in one of the splits at least
    intervals = 1 + 2 * len(able) + len(quantise) * (1 + len(able))
    return ComparisonPlan(
        n_images=n_images,
        n_fit=n_fit,
        n_test=n_test,
        n_splits=n_splits,
        n_fits=n_splits * len(methods),
        n_workers=min(n_workers, n_splits * (1 + len(methods))),
        trial_images=pair.n_images,
        seconds_of_methods={
            timing.name: timing.fit
            + ((n_fit - len(train)) * timing.fit_of_image if n_fit > len(train) else 0.0)
            + stored * timing.judge
            + raw.clusters / n_splits
            for timing in able
        },
        seconds_before=n_splits * (raw.split + stored * raw.judge) + raw.clusters,
        seconds_after=_seconds_of_intervals(pair, raw, able[:1], n_resamples, random_state)
        * (intervals * tested / len(test)),
        failures={t.name: t.failure for t in tried if t.failure is not None},
    )


def _tried(
    attempt: TryCell, cells: Sequence[Cell], executor: Mapper | None, report: Progress
) -> Iterator[Timing]:
    if executor is not None:
        yield from executor.map(attempt, cells, progress=report)
        return
    for done, cell in enumerate(cells):
        report(done, len(cells), f"trial of {cell.name}")
        yield attempt(cell)


def _seconds_of_intervals(
    pair: EmbeddingPair, raw: Timing, able: Sequence[Timing], n_resamples: int, random_state: int
) -> float:
    """Return what it takes to put intervals around the values of one method in the trial."""
    collected = {timing.name: Collected() for timing in (raw, *able)}
    for timing in (raw, *able):
        collected[timing.name].absorb(timing.judged, (), pair)
    clock = Clock()
    summarise(
        pair, collected, {}, {},
        n_splits=1, n_fit=0, n_test=0, max_loss=0.0,
        n_resamples=n_resamples, random_state=random_state,
    )  # fmt: skip
    return clock() / (1 + 2 * len(able))
