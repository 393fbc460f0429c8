"""Every aligner with every calibration, judged on the same held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from fillgap._checks import check_random_state
from fillgap._progress import Progress
from fillgap.aligners import Aligner
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.one_split import OneSplit
from fillgap.evaluation.splits import check_rows, held_out_splits
from fillgap.evaluation.tally import Tally
from fillgap.scores import (
    Calibration,
    Sides,
    distribution_based_fusion,
    min_max_fusion,
    reciprocal_rank_fusion,
)

__all__ = ["FUSIONS", "judge_all"]

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
        Sample queries as the model gives them, for calibrations. Left out, or of a modality that
        is left out, those fitted on.
    fit_on : EmbeddingPair, optional
        Fit everything on these data instead of on the part that is not tested.
    n_splits, test_size, max_test, random_state
        As for `held_out_splits`.
    """
    check_rows(pair)
    if fit_on is not None:
        check_rows(fit_on, ("images to fit on", "texts to fit on"))
    tally, rng = Tally(), check_random_state(random_state)
    tally.fitted_on = None if fit_on is None else fit_on.name
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
        split = OneSplit(pair, train_rows, test_rows, rng, fit_on=fit_on, queries=queries)
        tally.n_fit, tally.n_test = split.train.n_images, len(test_rows)
        for place, (name, aligner) in enumerate(aligners.items()):
            progress(number * len(aligners) + place, len(splits) * len(aligners), name)
            split.judge_aligner(name, aligner, calibrations, fusions or {}, tally)
    progress(len(splits) * len(aligners), len(splits) * len(aligners), "done")
    for failed in tally.failures:
        tally.values.pop(failed, None)
    return tally
