"""Two hyperplanes: coordinates, rotation, projection, and when a pair is aligned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fillgap.errors import InputError
from fillgap.papers.theory import HyperplanePair, pair_alignment, reach
from fillgap.papers.theory.hyperplanes import best_response_angles, chord_angle

planes = st.builds(HyperplanePair, st.integers(3, 30), st.floats(0.01, 1.56))
seeds = st.integers(0, 2**32 - 1)


def rows(n: int, d: int, seed: int) -> np.ndarray:
    X = np.random.default_rng(seed).normal(size=(n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@given(planes)
def test_bases_are_orthonormal_and_meet_at_phi(pair):
    for basis in (pair.basis_x, pair.basis_y, pair.shared_basis):
        np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-12)
    normals = [np.linalg.svd(basis.T)[2][-1] for basis in (pair.basis_x, pair.basis_y)]
    assert np.arccos(abs(normals[0] @ normals[1])) == pytest.approx(pair.phi, abs=1e-6)
    for basis in (pair.basis_x, pair.basis_y):
        shared = pair.shared_basis
        np.testing.assert_allclose(basis @ basis.T @ shared, shared, atol=1e-12)


@given(planes, seeds)
def test_rotation_unites_the_hyperplanes_and_keeps_what_they_share(pair, seed):
    rotation, d = pair.rotation, pair.n_features
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(d), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    inside = rows(5, d - 1, seed)
    turned = inside @ pair.basis_y.T @ rotation
    np.testing.assert_allclose(turned, inside @ pair.basis_x.T, atol=1e-12)
    shared = pair.shared_basis.T
    np.testing.assert_allclose(shared @ rotation, shared, atol=1e-12)


@given(planes, seeds)
def test_pairs_with_one_shadow_on_the_shared_space_are_aligned_by_both_repairs(pair, seed):
    """Corollaries 3 and 4 of DG, on data built to satisfy theorem 4."""
    inside = rows(8, pair.n_features - 1, seed)
    X, Y = inside @ pair.basis_x.T, inside @ pair.basis_y.T
    away = np.abs(inside[:, -1])
    expected = 2 * np.arcsin(away * np.sin(pair.phi / 2))
    np.testing.assert_allclose(chord_angle(X, Y), expected, atol=1e-9)
    assert pair_alignment(X, Y @ pair.rotation).max_angle < 1e-12
    once = pair.onto_shared(X)
    assert pair_alignment(once, pair.onto_shared(Y)).max_angle < 1e-9
    np.testing.assert_allclose(pair.onto_shared(once), once, atol=1e-12)


@given(planes, seeds)
def test_no_vector_of_b_exceeds_the_reach_and_the_best_is_not_best_both_ways(pair, seed):
    """Lemma 12; and if y is the best for x outside of C, then x is not the best for it."""
    X, Y = (rows(30, pair.n_features - 1, seed + side) for side in range(2))
    X, Y = X @ pair.basis_x.T, Y @ pair.basis_y.T
    bound = reach(X, pair.basis_y)
    assert np.all(np.abs(X @ Y.T) <= bound[:, None] + 1e-12)
    best = X @ pair.basis_y @ pair.basis_y.T
    best /= np.linalg.norm(best, axis=1, keepdims=True)
    np.testing.assert_allclose((X * best).sum(axis=1), bound, atol=1e-12)
    np.testing.assert_allclose(best_response_angles(X, best, pair.basis_y), 0, atol=1e-7)
    back = best_response_angles(best, X, pair.basis_x)
    height = np.abs(X @ pair.basis_x[:, -1])
    assert np.all(back[(height > 0.05) & (height < 0.999)] > 1e-7)


def test_matched_counts_mutual_nearest_items():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    Y = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    found = pair_alignment(X, Y)
    assert found.matched == pytest.approx(1 / 3)
    assert found.max_angle == pytest.approx(np.arccos(0.6))
    assert found.mean_angle == pytest.approx((0 + np.arccos(0.8) + np.arccos(0.6)) / 3)
    angles = np.radians([[0, 35], [30, 60]])  # x_0's nearest is y_0, whose nearest is x_1
    X, Y = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    assert pair_alignment(X, Y).matched == pair_alignment(Y, X).matched == 0


def test_tiny_angles_are_exact_where_arccos_is_not():
    X = np.array([[1.0, 0.0]])
    Y = np.array([[np.cos(1e-10), np.sin(1e-10)]])
    assert chord_angle(X, Y)[0] == pytest.approx(1e-10, rel=1e-9)
    assert chord_angle(X, -X)[0] == pytest.approx(np.pi)


@pytest.mark.parametrize(
    ("function", "arguments", "sentence"),
    [
        (HyperplanePair, (2, 0.5), "n_features must be at least 3, got 2"),
        *(
            (HyperplanePair, (4, phi), "phi must be an angle in radians between 0 and π/2")
            for phi in (0.0, np.pi / 2, 2.0, -0.1, np.nan)
        ),
        (pair_alignment, (np.eye(3), np.eye(3)[:2]), "row i belongs to row i"),
        (reach, (np.eye(3), np.ones((3, 2))), "basis must be of orthonormal columns"),
        *(
            (reach, (np.eye(3), basis), r"basis must be of shape \(3, dimension\)")
            for basis in (np.eye(4), np.zeros((3, 0)), np.ones(3))
        ),
    ],
)
def test_refusals(function, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        function(*arguments)
