"""compare: held out for real, honest about cost, and able to say: leave it as it is."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from fillgap.aligners import (
    Aligner,
    BalancedAligner,
    MeanCentering,
    OrthogonalProcrustes,
    SpectralAligner,
)
from fillgap.errors import InputError
from fillgap.evaluation import Comparison, Estimate, compare
from fillgap.evaluation.compare import MethodResult, decide
from fillgap.maps import AffineMap
from fillgap.pair import EmbeddingPair
from worlds import captioned, make_gapped

QUICK = {"n_splits": 2, "n_resamples": 200}


@pytest.fixture(scope="module")
def result() -> Comparison:
    return compare(captioned(120, 2), ["balanced", "spectral", "whitening"], **QUICK)


class TestWhatItReports:
    def test_every_method_has_every_measure_and_its_change_from_raw(self, result) -> None:
        assert list(result.results) == ["raw", "balanced", "spectral", "whitening"]
        raw = result.results["raw"]
        assert raw.changes == {}
        assert raw.conservation == 1.0
        assert raw.mixing < 0.2 < result.results["balanced"].mixing
        for name, method in result.results.items():
            assert 0 <= method.mixing <= 1
            assert 0 <= method.conservation <= 1
            assert set(method.estimates) == set(raw.estimates)
            tested = {"two_sided_ndcg_at_10", "mixed_ndcg_at_10", "recall_at_1"}
            assert set(method.p_values) == (set() if name == "raw" else tested)
            for measure, directions in method.estimates.items():
                for direction, item in directions.items():
                    assert item.low <= item.value <= item.high
                    if name != "raw":
                        change = item.value - raw.estimates[measure][direction].value
                        found = method.changes[measure][direction].value
                        assert found == pytest.approx(change)

    def test_json_and_the_seed(self, result: Comparison) -> None:
        document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert document["two_sided"] is True
        assert document["recommendation"]["method"] == result.recommendation.method
        got = document["results"]["spectral"]["estimates"]["recall_at_1"]["mean"]["value"]
        assert got == result.results["spectral"].estimates["recall_at_1"]["mean"].value
        again = compare(captioned(120, 2), ["balanced", "spectral", "whitening"], **QUICK)
        assert again.to_dict() == result.to_dict()

    def test_one_text_for_each_image_has_no_two_sided_search(self, coco) -> None:
        found = compare(EmbeddingPair(coco[0][:60], coco[1][:60]), [MeanCentering()], **QUICK)
        assert not found.two_sided
        assert found.recommendation.objective == "mixed_ndcg_at_10"


class Memorising(Aligner):
    """Maps the images it was fitted to onto their texts, and every other one to noise."""

    needs_pairs = True
    linear = False

    def __init__(self, *, normalize: bool = True) -> None:
        self.normalize = normalize

    def _fit(self, X, Y, progress) -> None:
        self.n_features_in_, self.n_samples_ = X.shape[1], (len(X), len(Y))
        self.mean_x_, self.mean_y_ = X.mean(0), Y.mean(0)
        self.known_ = {(x / np.linalg.norm(x)).round(9).tobytes(): y for x, y in zip(X, Y)}  # noqa: B905
        self.map_y_ = AffineMap()

    def _map_rows(self, rows, what):
        if what == "texts":
            return rows
        rng = np.random.default_rng(0)
        noise = rng.normal(size=rows.shape)
        found = [self.known_.get(row.round(9).tobytes()) for row in rows]
        return np.array([n if y is None else y for n, y in zip(noise, found, strict=True)])


class TestHeldOut:
    def test_memory_of_the_fitted_rows_gains_nothing(self) -> None:
        X, Y = make_gapped(200, 12, seed=0)
        memory = Memorising().fit(X, Y)
        own = memory.transform(X) @ memory.transform_y(Y).T
        assert (own.argmax(axis=1) == np.arange(200)).mean() == 1.0
        found = compare(EmbeddingPair(X, Y), {"memory": Memorising()}, **QUICK)
        assert found.results["memory"].estimates["recall_at_1"]["image_to_text"].value < 0.06
        assert found.recommendation.method is None

    def test_a_method_that_cannot_run_is_listed_and_the_rest_goes_on(self) -> None:
        pair = captioned(60, 1)
        methods = {
            "broken": SpectralAligner(n_components=0),
            "refused": SpectralAligner(negative="raise"),
            "fine": MeanCentering(),
        }
        found = compare(pair, methods, **QUICK)
        assert list(found.results) == ["raw", "fine"]
        assert "n_components must be at least 1" in found.failures["broken"]
        assert "must be positive" in found.failures["refused"]

    def test_methods_of_one_kind_are_told_apart(self) -> None:
        found = compare(
            captioned(60, 1), [BalancedAligner(), BalancedAligner(power=0.0), "cca"], **QUICK
        )
        assert list(found.results) == ["raw", "balanced", "BalancedAligner(power=0.0)", "cca"]

    def test_notes_of_fits_are_kept(self) -> None:
        X, Y = make_gapped(40, 24, seed=0)
        found = compare(EmbeddingPair(X, Y), [OrthogonalProcrustes()], **QUICK)
        (note,) = found.results["orthogonal-procrustes"].notes
        assert "fitted on 20 rows in 24 dimensions" in note

    def test_refusals(self) -> None:
        X, Y = make_gapped(40, 6, seed=0)
        with pytest.raises(InputError, match="must be paired to be judged"):
            compare(EmbeddingPair(X, Y, paired=False))
        with pytest.raises(InputError, match="Did you mean balanced"):
            compare(captioned(60, 1), ["balanced2"])


class TestRecommendation:
    def results(self, **changes: dict[str, float]) -> dict[str, MethodResult]:
        def method(ndcg: float, recall: float, exposure: float, p: float) -> MethodResult:
            def at(value: float) -> dict[str, Estimate]:
                item = Estimate(value, value - 0.01, value + 0.01)
                return {"image_to_text": item, "text_to_image": item, "mean": item}

            return MethodResult(
                estimates={
                    "mixed_ndcg_at_10": at(ndcg),
                    "recall_at_1": at(recall),
                    "exposure_at_10": at(exposure),
                },
                changes={"mixed_ndcg_at_10": at(ndcg - 0.1), "recall_at_1": at(recall - 0.6)},
                p_values={"mixed_ndcg_at_10": p},
                scalars={},
                mixing=0.5,
                conservation=0.5,
                notes=(),
            )

        good = {"ndcg": 0.5, "recall": 0.6, "exposure": 1.0, "p": 0.001}
        found = {"raw": method(0.1, 0.6, 0.0, 1.0)}
        for name, change in changes.items():
            found[name] = method(**(good | change))
        return found

    def test_the_best_is_named_with_gain_and_cost(self) -> None:
        advice = decide(self.results(a={"ndcg": 0.4}, b={"ndcg": 0.5}), max_loss=0.02)
        assert advice.method == "b"
        assert "from 0.10 to 0.50 (+0.400, 95 % interval +0.390 to +0.410)" in advice.sentence

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"recall": 0.57}, r"it loses 0.030 of recall@1 .* more than max_loss = 0.02"),
            ({"exposure": 1.9}, "image queries see 1.90 times .* outside 0.8 to 1.25"),
            ({"exposure": 0.5}, "image queries see 0.50 times"),
            ({"p": 0.2}, r"its gain in mixed NDCG@10 may be chance"),
        ],
    )
    def test_the_next_best_is_named_where_the_best_breaks_a_condition(
        self, change: dict[str, float], reason: str
    ) -> None:
        advice = decide(self.results(a={"ndcg": 0.9, **change}, b={"ndcg": 0.3}), max_loss=0.02)
        assert advice.method == "b"
        assert list(advice.passed_over) == ["a"]
        assert re.search(reason, advice.passed_over["a"])

    def test_nothing_is_recommended_where_the_gain_may_be_chance(self) -> None:
        advice = decide(self.results(a={"ndcg": 0.105}), max_loss=0.02)
        assert advice.method is None
        assert advice.sentence.startswith("Leave the embeddings as they are: a scores highest, but")

    def test_two_sided_search_decides_where_there_is_any(self) -> None:
        found = self.results(a={"ndcg": 0.5}, b={"ndcg": 0.4})
        for name, value in (("raw", 0.3), ("a", 0.4), ("b", 0.6)):
            item = Estimate(value, value, value)
            gain = Estimate(value - 0.3, value - 0.3, value - 0.3)
            found[name] = replace(
                found[name],
                estimates={**found[name].estimates, "two_sided_ndcg_at_10": {"mean": item}},
                changes={**found[name].changes, "two_sided_ndcg_at_10": {"mean": gain}},
                p_values={**found[name].p_values, "two_sided_ndcg_at_10": 0.001},
            )
        advice = decide(found, max_loss=0.02)
        assert (advice.method, advice.objective) == ("b", "two_sided_ndcg_at_10")

    def test_without_a_method_there_is_nothing_to_recommend(self) -> None:
        assert "no method could run" in decide(self.results(), max_loss=0.02).sentence


def test_real_embeddings_get_a_fair_recommendation(coco) -> None:
    pair = EmbeddingPair(*coco, name="COCO")
    found = compare(pair, ["balanced", "spectral", "mean-centering"], n_splits=3)
    best = found.results["balanced"].estimates
    assert best["mixed_ndcg_at_10"]["mean"].value > 0.5
    centred = found.results["mean-centering"].estimates["exposure_at_10"]
    assert 0.1 < centred["mean"].value < 0.35
    assert "spectral" not in {found.recommendation.method}
    raw = found.results["raw"].estimates
    assert raw["mixed_ndcg_at_10"]["mean"].value < 0.01
    assert 0.5 < raw["recall_at_1"]["mean"].value < 0.7
