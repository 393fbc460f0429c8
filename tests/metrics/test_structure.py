"""Structure and neighbourhoods against definitions, SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

import reference
from fillgap.metrics import neighbours, structure
from fillgap.metrics.scan import scan_pool
from fillgap.metrics.structure import linear_separability
from fillgap.pair import EmbeddingPair
from worlds import make_gapped


@pytest.fixture(scope="module")
def data():
    return make_gapped(80, 7, seed=5)


def test_alignment_and_uniformity_are_what_their_definitions_say(data, monkeypatch):
    X, Y = data
    U, V = reference.unit(X), reference.unit(Y)
    assert structure.alignment(X, Y) == pytest.approx(reference.mean_distance(U, V, power=2))
    found = structure.uniformity(X, Y)
    assert found.images == pytest.approx(reference.uniformity(X))
    assert structure.uniformity(X, Y, t=0.5).texts == pytest.approx(reference.uniformity(Y, 0.5))
    some = structure.uniformity(X, Y, max_rows=60)
    assert some.images == pytest.approx(found.images, rel=0.1)
    assert some == structure.uniformity(X, Y, max_rows=60)
    assert some != structure.uniformity(X, Y, max_rows=60, random_state=1)
    monkeypatch.setattr(structure, "MEMORY_BYTES", 1)
    assert structure.uniformity(X, Y).images == pytest.approx(found.images)


def test_cka_is_that_of_the_kernels(data):
    X, Y = data
    assert structure.linear_cka(X, Y) == pytest.approx(reference.linear_cka(X, Y))
    assert structure.linear_cka(X, X) == pytest.approx(1)
    index = np.random.default_rng(0).integers(0, 80, 120)
    Z = Y[index] + 0.1
    assert structure.linear_cka(X, Z, index) == pytest.approx(reference.linear_cka(X[index], Z))


def test_separability_is_one_across_a_gap_and_chance_without():
    X, Y = make_gapped(150, 8, seed=0, gap=2)
    assert linear_separability(X, Y) == 1
    rng = np.random.default_rng(0)
    assert linear_separability(*rng.normal(size=(2, 300, 4))) == pytest.approx(0.5, abs=0.07)
    few, many = rng.normal(size=(50, 4)), rng.normal(size=(400, 4))
    assert linear_separability(few, many) == pytest.approx(0.5, abs=0.1)


def test_clusters_follow_labels_without_one(coco):
    gap = structure.cluster_mixing(*coco)
    assert (gap.value, gap.nmi, gap.ari, gap.n_clusters) == (0, None, None, 10)
    rng = np.random.default_rng(0)
    labels = np.repeat([3, 5, 9], 40)
    centres = np.eye(6)[np.repeat([0, 1, 2], 40)]
    X, Y = (centres + 0.05 * rng.normal(size=(120, 6)) for _ in range(2))
    found = structure.cluster_mixing(X, Y, labels=labels)
    assert found.n_clusters == 3
    assert found.value == pytest.approx(1, abs=1e-9)
    assert found.nmi == pytest.approx(1)
    assert found.ari == pytest.approx(1)
    pair = EmbeddingPair(X, Y, labels=labels)
    assert structure.cluster_mixing(pair) == found
    apart = structure.cluster_mixing(X + 3 * np.eye(6)[4], Y - 3 * np.eye(6)[4], labels=labels)
    assert apart.value == pytest.approx(0, abs=1e-9)
    assert apart.nmi < 0.99


def test_cluster_scores_are_those_of_their_definitions(monkeypatch):
    import sklearn.cluster

    rng = np.random.default_rng(1)
    fixed = rng.integers(0, 4, 90)
    monkeypatch.setattr(
        sklearn.cluster,
        "KMeans",
        lambda *args, **kwargs: type("K", (), {"fit_predict": lambda self, Z: fixed})(),
    )
    X, Y = rng.normal(size=(50, 3)), rng.normal(size=(40, 3))
    labels, index = rng.integers(0, 3, 50), rng.integers(0, 50, 40)
    found = structure.cluster_mixing(X, Y, index, labels=labels)
    modality = [0] * 50 + [1] * 40
    assert found.value == pytest.approx(reference.entropy_within(list(fixed), modality))
    truth = np.concatenate([labels, labels[index]])
    assert found.nmi == pytest.approx(normalized_mutual_info_score(truth, fixed))
    assert found.ari == pytest.approx(adjusted_rand_score(truth, fixed))


@pytest.fixture(scope="module")
def unequal():
    X, Y = make_gapped(60, 5, seed=3, gap=0.1)
    return X, Y[:45]


@pytest.mark.parametrize(
    ("sizes", "asked", "perplexity", "k"),
    [((60, 45), (12, 40), 12, 40), ((60, 45), (30, 500), 30, 104), ((5, 5), (30, 90), 3, 9)],
)
def test_ilisi_is_what_bisection_finds(unequal, sizes, asked, perplexity, k):
    """What is asked for is capped at the pool, and the perplexity at a third of it."""
    X, Y = (side[:size] for side, size in zip(unequal, sizes, strict=True))
    found = reference.neighbourhoods(X, Y, k)
    expected = np.mean([reference.lisi(d, o, perplexity) - 1 for d, o, _ in found])
    got = neighbours.ilisi(X, Y, perplexity=asked[0], n_neighbors=asked[1])
    assert got == pytest.approx(expected, abs=1e-6)


def test_kbet_is_a_chi_square_test_of_each_neighbourhood(unequal):
    n, m = (len(side) for side in unequal)
    accepted = []
    for i, (_, other, _) in enumerate(reference.neighbourhoods(*unequal, 20)):
        share = (m if i < n else n) / (n + m - 1)
        seen = [other.sum(), 20 - other.sum()]
        accepted.append(stats.chisquare(seen, [20 * share, 20 * (1 - share)]).pvalue >= 0.05)
    assert neighbours.kbet(*unequal, n_neighbors=20) == pytest.approx(np.mean(accepted))
    strict = neighbours.kbet(*unequal, n_neighbors=20, alpha=0.5)
    assert strict < neighbours.kbet(*unequal, n_neighbors=20)


def test_hubness_is_the_skewness_of_the_k_occurrence(unequal):
    Z = np.concatenate([reference.unit(side) for side in unequal])
    near = NearestNeighbors(n_neighbors=8).fit(Z).kneighbors(Z, return_distance=False)[:, 1:]
    counts = np.bincount(near.ravel(), minlength=len(Z))
    assert neighbours.hubness(*unequal, k=7) == pytest.approx(stats.skew(counts))


def test_mutual_knn_counts_common_neighbours():
    X, Y = make_gapped(50, 6, seed=1)
    common = [
        len(a & b) / 9
        for a, b in zip(reference.nearest_within(X, 9), reference.nearest_within(Y, 9), strict=True)
    ]
    assert neighbours.mutual_knn(X, Y, k=9) == pytest.approx(np.mean(common))
    before, after = EmbeddingPair(X, X[::-1]), EmbeddingPair(Y, X[::-1])
    kept = neighbours.neighbourhood_preservation(before, after, k=9)
    assert kept.image_to_text == pytest.approx(np.mean(common))
    assert kept.text_to_image == 1


def test_separate_and_mixed_clouds(coco):
    X, Y = coco
    assert neighbours.ilisi(X, Y) < 1e-4
    assert neighbours.kbet(X, Y) == 0
    centred = scan_pool(X - X.mean(axis=0), Y - Y.mean(axis=0), n_neighbors=90)
    assert neighbours.ilisi(centred) == pytest.approx(0.22, abs=0.03)
    assert neighbours.kbet(centred) == pytest.approx(0.06, abs=0.02)
    X, Y = np.random.default_rng(0).normal(size=(2, 400, 8))
    assert neighbours.ilisi(X, Y) > 0.85
    assert neighbours.kbet(X, Y) > 0.9
    collapsed = scan_pool(np.ones((80, 3)), np.ones((80, 3)), n_neighbors=90)
    assert neighbours.ilisi(collapsed) > 0.99
    assert neighbours.kbet(collapsed) == 1


def test_a_sample_weighs_the_modalities_as_the_pool_does():
    X, Y = make_gapped(300, 6, seed=0, gap=0.05)
    Y = np.concatenate([Y, Y + 0.01, Y - 0.01])
    whole = neighbours.ilisi(scan_pool(X, Y, n_neighbors=90))
    some = neighbours.ilisi(scan_pool(X, Y, n_neighbors=90, max_queries=150))
    assert some == pytest.approx(whole, rel=0.1)
