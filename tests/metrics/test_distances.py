"""Distances against loops, closed forms, published values, and SciPy's tests."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

import reference
from conftest import load_npz
from fillgap.errors import InputError
from fillgap.metrics import distances
from fillgap.pair import EmbeddingPair


@pytest.fixture
def several():
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(9, 5)), rng.normal(size=(23, 5)) + 0.5
    return X, Y, rng.integers(0, 9, 23)


def test_distances_are_what_their_definitions_say(several):
    X, Y, index = several
    U, V = reference.unit(X), reference.unit(Y)
    for measured, expected in (
        (distances.mean_distance(X, Y, index), reference.mean_distance(U, V, index)),
        (distances.mean_distance(X, Y, index, unit=False), reference.mean_distance(X, Y, index)),
        (distances.mean_squared_distance(X, Y, index), reference.mean_distance(U, V, index, 2)),
        (
            distances.mean_squared_distance(X, Y, index, unit=False),
            reference.mean_distance(X, Y, index, 2),
        ),
        (distances.pair_cosine_distance(X, Y, index), reference.pair_cosine_distance(X, Y, index)),
        (distances.cross_cosine_distance(X, Y), reference.cross_cosine_distance(X, Y)),
        (distances.within_cosine(X, Y).images, reference.within_cosine(X)),
        (distances.within_cosine(X, Y).texts, reference.within_cosine(Y)),
        (
            distances.relative_modality_gap(X, Y, index),
            reference.relative_modality_gap(X, Y, index),
        ),
    ):
        assert measured == pytest.approx(expected, rel=1e-12)


def test_blocks_do_not_show(several, monkeypatch):
    X, Y, index = several
    expected = distances.pair_distances(X, Y, index)
    monkeypatch.setattr(distances, "BLOCK_ROWS", 4)
    np.testing.assert_array_equal(distances.pair_distances(EmbeddingPair(X, Y, index)), expected)


@pytest.mark.parametrize(
    ("centred", "distance", "cosine", "within", "cross", "gap"),
    [
        (False, 1.1745, 0.310, (0.532, 0.515), 0.162, 0.5915),
        (True, 1.1692, 0.315, (0, 0), 0, 0.4063),
    ],
)
def test_known_values_on_coco(coco, centred, distance, cosine, within, cross, gap):
    X, Y = (side - centred * side.mean(axis=0) for side in coco)
    assert distances.mean_distance(X, Y) == pytest.approx(distance, abs=5e-5)
    assert 1 - distances.pair_cosine_distance(X, Y) == pytest.approx(cosine, abs=5e-4)
    found = distances.within_cosine(X, Y)
    tolerance = 5e-3 if centred else 1e-3
    assert (found.images, found.texts) == pytest.approx(within, abs=tolerance)
    assert 1 - distances.cross_cosine_distance(X, Y) == pytest.approx(
        cross, abs=5e-3 if centred else 5e-4
    )
    assert distances.relative_modality_gap(X, Y) == pytest.approx(gap, abs=5e-5)


def test_perfect_pairs_have_no_relative_gap():
    X = np.eye(4)
    assert distances.relative_modality_gap(X, X) == 0
    assert distances.relative_modality_gap(np.ones((3, 2)), np.ones((3, 2))) == pytest.approx(0)


def test_paired_change_is_that_of_scipy(coco):
    X, Y = coco
    before = distances.pair_distances(X, Y)
    after = distances.pair_distances(X - X.mean(axis=0), Y - Y.mean(axis=0))
    change = distances.paired_change(before, after)
    assert change.mean_change == pytest.approx(1.1692 - 1.1745, abs=1e-4)
    difference = after - before
    t = difference.mean() / (difference.std(ddof=1) / np.sqrt(len(difference)))
    assert change.t_statistic == pytest.approx(t)
    assert change.t_pvalue == pytest.approx(2 * stats.t.sf(abs(t), len(difference) - 1))
    ranks = stats.rankdata(np.abs(difference))
    smaller = min(ranks[difference > 0].sum(), ranks[difference < 0].sum())
    assert change.wilcoxon_statistic == smaller
    assert 0 <= change.wilcoxon_pvalue <= 1


def test_no_change_is_no_significance():
    change = distances.paired_change([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (change.mean_change, change.t_pvalue, change.wilcoxon_pvalue) == (0, 1, 1)


def test_published_cosine_matrix_of_shifted_pairs(real_data):
    """The published matrix after each side moved by half of the gap vector, reproduced."""
    arrays = load_npz(real_data / "amumo" / "coco100__CLIP.npz")
    X, Y = (arrays[side].astype(np.float64) for side in ("images", "texts"))
    half = (X.mean(axis=0) - Y.mean(axis=0)) / 2
    published = arrays["gram_nogap"]
    pairs = 1 - np.mean(np.diag(published[:100, 100:]))
    assert distances.pair_cosine_distance(X - half, Y + half) == pytest.approx(pairs, abs=1e-5)
    everything = 1 - published[:100, 100:].mean()
    assert distances.cross_cosine_distance(X - half, Y + half) == pytest.approx(
        everything, abs=1e-5
    )
    assert json.loads((real_data / "amumo" / "reference_values.json").read_text())


def test_refusals(several):
    X, Y, _ = several
    with pytest.raises(InputError, match="must be paired for distances of pairs"):
        distances.mean_distance(X, Y)
    with pytest.raises(InputError, match="images and texts must be of one dimension, got 5 and 4"):
        distances.cross_cosine_distance(X, Y[:, :4])
    with pytest.raises(InputError, match="images must be at least 2 rows, got 1"):
        distances.within_cosine(X[:1], Y)
    with pytest.raises(InputError, match=r"of the same pairs, at least 2, got shapes \(3,\)"):
        distances.paired_change([1.0, 2.0, 3.0], [1.0, 2.0])
    broken = Y.copy()
    broken[5] = 0
    with pytest.raises(InputError, match="texts of the pairs must be non-zero .* row 5"):
        distances.pair_distances(X, broken, np.zeros(23, dtype=int))
