"""Neighbourhood measures against loops, SciPy and scikit-learn, and on real embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.neighbors import NearestNeighbors

import reference
from conftest import make_gapped
from fillgap.errors import InputError
from fillgap.metrics import neighbours
from fillgap.metrics.scan import scan_pool
from fillgap.pair import EmbeddingPair


@pytest.fixture(scope="module")
def data():
    X, Y = make_gapped(60, 5, seed=3, gap=0.1)
    return X, Y[:45]


def test_ilisi_is_what_bisection_finds(data):
    found = reference.neighbourhoods(*data, 40)
    expected = np.mean([reference.lisi(d, o, 12) - 1 for d, o, _ in found])
    assert neighbours.ilisi(*data, perplexity=12, n_neighbors=40) == pytest.approx(
        expected, abs=1e-6
    )


def test_ilisi_caps_its_parameters_at_the_pool(data):
    found = reference.neighbourhoods(*data, 104)
    expected = np.mean([reference.lisi(d, o, 30) - 1 for d, o, _ in found])
    assert neighbours.ilisi(*data, n_neighbors=500) == pytest.approx(expected, abs=1e-6)
    few = reference.neighbourhoods(data[0][:5], data[1][:5], 9)
    expected = np.mean([reference.lisi(d, o, 3) - 1 for d, o, _ in few])
    assert neighbours.ilisi(data[0][:5], data[1][:5]) == pytest.approx(expected, abs=1e-6)


def test_kbet_is_a_chi_square_test_of_each_neighbourhood(data):
    n, m = (len(side) for side in data)
    accepted = []
    for i, (_, other, _) in enumerate(reference.neighbourhoods(*data, 20)):
        share = (m if i < n else n) / (n + m - 1)
        seen = [other.sum(), 20 - other.sum()]
        accepted.append(stats.chisquare(seen, [20 * share, 20 * (1 - share)]).pvalue >= 0.05)
    assert neighbours.kbet(*data, n_neighbors=20) == pytest.approx(np.mean(accepted))
    strict = neighbours.kbet(*data, n_neighbors=20, alpha=0.5)
    assert strict < neighbours.kbet(*data, n_neighbors=20)


def test_hubness_is_the_skewness_of_the_k_occurrence(data):
    Z = np.concatenate([reference.unit(side) for side in data])
    near = NearestNeighbors(n_neighbors=8).fit(Z).kneighbors(Z, return_distance=False)[:, 1:]
    counts = np.bincount(near.ravel(), minlength=len(Z))
    assert neighbours.hubness(*data, k=7) == pytest.approx(stats.skew(counts))


def test_mutual_knn_counts_common_neighbours():
    X, Y = make_gapped(50, 6, seed=1)
    common = [
        len(a & b) / 9
        for a, b in zip(reference.nearest_within(X, 9), reference.nearest_within(Y, 9), strict=True)
    ]
    assert neighbours.mutual_knn(X, Y, k=9) == pytest.approx(np.mean(common))


def test_preservation_compares_each_modality_with_itself():
    X, Y = make_gapped(50, 6, seed=1)
    moved = EmbeddingPair(X + 0.5, Y)
    kept = neighbours.neighbourhood_preservation(EmbeddingPair(X, Y), moved, k=6)
    common = [
        len(a & b) / 6
        for a, b in zip(
            reference.nearest_within(X, 6), reference.nearest_within(X + 0.5, 6), strict=True
        )
    ]
    assert kept.image_to_text == pytest.approx(np.mean(common))
    assert kept.text_to_image == 1
    assert 0 < kept.image_to_text < 1


def test_separate_and_mixed_clouds(coco):
    X, Y = coco
    assert neighbours.ilisi(X, Y) < 1e-4
    assert neighbours.kbet(X, Y) == 0
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 400, 8))
    assert neighbours.ilisi(X, Y) > 0.85
    assert neighbours.kbet(X, Y) > 0.9
    collapsed = scan_pool(np.ones((80, 3)), np.ones((80, 3)), n_neighbors=90)
    assert neighbours.ilisi(collapsed) > 0.99
    assert neighbours.kbet(collapsed) == 1


def test_centring_leaves_neighbourhoods_apart(coco):
    """What global measures call closed is still separate around each item."""
    X, Y = (side - side.mean(axis=0) for side in coco)
    scan = scan_pool(X, Y, n_neighbors=90)
    assert neighbours.ilisi(scan) == pytest.approx(0.22, abs=0.03)
    assert neighbours.kbet(scan) == pytest.approx(0.06, abs=0.02)
    assert np.concatenate(
        [scan.image_queries.other[:, :10], scan.text_queries.other[:, :10]]
    ).mean() == pytest.approx(0.0575, abs=5e-4)


def test_a_sample_weighs_the_modalities_as_the_pool_does():
    X, Y = make_gapped(300, 6, seed=0, gap=0.05)
    Y = np.concatenate([Y, Y + 0.01, Y - 0.01])
    whole = neighbours.ilisi(scan_pool(X, Y, n_neighbors=90))
    some = neighbours.ilisi(scan_pool(X, Y, n_neighbors=90, max_queries=150))
    assert some == pytest.approx(whole, rel=0.1)


def scanned(X, Y, **options):
    return scan_pool(X, Y, n_neighbors=10, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda X, Y: neighbours.ilisi(scanned(X, Y)),
            "n_neighbors must be at most the 10 neighbours",
        ),
        (
            lambda X, Y: neighbours.hubness(scanned(X, Y), k=11),
            "k must be at most the 10 neighbours of",
        ),
        (
            lambda X, Y: neighbours.mutual_knn(scanned(X, Y)),
            "must be pairs, one text for each image",
        ),
        (
            lambda X, Y: neighbours.mutual_knn(X[:45], Y, k=45),
            "the 44 neighbours within a modality",
        ),
        (
            lambda X, Y: neighbours.kbet(X, Y, alpha=1),
            "alpha must be greater than 0 and less than 1",
        ),
        (lambda X, Y: neighbours.ilisi(X, Y, perplexity=0.5), "perplexity must be at least 1"),
        (
            lambda X, Y: neighbours.neighbourhood_preservation(
                scanned(X, Y), scanned(X, Y, max_queries=20)
            ),
            "both representations must be of the same queries",
        ),
    ],
)
def test_refusals(data, call, message):
    with pytest.raises(InputError, match=message):
        call(*data)
