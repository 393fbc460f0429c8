"""One split of the images: aligners and calibrations fitted on one part, judged on the other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import MODALITIES, Calibration, Modality, Sides
from fillgap.calibration.fusion import (
    distribution_based_fusion,
    min_max_fusion,
    reciprocal_rank_fusion,
)
from fillgap.calibration.pairwise import PairwiseCalibration, fit_together
from fillgap.calibration.query_list import OwnListCalibration
from fillgap.errors import CANNOT_RUN, check_random_state, unit_rows
from fillgap.evaluation.judge import Rows, TwoSidedPool, draw_two_sided, fit_clone
from fillgap.evaluation.leaderboard import Combination, Tally
from fillgap.evaluation.shortlists import (
    PoolLists,
    ScoreMap,
    Scorer,
    Scores,
    all_cosines,
    calibrated,
    levelled,
    levelled_pools,
    lists_of_pools,
    lists_of_sides,
    lists_within_pools,
    scored,
)
from fillgap.evaluation.splits import check_rows, held_out_splits
from fillgap.metrics.pool import Array
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress

#: Rows of each side that a calibration is fitted to: a bank of all of them would be searched whole.
_SAMPLE: Final = 4096


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


def asked_sides(aligner: Aligner | None, queries: Sides | None, documents: Sides) -> Sides:
    """Return aligned sample queries; documents where there are none of a modality."""
    given = Sides() if queries is None else aligned_sides(aligner, *queries)
    return Sides(*(d if q is None else q for q, d in zip(given, documents, strict=True)))


def relevant_rows(
    pair: EmbeddingPair, samples: Sequence[Rows]
) -> dict[tuple[Modality, Modality], Array] | None:
    """Return what belongs together among some rows of images and of texts, ascending.

    Pairs of numbers within these rows: images with their texts, and texts of one image with each
    other, where there are any. None where nothing is known.
    """
    if pair.image_index is None:
        return None
    images, texts = samples
    index = np.asarray(pair.image_index)[texts]
    kept = np.isin(index, images)
    across = np.column_stack([np.searchsorted(images, index[kept]), np.flatnonzero(kept)])
    order = np.argsort(index, kind="stable")
    of = index[order]
    within = []
    for apart in range(1, np.bincount(of).max(initial=0)):
        same = np.flatnonzero(of[apart:] == of[:-apart])
        pairs = np.column_stack([order[same], order[same + apart]])
        within += [pairs, pairs[:, ::-1]]
    relevant: dict[tuple[Modality, Modality], Array] = {
        ("image", "text"): across,
        ("text", "image"): across[:, ::-1],
    }
    return relevant | ({("text", "text"): np.concatenate(within)} if within else {})


def sample_rows(rows: Any) -> Rows:
    """Return which rows a calibration is fitted to: all, or 4096 at even distances."""
    return np.unique(np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(np.intp))


_Changes: TypeAlias = dict[Combination, ScoreMap]
_Levels: TypeAlias = dict[Combination, OwnListCalibration]


class OneSplit:
    """One split: what is fitted on, what is judged, and the two-sided pools."""

    def __init__(
        self,
        pair: EmbeddingPair,
        train_rows: Rows,
        test_rows: Rows,
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
            fitted = None if aligner is None else fit_clone(aligner, self.train)
            tested = aligned_sides(fitted, self.test.images, self.test.texts)
        except CANNOT_RUN as error:
            tally.failures |= {Combination(name, c): str(error) for c in (*calibrations, *fusions)}
            return
        images, texts = self.samples
        documents = aligned_sides(fitted, self.train.images[images], self.train.texts[texts])
        asked = asked_sides(fitted, self.queries, documents)
        ready = fit_together(
            {label: one for label, one in calibrations.items() if one is not None},
            asked,
            documents,
            relevant=relevant_rows(self.train, self.samples) if self.queries is None else None,
        )
        tally.keep_place(Combination(name, label) for label in (*calibrations, *fusions))
        rows: dict[Modality, Any] = {side: tested.of(side) for side in MODALITIES}
        cosines = all_cosines(rows)
        # Those that go on from the scores of one calibration, which are then computed once: each
        # score by itself, or within its list.
        groups: dict[int, tuple[Calibration | None, _Changes, _Levels]] = {}
        for label in calibrations:
            what, fit = Combination(name, label), ready.get(label)
            if isinstance(fit, Exception):
                tally.failures[what] = str(fit)
            elif isinstance(fit, OwnListCalibration) and not (fit.after and fit.after.reads_list):
                first = None if fit.after is None else fit.after_
                groups.setdefault(id(first), (first, {}, {}))[2][what] = fit
            elif fit is not None and fit.reads_list:
                with _failing(tally, what):
                    self._judge(what, rows, cosines, calibrated(fit), tally)
            else:
                first, change = _first_and_rest(fit)
                groups.setdefault(id(first), (first, {}, {}))[1][what] = change
        for first, changes, levels in groups.values():
            with _failing(tally, *changes, *levels):
                scores = scored(cosines, rows, calibrated(first))
                if changes:
                    self._note(changes, scores, lists_of_pools(scores, self.pools), tally)
                for what, fit in levels.items():
                    pools = levelled_pools(fit, scores, cosines, self.pools)
                    self._note({what: _as_it_is}, levelled(fit, scores, cosines), pools, tally)
        for label, fusion in fusions.items():
            self._judge(Combination(name, label), rows, cosines, fused(fusion), tally)

    def _judge(
        self,
        what: Combination,
        rows: Mapping[Modality, Array],
        cosines: Scores,
        scorer: Scorer,
        tally: Tally,
    ) -> None:
        """Judge a scorer whose scores depend on the rest of the list."""
        pools = lists_within_pools(rows, self.pools, scorer)
        self._note({what: _as_it_is}, scored(cosines, rows, scorer), pools, tally)

    def _note(
        self,
        changes: _Changes,
        scores: Scores,
        two_sided: Sequence[PoolLists],
        tally: Tally,
    ) -> None:
        """Note what these scores find, each time mapped further."""
        one_sided = lists_of_sides(scores, np.asarray(self.test.image_index))
        n_texts = self.pair.n_texts
        for what, change in changes.items():
            with _failing(tally, what):
                for lists in one_sided:
                    of_images = lists.direction == "image_to_text"
                    rows = self.image_rows if of_images else self.text_rows
                    n = self.pair.n_images if of_images else n_texts
                    for measure, values in lists.values(change).items():
                        tally.add(what, (measure, lists.direction), rows, values, n)
                for pool in two_sided:
                    key = ("two_sided_ndcg_at_10", pool.share)
                    rows = self.text_rows[pool.queries]
                    tally.add(what, key, rows, pool.values(change), n_texts)


def _as_it_is(scores: Array, _query: Modality, _document: Modality) -> Array:
    return scores


def _first_and_rest(calibration: Calibration | None) -> tuple[Calibration | None, ScoreMap]:
    """Return what scores are mapped by first, of all documents, and how a score goes on."""
    if not isinstance(calibration, PairwiseCalibration):
        return calibration, _as_it_is
    rest = calibration.rest()
    first = None if calibration.after is None else calibration.after_
    return first, lambda scores, query, document: rest.calibrate(
        scores, query=query, document=document
    )


@contextmanager
def _failing(tally: Tally, *combinations: Combination) -> Iterator[None]:
    """List combinations as failed where the data do not allow them."""
    try:
        yield
    except CANNOT_RUN as error:
        tally.failures |= dict.fromkeys(combinations, str(error))


def fused(fusion: Any) -> Scorer:
    """Return the scorer of a list-level fusion."""

    def score(
        _query: Modality, cosines: Mapping[Modality, Array], _rows: Mapping[Modality, Array]
    ) -> Mapping[Modality, Array]:
        filled = {name: values for name, values in cosines.items() if values.shape[1]}
        merged = fusion(list(filled.values()))
        return {**cosines, **dict(zip(filled, merged, strict=True))}

    return score


#: List-level fusion, under the names of the leaderboard: two searches, merged.
FUSIONS: Final = {
    "rrf": reciprocal_rank_fusion,
    "dbsf": partial(distribution_based_fusion, depth=100),
    "min-max": partial(min_max_fusion, depth=100),
}


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
    """Fit on one part of the images, judge on the rest, and repeat, with every combination.

    Calibrations are fitted with sample queries, or the rows fitted on where there are none of a
    modality. These are of `fit_on`, where it is given, instead of the part that is not tested.
    """
    check_rows(pair)
    if fit_on is not None:
        check_rows(fit_on, ("images to fit on", "texts to fit on"))
    tally, rng = Tally(), check_random_state(random_state)
    tally.fitted_on = None if fit_on is None else fit_on.name
    drawn = {"n_splits": n_splits, "max_test": max_test, "random_state": random_state}
    splits = held_out_splits(pair, test_size=test_size, **drawn)
    for number, (train_rows, test_rows) in enumerate(splits):
        split = OneSplit(pair, train_rows, test_rows, rng, fit_on=fit_on, queries=queries)
        tally.n_fit, tally.n_test = split.train.n_images, len(test_rows)
        for place, (name, aligner) in enumerate(aligners.items()):
            progress(number * len(aligners) + place, n_splits * len(aligners), name)
            split.judge_aligner(name, aligner, calibrations, fusions or {}, tally)
    progress(n_splits * len(aligners), n_splits * len(aligners), "done")
    for failed in tally.failures:
        tally.values.pop(failed, None)
    return tally
