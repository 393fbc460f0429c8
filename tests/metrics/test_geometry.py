"""Distances and geometry against loops, dense formulas and published values."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import sqrtm, subspace_angles

import reference
from fillgap import linalg
from fillgap.metrics import distances, geometry
from fillgap.metrics.geometry import both_moments
from fillgap.pair import EmbeddingPair
from worlds import load_npz, make_gapped


@pytest.fixture(scope="module")
def units():
    X, Y = make_gapped(200, 12, seed=2)
    return reference.unit(X), reference.unit(Y[:150])


def test_frechet_distance_is_the_formula_with_a_dense_square_root(units):
    X, Y = units
    A, B = np.cov(X.T), np.cov(Y.T)
    term = np.trace(A + B - 2 * sqrtm(A @ B).real)
    found = geometry.frechet_distance(X, Y)
    assert found.mean_term == pytest.approx(np.sum((X.mean(axis=0) - Y.mean(axis=0)) ** 2))
    assert found.covariance_term == pytest.approx(term, abs=1e-7)
    assert found.value == found.mean_term + found.covariance_term
    scaled = geometry.frechet_distance(16 * X, 16 * Y, unit=False)
    assert scaled.value == pytest.approx(256 * found.value)
    assert geometry.frechet_distance(16 * X, Y).value == pytest.approx(found.value)


def test_known_values_on_coco(coco):
    X, Y = coco
    centred = [side - side.mean(axis=0) for side in (X, Y)]
    assert geometry.centroid_distance(X, Y) == pytest.approx(0.8514, abs=5e-5)
    assert geometry.gap_angle(X, Y) == pytest.approx(72.01, abs=5e-3)
    raw = geometry.frechet_distance(X, Y)
    assert raw.value == pytest.approx(1.105, abs=5e-4)
    assert raw.covariance_term == pytest.approx(0.380, abs=5e-4)
    assert geometry.centroid_distance(*centred) == pytest.approx(0.0279, abs=5e-5)
    after = geometry.frechet_distance(*centred)
    assert after.value == pytest.approx(0.787, abs=5e-4)
    assert after.covariance_term == pytest.approx(0.786, abs=5e-4)
    found = geometry.subspace_overlap(X, Y, n_draws=1)
    assert "500 rows are few for 512 dimensions" in str(found.warning)
    assert found.sentence.startswith("Too few rows to say whether the modalities collapsed")


def test_published_centroid_distances(real_data):
    published = json.loads((real_data / "amumo" / "reference_values.json").read_text())
    assert len(published) == 7
    for name, values in published.items():
        arrays = load_npz(real_data / "amumo" / f"{name.replace('/', '__')}.npz")
        X, Y = (arrays[side].astype(np.float64) for side in ("images", "texts"))
        expected = values["published_gap_distance"]
        assert geometry.centroid_distance(X, Y) == pytest.approx(expected, abs=1e-5)


def test_spectra_are_those_of_a_singular_value_decomposition(units):
    moments = both_moments(*units)
    bases = [linalg.energy_basis(side.second_moment(), 0.9) for side in (moments.x, moments.y)]
    angles = np.sort(np.degrees(subspace_angles(*bases)))
    np.testing.assert_allclose(geometry.principal_angles(moments, energy=0.9), angles, atol=1e-9)
    for side, found in enumerate(geometry.explained_variance(*units)):
        centred = units[side] - units[side].mean(axis=0)
        sigma = np.linalg.svd(centred, compute_uv=False)
        np.testing.assert_allclose(found, sigma**2 / np.sum(sigma**2), atol=1e-12)
        p = sigma / sigma.sum()
        rank = np.exp(-np.sum(p * np.log(p)))
        ranks = geometry.effective_rank(*units)
        assert (ranks.images, ranks.texts)[side] == pytest.approx(rank)
        energy = np.cumsum(np.linalg.svd(units[side], compute_uv=False) ** 2)
        for share in (0.5, 0.9, 0.99):
            expected = np.argmax(energy / energy[-1] >= share) + 1
            sizes = geometry.energy_dimension(*units, energy=share)
            assert (sizes.images, sizes.texts)[side] == expected


def subspace_rows(rng, basis, n):
    return rng.normal(size=(n, basis.shape[1])) @ basis.T


def test_small_angles_keep_their_digits():
    rng = np.random.default_rng(0)
    tilted = np.eye(9)[:, 1:4].copy()
    tilted[:, 0] = np.cos(1e-7) * np.eye(9)[1] + np.sin(1e-7) * np.eye(9)[5]
    rows = (subspace_rows(rng, basis, 40) for basis in (np.eye(9)[:, :4], tilted))
    angles = geometry.principal_angles(*rows, energy=1 - 1e-9)
    np.testing.assert_allclose(angles[-1], np.degrees(1e-7), rtol=1e-3)
    X, turn = rng.normal(size=(50, 2)) * 0.01 + [5, 0], np.array([[1, -1e-7], [1e-7, 1]])
    assert np.radians(geometry.gap_angle(X, X @ turn.T)) == pytest.approx(1e-7, rel=1e-5)
    assert geometry.gap_angle(X, -X) == pytest.approx(180)


def test_shared_dimensions_are_counted_beside_chance():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    X = subspace_rows(rng, Q[:, :12], 900)
    Y = subspace_rows(rng, Q[:, 7:17], 900)  # five in common
    found = geometry.subspace_overlap(X, Y, energy=1 - 1e-9)
    assert (found.images_dimension, found.texts_dimension, found.value) == (12, 10, 5)
    assert found.random == 0
    assert found.closeness == pytest.approx(0.5)
    assert found.excess == pytest.approx((0.5 - 12 / 40) / (1 - 12 / 40))
    assert found.warning is None
    assert found.sentence.startswith("The modalities share a part of their subspaces")
    assert "of 12 and 10 dimensions share 5, where random ones share 0" in found.sentence
    angles = geometry.principal_angles(X, Y, energy=1 - 1e-9)
    np.testing.assert_allclose(angles, [0] * 5 + [90] * 5, atol=1e-5)
    assert found.median_angle == pytest.approx(45, abs=1e-5)


def hyperplanes(rng, n, d, angle):
    """Return two clouds of rows, each perpendicular to one of two normals at that angle."""
    normals = np.eye(d)[0], np.cos(angle) * np.eye(d)[0] + np.sin(angle) * np.eye(d)[1]
    clouds = rng.normal(size=(2, n, d))
    return [Z - np.outer(Z @ normal, normal) for Z, normal in zip(clouds, normals, strict=True)]


def random_basis(d, size, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, size)))[0]


APART = "The modalities collapsed into different subspaces"
PART = "The modalities share a part of their subspaces"
NEARER = "The modalities lie in different subspaces, but nearer to each other than random"


@pytest.mark.parametrize(
    ("images", "texts", "beginning"),
    [
        (np.eye(60)[:, :10], np.eye(60)[:, 15:], APART),
        (np.eye(60)[:, :10], 0.8 * np.eye(60)[:, :10] + 0.6 * np.eye(60)[:, 20:30], NEARER),
        (np.eye(60)[:, :20], np.eye(60)[:, 5:15], "The modalities share a subspace"),
        (np.eye(60)[:, :20], np.eye(60)[:, 5:30], PART),
        (random_basis(60, 20, 0), random_basis(60, 20, 1), APART),
        (random_basis(60, 45, 0), random_basis(60, 45, 1), APART),
        (np.eye(60), np.eye(60), "The modalities fill the space, so that angles say nothing"),
    ],
)
def test_the_sentence_goes_by_the_angles(images, texts, beginning):
    rng = np.random.default_rng(1)
    rows = (subspace_rows(rng, basis, 400) for basis in (images, texts))
    found = geometry.subspace_overlap(*rows, energy=1 - 1e-9)
    assert found.sentence.startswith(beginning)
    if beginning == APART and found.random:  # at the angles of random subspaces
        assert found.median_angle == pytest.approx(found.random_median_angle, abs=8)


@pytest.mark.parametrize(("angle", "beginning"), [(0.02, "The modalities share a subspace"),
                                                  (0.5, NEARER), (1.5, APART)])  # fmt: skip
def test_hyperplanes_are_judged_by_the_one_angle_that_is_free(angle, beginning):
    X, Y = hyperplanes(np.random.default_rng(0), 400, 12, angle)
    found = geometry.subspace_overlap(X, Y, energy=1.0)
    assert (found.images_dimension, found.texts_dimension, found.random) == (11, 11, 10)
    assert found.median_angle == pytest.approx(np.degrees(angle), abs=1e-4)
    assert geometry.hyperplane_angle(X, Y) == pytest.approx(np.degrees(angle), abs=1e-4)
    assert found.sentence.startswith(beginning)
    assert f"the median angle of the others is {np.degrees(angle):.0f}°" in found.sentence


def test_the_closeness_of_random_subspaces_is_known():
    found = geometry.subspace_overlap(*np.random.default_rng(0).normal(size=(2, 100, 9)))
    found = replace(found, images_dimension=4, texts_dimension=6)
    drawn = np.mean(linalg.random_cosines(9, 4, 6, n_draws=4000, random_state=0) ** 2, axis=1)
    mean, deviation = found.random_closeness
    assert drawn.mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(4000))
    assert drawn.std() == pytest.approx(deviation, rel=0.05)


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
        (distances.pair_cosine_distance(X, Y, index), reference.pair_cosine_distance(X, Y, index)),
        (distances.cross_cosine_distance(X, Y), reference.cross_cosine_distance(X, Y)),
        (distances.within_cosine(X, Y).images, reference.within_cosine(X)),
        (distances.within_cosine(X, Y).texts, reference.within_cosine(Y)),
        (distances.relative_modality_gap(X, Y, index),
         reference.relative_modality_gap(X, Y, index)),
        (distances.relative_modality_gap(np.ones((3, 2)), np.ones((3, 2))), 0),
    ):  # fmt: skip
        assert measured == pytest.approx(expected, rel=1e-12, abs=1e-15)


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
def test_known_distances_on_coco(coco, centred, distance, cosine, within, cross, gap):
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
    none = distances.paired_change(before, before)
    assert (none.mean_change, none.t_pvalue, none.wilcoxon_pvalue) == (0, 1, 1)


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
