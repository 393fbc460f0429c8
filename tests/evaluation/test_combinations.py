"""Combinations judged quickly: the same values as the slow way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reference
from fillgap import EmbeddingPair, Sides
from fillgap.bench.mixed import calibrations_to_bench
from fillgap.calibration import CSLS, QueryCentering
from fillgap.calibration.query_list import OwnListCalibration
from fillgap.evaluation.combine import (
    FUSIONS,
    _as_it_is,
    _first_and_rest,
    fused,
    judge_all,
    relevant_rows,
)
from fillgap.evaluation.judge import draw_two_sided
from fillgap.evaluation.leaderboard import Combination
from fillgap.evaluation.recommend import calibrations_to_try
from fillgap.evaluation.shortlists import (
    calibrated,
    levelled,
    levelled_pools,
    lists_of_pools,
    lists_of_sides,
    lists_within_pools,
)
from fillgap.runtime import silent
from reference_lists import all_scores, one_sided_values, two_sided_values
from worlds import make_gapped

N, D = 150, 16
INDEX = np.repeat(np.arange(N), 2)
#: Those that look at no other document of the list.
OF_ONE_SCORE = [
    name for name, one in calibrations_to_try().items() if one is None or not one.reads_list
]


def unit(rows: np.ndarray) -> np.ndarray:
    return reference.unit(rows).astype(np.float32)


def sides(*, level: int, seed: int = 0) -> Sides:
    """Unit rows of images with two texts each; so many texts from the third on are equal."""
    images, texts = make_gapped(N, D, seed=seed, gap=0.5)
    texts = np.repeat(texts, 2, axis=0)
    texts += 0.2 * np.random.default_rng(seed).normal(size=texts.shape)
    texts[2 : 2 + level] = texts[2]
    return Sides(unit(images), unit(texts))


LIST_LEVEL = ["query-centering", "query-standardisation"]
WAYS = [(name, "first") for name in OF_ONE_SCORE]
WAYS += [(name, "list") for name in (*FUSIONS, "csls", *LIST_LEVEL)]
WAYS += [(name, "shared") for name in LIST_LEVEL]


@pytest.mark.parametrize("level", [0, 120], ids=["all differ", "many are level"])
@pytest.mark.parametrize(("name", "way"), WAYS)
def test_the_best_of_every_list_give_what_whole_lists_give(name: str, way: str, level: int) -> None:
    """Mapped score by score, scored within its list, or levelled after what is shared.

    Copies of a query among the documents are in no list, by whatever scores it is.
    """
    tested, sample = sides(level=level), sides(level=0, seed=1)
    texts = tested.texts.copy()
    if way == "shared":
        texts[40:60] = texts[:20]
    rows = {"image": tested.images, "text": texts}
    pair = EmbeddingPair(tested.images, texts, image_index=INDEX)
    pools = draw_two_sided(pair, np.random.default_rng(0))
    assert pools is not None
    calibration = None if name in FUSIONS else calibrations_to_bench().get(name)
    fit = None if calibration is None else calibration.fit(sample, sample)
    scorer, change = fused(FUSIONS[name]) if name in FUSIONS else calibrated(fit), _as_it_is
    if way == "first":
        first, change = _first_and_rest(fit)
        scores = all_scores(rows, calibrated(first))
        of_pools = lists_of_pools(scores, pools)
    elif way == "list":
        scores = all_scores(rows, scorer)
        of_pools = lists_within_pools(rows, pools, scorer)
    else:
        assert isinstance(fit, OwnListCalibration)
        before, cosines = (all_scores(rows, calibrated(one)) for one in (fit.after_, None))
        scores = levelled(fit, before, cosines)
        of_pools = levelled_pools(fit, before, cosines, pools)
    quick: dict[tuple[str, str], Any] = {
        (measure, lists.direction): values
        for lists in lists_of_sides(scores, INDEX)
        for measure, values in lists.values(change).items()
    }
    quick |= {("two_sided", pool.share): pool.values(change) for pool in of_pools}
    slow = one_sided_values(all_scores(rows, scorer), INDEX) | {
        ("two_sided", share): values for share, _, values in two_sided_values(rows, pools, scorer)
    }
    assert quick.keys() == slow.keys()
    for key, values in slow.items():
        np.testing.assert_allclose(quick[key], values, rtol=0, atol=1e-12, err_msg=str(key))


def test_what_reads_its_list_first_is_asked_in_each_pool() -> None:
    tested = sides(level=0)
    pair = EmbeddingPair(tested.images, tested.texts, image_index=INDEX)
    named = {"csls": CSLS(k=3), "centred": QueryCentering(weight=0.0, after=CSLS(k=3))}
    tally = judge_all(
        pair, {"raw": None}, {"none": None, **named}, n_splits=1, test_size=0.5, max_test=500,
        random_state=0, progress=silent,
    )  # fmt: skip
    alone, centred = (tally.values[Combination("raw", name)] for name in named)
    assert any(measure.startswith("two_sided") for measure, _ in alone)
    for key, values in alone.items():
        np.testing.assert_allclose(centred[key].mean(), values.mean(), atol=1e-12)


def test_rows_that_belong_together() -> None:
    index = np.array([3, 0, 3, 2, 0, 3, 9])
    pair = EmbeddingPair(np.eye(10) + 1, np.ones((7, 10)), image_index=index)
    found = relevant_rows(pair, [np.array([0, 2, 3]), np.arange(7)])
    assert found is not None
    expected = [(0, 1), (0, 4), (1, 3), (2, 0), (2, 2), (2, 5)]
    assert sorted(map(tuple, found["image", "text"].tolist())) == expected
    assert sorted(map(tuple, found["text", "image"].tolist())) == sorted(
        (text, image) for image, text in expected
    )
    texts = [(i, j) for i in range(7) for j in range(7) if i != j and index[i] == index[j]]
    assert sorted(map(tuple, found["text", "text"].tolist())) == texts
    assert relevant_rows(EmbeddingPair(np.eye(4), np.eye(4), paired=False), []) is None
    alone = relevant_rows(EmbeddingPair(np.eye(4) + 1, np.eye(4) + 1), [np.arange(4)] * 2)
    assert alone is not None
    assert ("text", "text") not in alone
