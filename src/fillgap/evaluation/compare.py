"""Judge aligners on held-out pairs: what each gains in mixed search, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import check_choice, check_integer, check_random_state, check_real
from fillgap._progress import Progress, silent
from fillgap.aligners import METHODS, Aligner, make_aligner, method_name
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.cells import Cell, Given, JudgeCell, Judged, Mapper, Result, forget
from fillgap.evaluation.comparison import RAW, Comparison, summarise
from fillgap.evaluation.judge import QueryValues
from fillgap.evaluation.quantised import QUANTISED
from fillgap.evaluation.splits import check_rows, held_out_splits, n_tested
from fillgap.evaluation.two_sided import draw_two_sided

__all__ = ["Collected", "compare", "plan_compare"]

Rows = NDArray[np.intp]


class Collected:
    """What the splits gave one method.

    Attributes
    ----------
    queries : dict
        From (measure, direction) to `QueryValues`.
    scalars : dict
        From measure of clustering to its value on the first split.
    notes : list of str
        What fits remarked, once each.
    """

    def __init__(self) -> None:
        self.queries: dict[tuple[str, str], QueryValues] = {}
        self.scalars: dict[str, float] = {}
        self.notes: list[str] = []

    def absorb(self, judged: Judged, notes: Sequence[str], pair: EmbeddingPair) -> None:
        """Add what one split gave."""
        for (measure, direction), rows, values in judged.values:
            n = pair.n_images if direction == "image_to_text" else pair.n_texts
            self.queries.setdefault((measure, direction), QueryValues(n)).add(rows, values)
        self.scalars = self.scalars or judged.scalars
        self.notes.extend(note for note in notes if note not in self.notes)


def compare(
    pair: EmbeddingPair,
    aligners: Sequence[str | Aligner] | Mapping[str, Aligner] | None = None,
    *,
    n_splits: int = 5,
    test_size: float = 0.5,
    max_test: int = 2000,
    max_loss: float = 0.02,
    n_resamples: int = 1000,
    quantise: Sequence[str] = (),
    executor: Mapper | None = None,
    source: Callable[[], EmbeddingPair] | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Fit aligners on one part of the images, judge them on the other, and repeat.

    Parameters
    ----------
    pair : EmbeddingPair
        Paired. The texts of an image are always on the side of their image.
    aligners : sequence of str or Aligner, or mapping from name to Aligner, optional
        What to compare with the raw embeddings; left out, every method with its defaults.
    n_splits, test_size, max_test
        As for `held_out_splits`.
    max_loss : float
        Largest loss of recall@1 among the other modality alone that a recommendation may cost.
    n_resamples : int
        Bootstrap resamples over images.
    quantise : sequence of {"float16", "int8", "int8-dimension"}
        Ways to store the aligned rows that are judged too: in half precision, or in int8 with a
        scale for each row or for each dimension. Both sides are stored so.
    executor : executor of `fillgap.distributed`, optional
        Who fits and judges each method on each split; left out, this process.
    source : callable, optional
        Called without arguments by workers to read the same pair themselves, the same object each
        time; left out, the pair travels with each item.
    random_state : int
        Seed of splits, draws and resamples.
    progress : callable, optional
        Called as progress(fits done, fits in all, method).

    Returns
    -------
    Comparison
        Results are averaged for each query over the splits, then over queries; intervals are over
        images, and tests are paired by image against the raw embeddings.

    Raises
    ------
    InputError
        If the sets are unpaired or too small to be split. A method that cannot run on these data
        raises nothing: it is listed in `Comparison.failures` with the reason.
    """
    check_real(max_loss, "max_loss", low=0)
    check_integer(n_resamples, "n_resamples", low=100)
    for kind in quantise:
        check_choice(kind, "quantise", tuple(QUANTISED))
    check_rows(pair)
    report = progress or silent
    methods = named_aligners(aligners)
    collected = {name: Collected() for name in (RAW, *methods)}
    coarse = {(kind, name): Collected() for kind in quantise for name in collected}
    failures: dict[str, str] = {}
    rng = check_random_state(random_state)
    splits = list(
        held_out_splits(
            pair,
            n_splits=n_splits,
            test_size=test_size,
            max_test=max_test,
            random_state=random_state,
        )
    )
    cells = list(_cells(pair, splits, methods, tuple(quantise), rng))
    judge = JudgeCell(source or Given(pair))
    total = len(splits) * len(methods)
    try:
        for result in _judged(judge, cells, executor, report, total):
            name = result.name
            if result.failure is not None:
                failures.setdefault(name, result.failure)
                continue
            collected[name].absorb(result.plain, result.notes, pair)
            for kind, judged in result.stored.items():
                coarse[kind, name].absorb(judged, (), pair)
    finally:
        forget()
    report(total, total, "done")
    kept = {name: found for name, found in collected.items() if name not in failures}
    return summarise(
        pair,
        kept,
        failures,
        {key: found for key, found in coarse.items() if key[1] in kept},
        n_splits=n_splits,
        n_fit=len(splits[0][0]),
        n_test=len(splits[0][1]),
        max_loss=max_loss,
        n_resamples=n_resamples,
        random_state=random_state,
    )


def plan_compare(
    n_images: int,
    aligners: Sequence[str | Aligner] | Mapping[str, Aligner] | None = None,
    *,
    n_splits: int = 5,
    test_size: float = 0.5,
    max_test: int = 2000,
) -> dict[str, int]:
    """Return what `compare` would fit and judge with the same arguments.

    Parameters
    ----------
    n_images : int
        Images of the pair.
    aligners, n_splits, test_size, max_test
        As for `compare`.

    Returns
    -------
    dict from str to int
        `n_images`; `n_methods`, `n_splits` and their product, `n_fits`; `n_fit` and `n_test`, the
        images fitted on and tested on in each split: about, where some of them are equal.

    Raises
    ------
    InputError
        If there is no such method, or fewer than four images.
    """
    n_methods = len(named_aligners(aligners))
    n_test = n_tested(n_images, n_splits, test_size, max_test)
    return {
        "n_images": n_images,
        "n_methods": n_methods,
        "n_splits": n_splits,
        "n_fits": n_splits * n_methods,
        "n_fit": n_images - n_test,
        "n_test": n_test,
    }


def _cells(
    pair: EmbeddingPair,
    splits: Sequence[tuple[Rows, Rows]],
    methods: Mapping[str, Aligner],
    quantise: tuple[str, ...],
    rng: np.random.Generator,
) -> Iterator[Cell]:
    """Yield the rows as they are and every method, split by split."""
    for number, (train, test) in enumerate(splits):
        pools = draw_two_sided(pair.take_images(test), rng)
        for name, aligner in {RAW: None, **methods}.items():
            yield Cell(name, aligner, number, train, test, pools, quantise)


def _judged(
    judge: JudgeCell,
    cells: Sequence[Cell],
    executor: Mapper | None,
    report: Progress,
    total: int,
) -> Iterator[Result]:
    """Yield what each cell gives; here, a method that failed is not tried on other splits."""
    if executor is not None:
        yield from executor.map(judge, cells, progress=report)
        return
    failed: set[str] = set()
    fits = 0
    for cell in cells:
        if cell.name != RAW:
            report(fits, total, cell.name)
            fits += 1
        if cell.name not in failed:
            result = judge(cell)
            if result.failure is not None:
                failed.add(cell.name)
            yield result


def named_aligners(
    aligners: Sequence[str | Aligner] | Mapping[str, Aligner] | None,
) -> dict[str, Aligner]:
    """Return the aligners by name; several of one method are told apart by their parameters."""
    if aligners is None:
        return {name: make_aligner(name) for name in METHODS}
    if isinstance(aligners, Mapping):
        return dict(aligners)
    if isinstance(aligners, (str, Aligner)):
        aligners = [aligners]
    named: dict[str, Aligner] = {}
    for item in aligners:
        aligner = make_aligner(item) if isinstance(item, str) else item
        name = method_name(aligner) if isinstance(item, Aligner) else item
        named[name if name not in named else repr(aligner)] = aligner
    return named
