"""Every aligner with every calibration, judged on the same held-out rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from fillgap._checks import InputError, check_random_state, unit_rows
from fillgap._progress import Progress
from fillgap.aligners import Aligner
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.judge import QueryValues
from fillgap.evaluation.scored import (
    Scorer,
    all_scores,
    calibrated,
    one_sided_values,
    two_sided_values,
)
from fillgap.evaluation.splits import held_out_splits
from fillgap.evaluation.two_sided import TwoSidedPool, draw_two_sided
from fillgap.scores import (
    Calibration,
    Modality,
    Sides,
    distribution_based_fusion,
    min_max_fusion,
    reciprocal_rank_fusion,
)

__all__ = [
    "FUSIONS",
    "Combination",
    "Tally",
    "aligned_sides",
    "fit_quietly",
    "fused",
    "judge_all",
    "sample_rows",
]

Array = NDArray[Any]

#: List-level fusion, under the names of the leaderboard: two searches, merged.
FUSIONS: Final = {
    "rrf": reciprocal_rank_fusion,
    "dbsf": partial(distribution_based_fusion, depth=100),
    "min-max": partial(min_max_fusion, depth=100),
}
#: Rows of each side that a calibration is fitted to: a bank of all of them would be searched whole.
_SAMPLE: Final = 4096
#: What a fit may raise because of the data.
CANNOT_RUN: Final = (InputError, ImportError, np.linalg.LinAlgError)


@dataclass(frozen=True, order=True)
class Combination:
    """Names of an aligner ("raw" for none) and of a calibration or fusion ("none" for neither)."""

    aligner: str = "raw"
    calibration: str = "none"

    def __str__(self) -> str:
        return (
            self.aligner if self.calibration == "none" else f"{self.aligner} + {self.calibration}"
        )


@dataclass
class Tally:
    """What the splits gave each combination.

    Attributes
    ----------
    values : dict from Combination to dict from (measure, direction) to QueryValues
    failures : dict from Combination to str
    n_fit, n_test : int
        Images fitted and tested on in the last split.
    """

    values: dict[Combination, dict[tuple[str, str], QueryValues]] = field(default_factory=dict)
    failures: dict[Combination, str] = field(default_factory=dict)
    n_fit: int = 0
    n_test: int = 0

    def add(self, what: Combination, key: tuple[str, str], rows: Any, values: Any, n: int) -> None:
        """Add values of the queries in `rows`, of `n` in all."""
        self.values.setdefault(what, {}).setdefault(key, QueryValues(n)).add(rows, values)


def judge_all(
    pair: EmbeddingPair,
    aligners: Mapping[str, Aligner | None],
    calibrations: Mapping[str, Calibration | None],
    *,
    fusions: Mapping[str, Any] | None = None,
    queries: Sides | None = None,
    fit_on: EmbeddingPair | None = None,
    n_splits: int,
    test_size: float,
    max_test: int,
    random_state: int,
    progress: Progress,
) -> Tally:
    """Fit on one part of the images, judge on the rest, and repeat.

    Parameters
    ----------
    pair : EmbeddingPair
        Paired.
    aligners, calibrations : mapping
        What is combined; None for none.
    fusions : mapping, optional
        From name to a function of lists of scores; judged with every aligner too.
    queries : Sides, optional
        Sample queries as the model gives them, for calibrations. Left out, those fitted on.
    fit_on : EmbeddingPair, optional
        Fit everything on these data instead of on the part that is not tested.
    n_splits, test_size, max_test, random_state
        As for `held_out_splits`.
    """
    tally, rng = Tally(), check_random_state(random_state)
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
        split = _Split(pair, train_rows, test_rows, rng, fit_on=fit_on, queries=queries)
        tally.n_fit, tally.n_test = len(train_rows), len(test_rows)
        for place, (name, aligner) in enumerate(aligners.items()):
            progress(number * len(aligners) + place, len(splits) * len(aligners), name)
            split.judge_aligner(name, aligner, calibrations, fusions or {}, tally)
    progress(len(splits) * len(aligners), len(splits) * len(aligners), "done")
    for failed in tally.failures:
        tally.values.pop(failed, None)
    return tally


def fit_quietly(aligner: Aligner, train: EmbeddingPair) -> Aligner:
    """Return a clone fitted to a pair, without its warnings."""
    sides = train.matched() if aligner.needs_pairs else (train.images, train.texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return clone(aligner).fit(*sides)


def aligned_sides(aligner: Aligner | None, images: Any | None, texts: Any | None) -> Sides:
    """Return unit rows of both sides as an aligner maps them; a side of None stays so."""
    functions = (
        (partial(unit_rows, what="images"), partial(unit_rows, what="texts"))
        if aligner is None
        else (aligner.transform, aligner.transform_y)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return Sides(
            *(
                None if side is None else np.asarray(function(side), dtype=np.float32)
                for function, side in zip(functions, (images, texts), strict=True)
            )
        )


def sample_rows(rows: Any) -> NDArray[np.intp]:
    """Return which rows a calibration is fitted to: all, or 4096 at even distances."""
    return np.unique(np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(np.intp))


class _Split:
    """One split: what is fitted on, what is judged, and the two-sided pools."""

    def __init__(
        self,
        pair: EmbeddingPair,
        train_rows: NDArray[np.intp],
        test_rows: NDArray[np.intp],
        rng: np.random.Generator,
        *,
        fit_on: EmbeddingPair | None,
        queries: Sides | None,
    ) -> None:
        self.pair, self.image_rows, self.queries = pair, test_rows, queries
        self.test = pair.take_images(test_rows)
        self.train = pair.take_images(train_rows) if fit_on is None else fit_on
        self.samples = [sample_rows(side) for side in (self.train.images, self.train.texts)]
        self.text_rows = np.flatnonzero(np.isin(np.asarray(pair.image_index), test_rows))
        self.pools: list[TwoSidedPool] = draw_two_sided(self.test, rng) or []

    def judge_aligner(
        self,
        name: str,
        aligner: Aligner | None,
        calibrations: Mapping[str, Calibration | None],
        fusions: Mapping[str, Any],
        tally: Tally,
    ) -> None:
        """Fit one aligner, and judge it with each calibration and fusion."""
        try:
            fitted = None if aligner is None else fit_quietly(aligner, self.train)
            rows = aligned_sides(fitted, self.test.images, self.test.texts)
        except CANNOT_RUN as error:
            tally.failures |= {Combination(name, c): str(error) for c in (*calibrations, *fusions)}
            return
        images, texts = self.samples
        documents = aligned_sides(fitted, self.train.images[images], self.train.texts[texts])
        asked = documents if self.queries is None else aligned_sides(fitted, *self.queries)
        for label, calibration in calibrations.items():
            what = Combination(name, label)
            try:
                ready = (
                    None
                    if calibration is None
                    else clone(calibration).fit(asked, documents, relevant=self._relevant())
                )
                alone = ready is None or not ready.reads_list
                self._judge(what, rows, calibrated(ready), tally, alone=alone)
            except CANNOT_RUN as error:
                tally.failures[what] = str(error)
        for label, fusion in fusions.items():
            self._judge(Combination(name, label), rows, fused(fusion), tally, alone=False)

    def _relevant(self) -> dict[tuple[Modality, Modality], Array] | None:
        """Return what belongs together among the rows fitted on, where they are the queries."""
        if self.queries is not None or self.train.image_index is None:
            return None
        images, texts = self.samples
        index = np.asarray(self.train.image_index)[texts]
        kept = np.isin(index, images)
        pairs = np.column_stack([np.searchsorted(images, index[kept]), np.flatnonzero(kept)])
        return {("image", "text"): pairs, ("text", "image"): pairs[:, ::-1]}

    def _judge(
        self, what: Combination, sides: Sides, scorer: Scorer, tally: Tally, *, alone: bool
    ) -> None:
        """Judge one scorer; `alone` says that a score does not depend on the rest of the pool."""
        rows: dict[Modality, Array] = {"image": sides.images, "text": sides.texts}  # type: ignore[dict-item]
        index = np.asarray(self.test.image_index)
        scores = all_scores(rows, scorer)
        for (measure, direction), values in one_sided_values(scores, index).items():
            of_images = direction == "image_to_text"
            where = self.image_rows if of_images else self.text_rows
            n = self.pair.n_images if of_images else self.pair.n_texts
            tally.add(what, (measure, direction), where, values, n)
        known = scores if alone else None
        for share, queries, values in two_sided_values(rows, self.pools, scorer, known):
            key = ("two_sided_ndcg_at_10", share)
            tally.add(what, key, self.text_rows[queries], values, self.pair.n_texts)


def fused(fusion: Any) -> Scorer:
    """Return the scorer of a list-level fusion."""

    def score(
        _query: Modality, cosines: Mapping[Modality, Array], _rows: Mapping[Modality, Array]
    ) -> Mapping[Modality, Array]:
        filled = {name: values for name, values in cosines.items() if values.shape[1]}
        merged = fusion(list(filled.values()))
        return {**cosines, **dict(zip(filled, merged, strict=True))}

    return score
