"""Retrieval measures against loops over lists, against ir-measures, and on real embeddings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from fillgap.metrics import retrieval
from fillgap.metrics.scan import scan_pool


def draw(seed, n, m, d=3, *, ties=False):
    rng = np.random.default_rng(seed)
    if ties:  # few directions, exactly equal products
        X, Y = rng.choice([-1.0, 1.0], (n, d)), rng.choice([-1.0, 1.0], (m, d))
    else:
        X, Y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.4
    return X, Y, rng.integers(0, n, m)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 14),
    m=st.integers(2, 14),
    k=st.integers(1, 12),
    ties=st.booleans(),
)
def test_every_measure_is_what_its_definition_says(seed, n, m, k, ties):
    X, Y, index = draw(seed, n, m, ties=ties)
    scan = scan_pool(X, Y, index, n_neighbors=n + m)
    seen = min(k, n + m - 1)
    assert retrieval.itr(scan).numerator == pytest.approx(
        reference.ratio(X, Y, "image")[0], abs=1e-5
    )
    assert retrieval.tir(scan).denominator == pytest.approx(
        reference.ratio(X, Y, "text")[1], abs=1e-5
    )
    assert retrieval.tmr(scan) == pytest.approx(reference.best_other(X, Y, "image"))
    assert retrieval.imr(scan) == pytest.approx(reference.best_other(X, Y, "text"))
    for kind in ("image_to_text", "text_to_image"):
        query = kind.partition("_")[0]
        for measured, expected in (
            (retrieval.exposure_at_k(scan, k=seen), reference.exposure(X, Y, seen, query)),
            (retrieval.mixed_recall_at_k(scan, k=k), reference.recall(X, Y, index, k, query, True)),
            (retrieval.recall_at_k(scan, k=k), reference.recall(X, Y, index, k, query, False)),
            (retrieval.mixed_mrr(scan), reference.mrr(X, Y, index, query, True)),
            (retrieval.mrr(scan), reference.mrr(X, Y, index, query, False)),
            (retrieval.mixed_ndcg_at_k(scan, k=k), reference.ndcg(X, Y, index, k, query, True)),
            (retrieval.ndcg_at_k(scan, k=k), reference.ndcg(X, Y, index, k, query, False)),
        ):
            assert getattr(measured, kind) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mixed", [True, False])
def test_retrieval_agrees_with_ir_measures(mixed):
    ir = pytest.importorskip("ir_measures")
    X, Y, index = draw(4, 40, 110, d=12)
    scan = scan_pool(X, Y, index)
    X, Y = reference.unit(X), reference.unit(Y)
    Z = np.concatenate([X, Y])
    judged, ranked = [], []
    for i in np.unique(index):
        judged += [ir.Qrel(str(i), str(40 + t), 1) for t in np.flatnonzero(index == i)]
        pool = [j for j in range(len(Z)) if j != i] if mixed else range(40, len(Z))
        ranked += [ir.ScoredDoc(str(i), str(j), float(X[i] @ Z[j])) for j in pool]
    expected = ir.calc_aggregate([ir.nDCG @ 10, ir.RR, ir.Success @ 5], judged, ranked)
    values = scan.image_queries
    for measure, value in (
        (ir.nDCG @ 10, retrieval.ndcg(values, 10, mixed=mixed)),
        (ir.RR, retrieval.reciprocal_rank(values, mixed=mixed)),
        (ir.Success @ 5, retrieval.recall(values, 5, mixed=mixed)),
    ):
        assert retrieval.mean(value) == pytest.approx(expected[measure], abs=1e-6)


@pytest.fixture(scope="module")
def scans(coco):
    X, Y = coco
    centred = [reference.unit(side - side.mean(axis=0)) for side in (X, Y)]
    return scan_pool(X, Y), scan_pool(*centred)


def test_known_values_on_coco(scans):
    raw, centred = scans
    assert retrieval.itr(raw).value == retrieval.tir(raw).value == math.inf
    assert (retrieval.itr(raw).numerator, retrieval.itr(raw).denominator) == (500, 0)
    assert retrieval.itr(raw).probability == 1
    assert retrieval.tmr(raw) == pytest.approx(496, abs=0.5)
    assert retrieval.imr(raw) == pytest.approx(476, abs=0.5)
    assert retrieval.exposure_at_k(raw).mean == 0
    assert retrieval.itr(centred).value == pytest.approx(26.8, abs=0.05)
    assert retrieval.tir(centred).value == pytest.approx(24.0, abs=0.05)
    assert retrieval.tmr(centred) == pytest.approx(20.2, abs=0.05)
    assert retrieval.imr(centred) == pytest.approx(20.2, abs=0.05)
    exposure = retrieval.exposure_at_k(centred)
    assert exposure.image_to_text == pytest.approx(0.117, abs=0.0005)
    assert exposure.text_to_image == pytest.approx(0.113, abs=0.0005)
    assert exposure.mean == pytest.approx(0.115, abs=0.0005)
    for scan, k, mixed, alone in (
        (raw, 5, 0, 0.808), (raw, 10, 0, 0.892), (raw, 20, 0, 0.948),
        (centred, 5, 0.164, 0.806), (centred, 10, 0.322, 0.882), (centred, 20, 0.494, 0.948),
    ):  # fmt: skip
        found = retrieval.mixed_recall_at_k(scan, k=k).image_to_text
        assert found == pytest.approx(mixed, abs=0.0021)
        assert retrieval.recall_at_k(scan, k=k).image_to_text == pytest.approx(alone, abs=0.0021)


def test_promised_probabilities_and_precision():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=200_000)
    error = retrieval.expected_calibration_error
    assert error(p, rng.uniform(size=p.size) < p) < 0.01
    assert error(p, rng.uniform(size=p.size) < p**2) > 0.1
    assert error([0.3, 0.3], [True, False]) == pytest.approx(0.2)
    marks = [False, True, True, False]
    precision = retrieval.precision_at_threshold
    assert precision([0.9, 0.8, 0.7, 0.1], marks, threshold=0.7) == 2 / 3
    assert np.isnan(precision([0.1], [True], threshold=0.5))
