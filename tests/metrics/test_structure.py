"""Alignment, uniformity, CKA, separability and clusters against definitions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

import reference
from conftest import make_gapped
from fillgap.errors import InputError
from fillgap.metrics import structure
from fillgap.metrics.geometry import both_moments
from fillgap.metrics.structure import linear_separability
from fillgap.pair import EmbeddingPair


@pytest.fixture(scope="module")
def data():
    return make_gapped(80, 7, seed=5)


def test_alignment_and_uniformity_are_what_their_definitions_say(data):
    X, Y = data
    U, V = reference.unit(X), reference.unit(Y)
    assert structure.alignment(X, Y) == pytest.approx(reference.mean_distance(U, V, power=2))
    found = structure.uniformity(X, Y)
    assert found.images == pytest.approx(reference.uniformity(X))
    assert structure.uniformity(X, Y, t=0.5).texts == pytest.approx(reference.uniformity(Y, 0.5))


def test_uniformity_of_a_sample_is_near_that_of_all():
    X, Y = make_gapped(900, 6, seed=0)
    some = structure.uniformity(X, Y, max_rows=300)
    assert some.images == pytest.approx(structure.uniformity(X, Y).images, rel=0.05)
    assert some == structure.uniformity(X, Y, max_rows=300)
    assert some != structure.uniformity(X, Y, max_rows=300, random_state=1)


def test_uniformity_in_blocks(data, monkeypatch):
    expected = structure.uniformity(*data)
    monkeypatch.setattr(structure, "MEMORY_BYTES", 1)
    assert structure.uniformity(*data).images == pytest.approx(expected.images)


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, Y: linear_separability(X, Y[:4]), "at least 5 rows for 5 folds, got 4"),
        (lambda X, Y: structure.uniformity(X, Y, t=0), "t must be greater than 0"),
        (lambda X, Y: structure.uniformity(X, Y, max_rows=1), "max_rows must be at least 2, got 1"),
        (lambda X, Y: structure.linear_cka(X, Y[:-1]), "must be paired to compare their struct"),
        (lambda X, Y: structure.linear_cka(both_moments(X, Y)), "must be with the cross scatter"),
        (
            lambda X, Y: structure.linear_cka(X[[0, 0]], X[[0, 0]]),
            "images must be more than one point",
        ),
        (
            lambda X, Y: structure.cluster_mixing(X, Y, labels=[0, 1]),
            "one for each of the 80 images",
        ),
        (
            lambda X, Y: structure.cluster_mixing(X[[0, 1, 0]], X[[1, 0, 0]], n_clusters=3),
            "at least 3 different rows for 3 clusters, got fewer",
        ),
        (lambda X, Y: structure.cluster_mixing(X, Y, n_clusters=161), "between 1 and 160, got 161"),
    ],
)
def test_refusals(data, call, message):
    with pytest.raises(InputError, match=message):
        call(*data)
