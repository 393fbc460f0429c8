"""Geometry and distributions against dense formulas, theorems, and published values."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm, subspace_angles

import reference
from conftest import load_npz, make_gapped
from fillgap import linalg
from fillgap.datasets import load_digit_scenes
from fillgap.errors import InputError
from fillgap.metrics import geometry
from fillgap.metrics.geometry import both_moments


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


def test_frechet_distance_of_gaussians_on_a_line():
    """In one effective dimension it is (μ − ν)² + (σ − τ)²."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(2, 3, 500), rng.normal(5, 1, 400)
    X, Y = (np.column_stack([line, np.full(len(line), 7.0)]) for line in (a, b))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert geometry.frechet_distance(X, Y, unit=False).value == pytest.approx(expected)


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


def test_published_centroid_distances(real_data):
    published = json.loads((real_data / "amumo" / "reference_values.json").read_text())
    assert len(published) == 7
    for name, values in published.items():
        arrays = load_npz(real_data / "amumo" / f"{name.replace('/', '__')}.npz")
        X, Y = (arrays[side].astype(np.float64) for side in ("images", "texts"))
        expected = values["published_gap_distance"]
        assert geometry.centroid_distance(X, Y) == pytest.approx(expected, abs=1e-5)


def test_a_gap_angle_is_exact_where_it_is_small():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3)) * 0.01 + [5, 0, 0]
    angle = 1e-7
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    assert np.radians(geometry.gap_angle(X, X @ turn.T)) == pytest.approx(angle, rel=1e-5)
    assert geometry.gap_angle(X, -X) == pytest.approx(180)


def test_spectra_are_those_of_a_singular_value_decomposition(units):
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


def test_principal_angles_are_those_of_scipy(units):
    moments = both_moments(*units)
    bases = [linalg.energy_basis(side.second_moment(), 0.9) for side in (moments.x, moments.y)]
    expected = np.sort(np.degrees(subspace_angles(*bases)))
    np.testing.assert_allclose(geometry.principal_angles(moments, energy=0.9), expected, atol=1e-9)


def test_principal_angles_near_zero_keep_their_digits():
    rng = np.random.default_rng(0)
    tilted = np.eye(9)[:, 1:4].copy()
    tilted[:, 0] = np.cos(1e-7) * np.eye(9)[1] + np.sin(1e-7) * np.eye(9)[5]
    rows = (subspace_rows(rng, basis, 40) for basis in (np.eye(9)[:, :4], tilted))
    angles = geometry.principal_angles(*rows, energy=1 - 1e-9)
    np.testing.assert_allclose(angles[-1], np.degrees(1e-7), rtol=1e-3)


def test_shared_dimensions_are_counted_beside_chance():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    X = subspace_rows(rng, Q[:, :12], 900)
    Y = subspace_rows(rng, Q[:, 7:17], 900)  # five in common
    found = geometry.subspace_overlap(X, Y, energy=1 - 1e-9)
    assert (found.images_dimension, found.texts_dimension, found.value) == (12, 10, 5)
    assert found.random == 0
    assert found.random_mean == 0
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
    ],
)
def test_the_sentence_goes_by_the_angles(images, texts, beginning):
    rng = np.random.default_rng(1)
    rows = (subspace_rows(rng, basis, 400) for basis in (images, texts))
    assert geometry.subspace_overlap(*rows, energy=1 - 1e-9).sentence.startswith(beginning)


def test_random_subspaces_are_called_apart():
    rng = np.random.default_rng(2)
    for size in (3, 20, 45):
        bases = (np.linalg.qr(rng.normal(size=(60, size)))[0] for _ in range(2))
        rows = (subspace_rows(rng, basis, 400) for basis in bases)
        found = geometry.subspace_overlap(*rows, energy=1 - 1e-9)
        assert found.sentence.startswith(APART), found
        assert found.median_angle == pytest.approx(found.random_median_angle, abs=8)


@pytest.mark.parametrize(("angle", "beginning"), [(0.02, "The modalities share a subspace"),
                                                  (0.5, NEARER), (1.5, APART)])  # fmt: skip
def test_hyperplanes_are_judged_by_the_one_angle_that_is_free(angle, beginning):
    X, Y = hyperplanes(np.random.default_rng(0), 400, 12, angle)
    found = geometry.subspace_overlap(X, Y, energy=1.0)
    assert (found.images_dimension, found.texts_dimension, found.random) == (11, 11, 10)
    assert found.median_angle == pytest.approx(np.degrees(angle), abs=1e-4)
    assert found.sentence.startswith(beginning)
    assert f"the median angle of the others is {np.degrees(angle):.0f}°" in found.sentence


def test_the_closeness_of_random_subspaces_is_known():
    found = geometry.subspace_overlap(*np.random.default_rng(0).normal(size=(2, 100, 9)))
    found = replace(found, images_dimension=4, texts_dimension=6)
    drawn = np.mean(linalg.random_cosines(9, 4, 6, n_draws=4000, random_state=0) ** 2, axis=1)
    mean, deviation = found.random_closeness
    assert drawn.mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(4000))
    assert drawn.std() == pytest.approx(deviation, rel=0.05)


def test_subspaces_that_fill_the_space_tell_nothing():
    full = geometry.subspace_overlap(*np.random.default_rng(1).normal(size=(2, 100, 6)))
    assert full.excess is None
    assert full.value == full.random == full.random_mean
    assert full.median_angle == full.random_median_angle == 0
    assert "angles say nothing" in full.sentence


@pytest.mark.parametrize(("variant", "beginning"), [("gap", NEARER), ("no_gap", PART)])
def test_the_bundled_scenes_are_not_called_collapsed(variant, beginning):
    pair = load_digit_scenes(variant=variant)
    found = geometry.subspace_overlap(pair)
    assert found.median_angle < found.random_median_angle / 2
    assert found.sentence.startswith(beginning)


def test_few_rows_are_a_warning(coco):
    found = geometry.subspace_overlap(*coco, n_draws=1)
    assert "500 rows are few for 512 dimensions" in str(found.warning)
    assert found.sentence.startswith("Too few rows to say whether the modalities collapsed")


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 24), st.integers(1, 24), st.integers(1, 24), st.integers(0, 99))
def test_random_subspaces_share_what_the_formula_says(d, a, b, seed):
    a, b = min(a, d), min(b, d)
    cosines = linalg.random_cosines(d, a, b, n_draws=2, random_state=seed)
    assert cosines.shape == (2, min(a, b))
    exact = np.count_nonzero(cosines > 1 - 1e-12, axis=1)
    assert (exact >= linalg.random_overlap(d, a, b)).all()
    # Beyond these a cosine of 1 has probability zero; by rounding it may come near.
    assert (exact <= linalg.random_overlap(d, a, b) + 1).all()
    assert (np.diff(cosines, axis=1) <= 1e-12).all()


@pytest.mark.parametrize("angle", [0.2, 0.9, 1.4])
def test_the_angle_between_hyperplanes(angle):
    X, Y = hyperplanes(np.random.default_rng(0), 80, 6, angle)
    assert geometry.hyperplane_angle(X, Y) == pytest.approx(np.degrees(angle), abs=1e-4)


def test_hyperplanes_that_are_not_determined_are_refused(coco):
    with pytest.raises(InputError, match="images must be more than the 512 dimensions .* got 500"):
        geometry.hyperplane_angle(*coco)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6))
    Y = X.copy()
    Y[:, :2] = 0  # two directions without any energy
    with pytest.raises(InputError, match="texts must be of one direction with least energy"):
        geometry.hyperplane_angle(X, Y)


CENTRED = np.array([[1.0, 0], [-1.0, 0], [0, 1.0], [0, -1.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda X, Y: geometry.gap_angle(CENTRED + 3, CENTRED),
            "centroid of the texts must be non-",
        ),
        (
            lambda X, Y: geometry.effective_rank(CENTRED[[0, 0]], CENTRED),
            "images must be more than one",
        ),
        (
            lambda X, Y: geometry.energy_dimension(X, Y, energy=1.2),
            "energy must be greater than 0 and",
        ),
        (lambda X, Y: geometry.subspace_overlap(X, Y, tolerance=2), "tolerance must be at least 0"),
        (lambda X, Y: geometry.frechet_distance(X, Y[:, :3]), "texts must be of one dimension"),
    ],
)
def test_refusals(units, call, message):
    with pytest.raises(InputError, match=message):
        call(*units)
