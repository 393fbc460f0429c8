"""Properties over the table: each stated invariance holds, and each unstated one does not."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import numpy as np
import pytest

import reference
from fillgap.metrics import MEASURES
from fillgap.metrics.geometry import both_moments, paired_moments
from fillgap.metrics.scan import scan_pool
from fillgap.pair import EmbeddingPair
from worlds import make_gapped

N, D = 120, 10
ORDER_DEPENDENT = {"linear_separability", "cluster_mixing"}
KINDS = ("rotation", "own_rotation", "row_scale", "permutation", "unpairing", "swap", "shift")


@pytest.fixture(scope="module")
def data():
    """Pairs with a small gap in few shared directions: no measure is at the end of its range."""
    X, Y = make_gapped(N, D, seed=1, gap=0.12)
    scales = np.array([1.0, 0.7, 0.5, 0.4] + [0.003] * (D - 4)) * np.linspace(1, 0.5, D)
    return X * scales, Y * scales


def rotation(seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(D, D)))[0]


def transformed(X, Y, kind):
    rng = np.random.default_rng(5)
    if kind == "rotation":
        return X @ rotation(0), Y @ rotation(0)
    if kind == "own_rotation":
        return X @ rotation(0), Y @ rotation(1)
    if kind == "row_scale":
        return X * rng.uniform(0.1, 9, (N, 1)), Y * rng.uniform(0.1, 9, (N, 1))
    if kind == "shift":
        return X + 0.3, Y + 0.3  # changes the directions of the rows, and so every measure
    order = rng.permutation(N)
    if kind == "permutation":
        return X[order], Y[order]
    return (X, Y[order]) if kind == "unpairing" else (Y, X)


def parts(result):
    """Return the numbers of a result by name, without those that a simulation draws."""
    if not is_dataclass(result):
        return {"value": float(result)}
    names = [field.name for field in fields(result)] + ["value"]
    values = {name: getattr(result, name, None) for name in names}
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and not name.startswith("random")
    }


EXCHANGED = {
    "image_to_text": "text_to_image",
    "images": "texts",
    "images_dimension": "texts_dimension",
}
EXCHANGED |= {new: old for old, new in EXCHANGED.items()}


def exchanged(values):
    return {EXCHANGED.get(name, name): value for name, value in values.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MEASURES)
def test_stated_invariances_are_all_there_are(data, name, kind):
    measure = MEASURES[name]
    key, parameters = next(measure.variants())
    before = parts(measure.function(*data, **parameters))
    after = parts(measure.function(*transformed(*data, kind), **parameters))
    if kind == "swap":
        after = exchanged(after)
    same = before.keys() == after.keys() and all(
        after[part] == pytest.approx(before[part], rel=1e-7, abs=1e-9) for part in before
    )
    if kind in ("permutation", "unpairing", "swap") and name in ORDER_DEPENDENT:
        assert kind not in measure.invariances  # folds may differ or, by luck, not
    else:
        assert same == (kind in measure.invariances), (key, before, after)


@pytest.mark.parametrize("name", MEASURES)
def test_what_a_measure_reads_gives_what_arrays_give(data, name):
    measure = MEASURES[name]
    sources = {
        "pair": lambda: EmbeddingPair(*data),
        "scan": lambda: scan_pool(*data, n_neighbors=90),
        "moments": lambda: both_moments(*data),
        "paired_moments": lambda: paired_moments(*data),
    }
    for _, parameters in measure.variants():
        expected = parts(measure.function(*data, **parameters))
        found = parts(measure.function(sources[measure.reads](), **parameters))
        assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", [name for name, m in MEASURES.items() if m.rows])
def test_a_mean_over_rows_is_the_mean_of_its_rows(data, name):
    measure = MEASURES[name]
    source = EmbeddingPair(*data) if measure.reads == "pair" else scan_pool(*data, n_neighbors=90)
    for _, parameters in measure.variants():
        result = measure.function(source, **parameters)
        for part, rows in measure.rows(source, **parameters).items():
            weights = np.ones(len(rows.values)) if rows.weights is None else rows.weights
            mean = np.average(rows.values, weights=weights)
            expected = getattr(result, part) if is_dataclass(result) else result
            assert mean == pytest.approx(expected)
            assert len(rows.groups) == len(rows.values)


@pytest.mark.parametrize("name", MEASURES)
def test_unpaired_sets_are_refused_where_pairs_are_needed(data, name):
    X, Y = data
    measure = MEASURES[name]
    if measure.needs_pairs:
        with pytest.raises(ValueError, match="images and texts must be pair"):
            measure.function(X, Y[:-7])
        return
    for _, parameters in measure.variants():
        assert parts(measure.function(X, Y[:-7], **parameters))
    if measure.rows and measure.reads == "scan":  # texts are groups of their own
        rows = measure.rows(scan_pool(X, Y[:-7], n_neighbors=90), **parameters).values()
        assert all(len(np.unique(part.groups)) == len(part.values) for part in rows)


@pytest.mark.parametrize(
    "name", [n for n, m in MEASURES.items() if m.larger_is_better is not None and m.needs_pairs]
)
def test_pairs_that_are_brought_together_are_better(data, name):
    X, Y = (reference.unit(side) for side in data)
    measure = MEASURES[name]
    _, parameters = next(measure.variants())
    before = parts(measure.function(X, Y, **parameters))
    after = parts(measure.function(X, 0.2 * Y + 0.8 * X, **parameters))
    sign = 1 if measure.larger_is_better else -1
    assert all(sign * (after[part] - before[part]) > 0 for part in before)
