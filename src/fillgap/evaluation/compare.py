"""Judge aligners on held-out pairs: what each gains in mixed search, and what it costs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from fillgap._checks import (
    InputError,
    check_choice,
    check_integer,
    check_random_state,
    check_real,
    row_scales,
)
from fillgap._progress import Progress, silent
from fillgap.aligners import METHODS, Aligner, make_aligner, method_name
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.clusters import cluster_scores
from fillgap.evaluation.comparison import RAW, Comparison, summarise
from fillgap.evaluation.judge import QueryValues, scan_test_pair, values_of
from fillgap.evaluation.quantised import QUANTISED, as_stored
from fillgap.evaluation.splits import held_out_splits
from fillgap.evaluation.two_sided import IMAGE_SHARES, draw_two_sided, two_sided_ndcg
from fillgap.rows import iter_blocks

__all__ = ["Collected", "compare"]

#: What a fit may raise because of the data: the method is then listed with the reason.
CANNOT_RUN = (InputError, ImportError, np.linalg.LinAlgError)


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

    def add(
        self, name: tuple[str, str], rows: NDArray[np.intp], values: Any, n_queries: int
    ) -> None:
        """Add the values of the queries in `rows`."""
        self.queries.setdefault(name, QueryValues(n_queries)).add(rows, values)


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
    _check_rows(pair)
    report = progress or silent
    methods = _named(aligners)
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
    for number, (train_rows, test_rows) in enumerate(splits):
        split = _Split(pair, train_rows, test_rows, rng)
        split.judge(split.test, collected[RAW])
        split.judge_stored(split.test, RAW, coarse)
        for place, (name, aligner) in enumerate(methods.items()):
            report(number * len(methods) + place, len(splits) * len(methods), name)
            if name in failures:
                continue
            try:
                aligned = split.aligned(aligner, collected[name])
                split.judge(aligned, collected[name])
                split.judge_stored(aligned, name, coarse)
            except CANNOT_RUN as error:
                failures[name] = str(error)
    report(len(splits) * len(methods), len(splits) * len(methods), "done")
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


def _check_rows(pair: EmbeddingPair) -> None:
    """Refuse unusable rows by their number in the data, not in some split."""
    for side, what in ((pair.images, "images"), (pair.texts, "texts")):
        for first_row, block in iter_blocks(side, what):
            row_scales(block, what, first_row=first_row)


class _Split:
    """One split: the part to fit on, the part to judge, and what the raw part looks like."""

    def __init__(
        self,
        pair: EmbeddingPair,
        train_rows: NDArray[np.intp],
        test_rows: NDArray[np.intp],
        rng: np.random.Generator,
    ) -> None:
        self.pair, self.image_rows = pair, test_rows
        self.train, self.test = pair.take_images(train_rows), pair.take_images(test_rows)
        self.text_rows = np.flatnonzero(np.isin(np.asarray(pair.image_index), test_rows))
        self.pools = draw_two_sided(self.test, rng)
        self.raw_scan = scan_test_pair(self.test)

    def aligned(self, aligner: Aligner, found: Collected) -> EmbeddingPair:
        """Fit on the one part, and return the other as the aligner maps it."""
        fitted = clone(aligner)
        sides = (
            self.train.matched() if fitted.needs_pairs else (self.train.images, self.train.texts)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # kept as notes instead
            fitted.fit(*sides)
            images, texts = fitted.transform_pair(self.test.images, self.test.texts)
        found.notes.extend(note for note in fitted.notes_ if note not in found.notes)
        return self.test.with_vectors(images, texts)

    def judge_stored(
        self, test: EmbeddingPair, name: str, coarse: Mapping[tuple[str, str], Collected]
    ) -> None:
        """Measure a representation of the test part in each way of storing it."""
        for (kind, method), found in coarse.items():
            if method == name:
                self.judge(as_stored(test, kind), found, clusters=False)

    def judge(self, test: EmbeddingPair, found: Collected, *, clusters: bool = True) -> None:
        """Measure a representation of the test part."""
        scan = self.raw_scan if test is self.test else scan_test_pair(test)
        for (measure, direction), values in values_of(scan, self.raw_scan).items():
            rows, n = (
                (self.image_rows, self.pair.n_images)
                if direction == "image_to_text"
                else (self.text_rows, self.pair.n_texts)
            )
            found.add((measure, direction), rows, values, n)
        if clusters and not found.scalars:  # k-means takes longest: one split is enough
            found.scalars = cluster_scores(test)
        for share, pool in zip(IMAGE_SHARES, self.pools or (), strict=False):
            values = two_sided_ndcg(test.images, test.texts, pool)
            key = ("two_sided_ndcg_at_10", f"{share:.0%} images")
            found.add(key, self.text_rows[pool.queries], values, self.pair.n_texts)


def _named(aligners: Sequence[str | Aligner] | Mapping[str, Aligner] | None) -> dict[str, Aligner]:
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
