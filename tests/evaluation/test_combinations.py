"""Combinations judged quickly: the same values as the slow way, and nothing fitted twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from calibration_table import ROWS
from conftest import make_gapped
from fillgap import EmbeddingPair, InputError, MeanCentering, Sides, recommend
from fillgap.bench.mixed import calibrations_to_bench
from fillgap.calibration import (
    CSLS,
    NNN,
    Calibration,
    QuantileMap,
    QueryCentering,
    RelevanceProbability,
    ZScore,
    fit_together,
)
from fillgap.calibration.query_list import OwnListCalibration
from fillgap.evaluation.combine import FUSIONS, _as_it_is, _first_and_rest, fused, judge_all
from fillgap.evaluation.judge import draw_two_sided
from fillgap.evaluation.leaderboard import Combination
from fillgap.evaluation.recommend import calibrations_to_try
from fillgap.evaluation.shortlists import (
    all_scores,
    calibrated,
    levelled,
    levelled_pools,
    lists_of_pools,
    lists_of_sides,
    lists_within_pools,
)
from fillgap.runtime import silent
from reference_lists import one_sided_values, two_sided_values

N, D = 150, 16
INDEX = np.repeat(np.arange(N), 2)


#: Those that look at no other document of the list.
OF_ONE_SCORE = [
    name for name, one in calibrations_to_try().items() if one is None or not one.reads_list
]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


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


OF_TEXT = np.column_stack([np.arange(2 * N), INDEX])
RELEVANT = {("text", "image"): OF_TEXT, ("image", "text"): OF_TEXT[:, ::-1]}


class TestTogether:
    # In float64: made unit rows once or twice, they must be the same to 1e-12.
    documents = Sides(*(side.astype(np.float64) for side in sides(level=0, seed=2)))
    queries = Sides(
        *(side + 0.01 * np.cos(np.arange(side.size)).reshape(side.shape) for side in documents)
    )

    def test_each_is_what_it_is_alone(self) -> None:
        made: dict[str, Calibration] = {row.name: row.make() for row in ROWS}
        found = fit_together(made, self.queries, self.documents, relevant=RELEVANT)
        assert list(found) == list(made)
        for name, calibration in made.items():
            alone = calibration.fit(self.queries, self.documents, relevant=RELEVANT)
            together = found[name]
            assert isinstance(together, type(alone))
            assert together.n_features_in_ == D
            assert together.fitted_.keys() == alone.fitted_.keys()
            for key, array in alone.fitted_.items():
                np.testing.assert_allclose(together.fitted_[key], array, rtol=1e-12, err_msg=name)
            for query in ("image", "text"):
                rows = self.documents.texts
                scores = self.queries.of(query) @ rows.T
                arguments = {"query": query, "document": "text", "documents": rows}
                if alone.is_fitted_for(query, "text"):
                    np.testing.assert_allclose(
                        together.calibrate(scores, **arguments),
                        alone.calibrate(scores, **arguments),
                        rtol=1e-12,
                    )

    def test_what_is_applied_first_is_fitted_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        count = Counter[str]()
        learn = NNN._learn

        def counted(self: NNN, *arguments: Any) -> None:
            count[f"k={self.k}"] += 1
            learn(self, *arguments)

        monkeypatch.setattr(NNN, "_learn", counted)
        made = {
            "nnn": NNN(),
            "z": ZScore(after=NNN()),
            "all": ZScore(on="all", after=NNN()),
            "twice": QuantileMap(after=ZScore(after=NNN())),
            "other": QuantileMap(after=NNN(k=3)),
        }
        found = fit_together(made, self.queries, self.documents)
        assert count == {"k=16": 1, "k=3": 1}
        assert found["z"].after_ is found["nnn"]
        assert found["twice"].after_ is found["z"]

    def test_one_that_fails_leaves_the_others_alone(self) -> None:
        made = {
            "z": ZScore(),
            "unknown": ZScore(on="some"),
            "none relevant": RelevanceProbability(),
            "bad k": QuantileMap(after=NNN(k=0)),
            "q": QuantileMap(),
        }
        found = fit_together(made, self.queries, self.documents)
        failed = {name: str(one) for name, one in found.items() if isinstance(one, Exception)}
        assert failed.keys() == {"unknown", "none relevant", "bad k"}
        assert "on must be one of" in failed["unknown"]
        assert "relevant must be given" in failed["none relevant"]
        assert "k must be at least 1" in failed["bad k"]
        bad = self.documents.images.copy()
        bad[3, 2] = np.nan
        for one in fit_together(made, self.queries, Sides(images=bad)).values():
            assert isinstance(one, InputError)

    def test_a_class_with_a_fit_of_its_own_is_left_to_it(self) -> None:
        class Shifted(ZScore):
            def fit(self, queries: Any, documents: Any, **rest: Any) -> Any:
                found = super().fit(queries, documents, **rest)
                self.fitted_["text.text.mean"] = np.array(7.0)
                return found

        made = {"own": QuantileMap(after=Shifted()), "z": Shifted()}
        found = fit_together(made, self.queries, self.documents)
        for one in (found["own"].after_, found["z"]):
            assert one.fitted_["text.text.mean"] == 7


def test_each_aligner_is_fitted_once_in_a_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all calibrations together; and once more to all rows, where it is what is recommended."""
    fits, banks = Counter[int](), Counter[tuple[int, int]]()
    fit, learn = MeanCentering.fit, NNN._learn

    def counted(self: MeanCentering, X: Any, Y: Any = None) -> MeanCentering:
        fits[len(X)] += 1
        return fit(self, X, Y)

    def counted_bank(self: NNN, queries: Sides, *rest: Any) -> None:
        banks[len(queries.images), self.k] += 1
        learn(self, queries, *rest)

    monkeypatch.setattr(MeanCentering, "fit", counted)
    monkeypatch.setattr(NNN, "_learn", counted_bank)
    tested = sides(level=0)
    pair = EmbeddingPair(tested.images, tested.texts, image_index=INDEX)
    found = recommend(pair, aligners=["mean-centering"], n_splits=3, n_resamples=100)
    assert len(found.leaderboard.lines) == 2 * len(calibrations_to_try())
    assert fits[75] == 3
    assert fits.keys() <= {75, N}
    for k in (4, 16):
        assert banks[75, k] == 2 * 3  # the rows as they are, and as they are aligned
    assert banks.keys() <= {(n, k) for n in (75, N) for k in (4, 16)}
