"""All measures of a pair at once: values, intervals, reasons, and what becomes of bad rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from conftest import make_gapped
from fillgap.metrics import MEASURES, retrieval
from fillgap.metrics.summary import first_texts, measure
from fillgap.pair import EmbeddingPair


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
    assert found["findings"][0] == {
        "kind": "dominant_coordinate",
        "fault": False,
        "message": measured.findings[0].message,
    }


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


def test_the_first_text_of_each_image_that_has_one():
    pair = EmbeddingPair(np.eye(4), np.eye(4)[[3, 0, 3, 2]], [3, 0, 3, 2], captions=list("abcd"))
    first = first_texts(pair)
    assert first.one_to_one
    assert list(first.captions) == ["b", "d", "a"]
    np.testing.assert_array_equal(first.images, np.eye(4)[[0, 2, 3]])


def test_unpaired_sets_are_measured_as_far_as_they_go():
    X, Y = make_gapped(50, 6, seed=0)
    found = measure(X, Y[:40])
    assert "must be paired" in found.skipped["recall_at_10"]
    assert found.values["ilisi"]["value"].standard_error is not None
    assert found.values["exposure_at_10"]["image_to_text"].low is not None
    assert not found.one_text
    assert "Without pairs" in found.verdict.text


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


def test_tiny_and_collapsed_sets():
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
