"""All measures of a pair at once, and their bootstrap intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fillgap.metrics import MEASURES, intervals, retrieval
from fillgap.metrics.intervals import bootstrap_interval, bounds_around
from fillgap.metrics.summary import first_texts, measure
from fillgap.pair import EmbeddingPair
from worlds import make_gapped


@pytest.fixture(scope="module")
def measured(coco):
    return measure(*coco)


def number(measurements, key, part="value"):
    return measurements.values[key][part].value


def test_everything_is_measured_or_has_a_reason(measured):
    assert measured.verdict.kind == "gap"
    keys = {key for entry in MEASURES.values() for key, _ in entry.variants()}
    assert measured.values.keys() | measured.skipped.keys() == keys
    assert list(measured.skipped) == ["hyperplane_angle"]
    assert "more than the 512 dimensions" in measured.skipped["hyperplane_angle"]
    assert "500 rows are few" in measured.notes["frechet_distance"]
    assert "share 2, where random ones share 0" in measured.notes["subspace_overlap"]


def test_means_over_rows_have_intervals(measured):
    for name, entry in MEASURES.items():
        for key, _ in entry.variants():
            if key not in measured.values:
                continue
            sure = [v for v in measured.values[key].values() if v.standard_error is not None]
            assert bool(sure) == (entry.rows is not None), name
            assert all(v.low <= v.value + 1e-9 and v.value <= v.high + 1e-9 for v in sure)
    recall = measured.values["recall_at_1"]["image_to_text"]
    error = np.sqrt(0.552 * 0.448 / 500)
    assert recall.standard_error == pytest.approx(error, rel=0.1)


def test_json_holds_no_infinity(measured):
    text = json.dumps(measured.to_dict(), allow_nan=False)
    found = json.loads(text)
    assert found["measures"]["itr"]["value"] == {"value": None}
    assert found["measures"]["itr"]["denominator"] == {"value": 0.0}
    assert found["verdict"]["kind"] == "gap"
    assert set(found["measures"]["tmr"]["value"]) == {"value", "low", "high", "standard_error"}
    message = measured.findings[0].message
    expected = {"kind": "dominant_coordinate", "fault": False, "message": message}
    assert found["findings"][0] == expected


def test_values_are_those_of_the_functions():
    X, Y = make_gapped(90, 9, seed=0, gap=0.2)
    found = measure(X, Y, confidence=False)
    for name, entry in MEASURES.items():
        key, parameters = next(entry.variants())
        result = entry.function(X, Y, **parameters)
        part = "value" if "value" in found.values[key] else next(iter(found.values[key]))
        expected = result if isinstance(result, float) else getattr(result, part)
        assert number(found, key, part) == pytest.approx(expected, rel=1e-9), name
    assert all(v.low is None for parts in found.values.values() for v in parts.values())
    found = measure(X, Y[:70])
    assert "must be paired" in found.skipped["recall_at_10"]
    assert found.values["ilisi"]["value"].standard_error is not None
    assert found.values["exposure_at_10"]["image_to_text"].low is not None
    assert not found.one_text
    assert found.verdict.sentences[-1].startswith("Without pairs it cannot be checked")


def test_several_texts_stand_beside_one():
    X, Y = make_gapped(60, 9, seed=0, gap=0.2)
    index = np.concatenate([np.arange(60), np.arange(60)])
    texts = np.concatenate([Y, Y + 0.2])
    found = measure(X, texts, index)
    assert "one text for each image" in found.skipped["mutual_knn"]
    alone = retrieval.mixed_recall_at_k(X, Y, k=5)
    single = found.one_text["mixed_recall_at_5"]
    assert single["image_to_text"].value == pytest.approx(alone.image_to_text)
    assert single["image_to_text"].standard_error > 0
    assert "value" in found.one_text["mutual_knn"]
    several = retrieval.mixed_recall_at_k(X, texts, index, k=5)
    assert number(found, "mixed_recall_at_5", "image_to_text") == several.image_to_text
    assert "exposure_at_10" not in found.one_text
    pair = EmbeddingPair(X, Y[[3, 0, 3, 2]], [3, 0, 3, 2], captions=list("abcd"))
    assert list(first_texts(pair).captions) == ["b", "d", "a"]
    np.testing.assert_array_equal(first_texts(pair).images, X[[0, 2, 3]])


def test_a_sample_is_announced():
    X, Y = make_gapped(300, 6, seed=0, gap=0.1)
    seen: list = []
    found = measure(X, Y, max_queries=100, progress=lambda *report: seen.append(report))
    assert (100, 100, "comparing") in seen
    assert seen[-1][0] == seen[-1][1]
    assert measure(X, Y, max_queries=100).to_dict() == found.to_dict()  # by the seed
    assert found.notes["queries"].startswith("100 of 300 images and 100 of 300 texts were queries")
    whole = measure(X, Y, confidence=False)
    for key in ("tmr", "ilisi"):
        some = found.values[key]["value"]
        assert abs(some.value - number(whole, key)) < 4 * some.standard_error
    assert "queries" not in whole.notes


def test_bad_rows_are_a_verdict_not_a_crash():
    X, Y = make_gapped(30, 6, seed=0)
    X[4, 2] = np.nan
    found = measure(X, Y)
    assert found.verdict.kind == "fault"
    assert found.verdict.seen is None
    assert "1 row holds NaN or infinity among the images, the first in row 4." in found.verdict.text
    assert not found.values
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["measures"] == {}
    found = measure(*np.random.default_rng(0).normal(size=(2, 2, 3)))
    assert "at least 5 rows for 5 folds" in found.skipped["linear_separability"]
    assert "tmr" in found.values
    found = measure(np.ones((40, 5)), np.ones((40, 5)))
    assert found.verdict.kind == "fault"
    assert number(found, "recall_at_1", "image_to_text") == 0
    assert "more than one point" in found.skipped["effective_rank"]


def test_tensors_are_measured_as_arrays_are():
    torch = pytest.importorskip("torch")
    X, Y = (side.astype(np.float32) for side in make_gapped(60, 6, seed=0, gap=0.2))
    expected = measure(X, Y, confidence=False)
    found = measure(torch.as_tensor(X), torch.as_tensor(Y), confidence=False)
    assert found.skipped == expected.skipped
    for key, parts in expected.values.items():
        for part, value in parts.items():
            assert number(found, key, part) == pytest.approx(value.value, abs=1e-5, rel=1e-5)


def by_hand(values, groups, weights, n_resamples, seed):
    """Draw whole groups, row by row, with the same random numbers."""
    names = np.unique(groups)
    draws = np.random.default_rng(seed).integers(len(names), size=(n_resamples, len(names)))
    means = []
    for draw in draws:
        rows = np.concatenate([np.flatnonzero(groups == names[g]) for g in draw])
        present = np.isfinite(values[rows])
        means.append(np.average(values[rows][present], weights=weights[rows][present]))
    return np.array(means)


def test_groups_are_drawn_whole():
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=60), rng.integers(0, 15, 60) * 7
    weights = rng.uniform(0.5, 2, 60)
    values[[3, 8]] = np.nan
    means = by_hand(values, groups, weights, 80, seed=4)
    found = bootstrap_interval(
        values, groups, weights=weights, n_resamples=80, confidence=0.9, random_state=4
    )
    assert found.low[0] == pytest.approx(np.quantile(means, 0.05))
    assert found.high[0] == pytest.approx(np.quantile(means, 0.95))
    assert found.standard_error[0] == pytest.approx(means.std())


def test_batches_and_columns_do_not_show(monkeypatch):
    values = np.random.default_rng(1).normal(size=(40, 3))
    whole = bootstrap_interval(values, n_resamples=50)
    monkeypatch.setattr(intervals, "BATCH_BYTES", 7 * 8 * 40)
    np.testing.assert_allclose(bootstrap_interval(values, n_resamples=50).low, whole.low)
    one = bootstrap_interval(values[:, 1], n_resamples=50)
    np.testing.assert_allclose(one.high, whole.high[1])


def test_the_mean_of_equal_values_lies_within():
    """Whichever way it is computed: resampled sums are rounded in other ways."""
    missed = 0
    for value in np.random.default_rng(0).uniform(-2, 2, 200):
        values = np.full(109, value)
        found = bootstrap_interval(values, n_resamples=50)
        for mean in (value, values.mean(), np.nanmean(values[:, None], axis=0)[0]):
            low, high = bounds_around(mean, found.low[0], found.high[0])
            assert low <= mean <= high
            assert high - low < 1e-13
            missed += not found.low[0] <= mean <= found.high[0]
    assert missed > 0
    assert bounds_around(0.5, 0.2, 0.4) == (0.2, 0.4)  # a skewed one is left as it is
