"""Rotation and projection: what the theorems promise, on data built to satisfy them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from conftest import make_gapped
from fillgap.aligners import HyperplaneRotation, SharedSpaceProjection, Translation
from fillgap.aligners.centring import matching_translation
from fillgap.aligners.subspace import direct_rotation
from fillgap.errors import InputError
from fillgap.linalg import energy_basis, principal_vectors, random_overlap
from reference import unit

Pair = tuple[np.ndarray, np.ndarray]


@pytest.mark.parametrize("sizes", [(3, 3), (2, 5), (5, 2), (9, 9), (8, 10)])
def test_direct_rotation_is_orthogonal_and_turns_each_vector_onto_its_partner(
    sizes: tuple[int, int],
) -> None:
    rng = np.random.default_rng(0)
    cosines, a, b = principal_vectors(
        *(np.linalg.qr(rng.normal(size=(12, size)))[0] for size in sizes)
    )
    k = len(cosines)
    R = direct_rotation(a[:, :k], b[:, :k])
    np.testing.assert_allclose(R @ R.T, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(a[:, :k].T @ R, b[:, :k].T, atol=1e-12)
    span = np.linalg.svd(np.hstack([a[:, :k], b[:, :k]]))
    outside = span[0][:, np.sum(span[1] > 1e-10) :]
    np.testing.assert_allclose(outside.T @ R, outside.T, atol=1e-12)
    shared = a[:, :k][:, cosines > 1 - 1e-12]
    np.testing.assert_allclose(shared.T @ R, shared.T, atol=1e-6)


def in_hyperplanes(n: int, d: int, phi: float, seed: int) -> Pair:
    """Draw pairs of which each side lies in its own hyperplane, at the angle `phi`.

    The texts are the images turned from the one hyperplane into the other.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + np.eye(d)[0]
    X[:, -1] = 0
    turn = np.eye(d)
    turn[-2:, -2:] = [[np.cos(phi), np.sin(phi)], [-np.sin(phi), np.cos(phi)]]
    return unit(X), unit(X @ turn)


@pytest.mark.parametrize("phi", [0.2, 0.7, 1.4])
def test_two_hyperplanes_are_rotated_onto_one_and_pairs_meet(phi: float) -> None:
    X, Y = in_hyperplanes(500, 8, phi, seed=0)
    assert np.abs(np.einsum("ij,ij->i", X, Y) - 1).max() > 0.01
    for direction in ("image_to_text", "text_to_image"):
        aligner = HyperplaneRotation(direction=direction, energy=1.0).fit(X, Y)
        A, B = aligner.transform_pair(X, Y)
        np.testing.assert_allclose(A, B, atol=1e-9)
        np.testing.assert_allclose(A @ A.T, X @ X.T, atol=1e-9)
        assert aligner.left_over_energy_ == pytest.approx(0, abs=1e-12)
        assert np.arccos(aligner.cosines_[-1]) == pytest.approx(phi, abs=1e-6)


def test_projection_on_the_shared_space_lets_pairs_meet() -> None:
    X, Y = in_hyperplanes(500, 8, 0.7, seed=0)
    # Pairs that agree on what the hyperplanes share and differ only along their own direction.
    aligner = SharedSpaceProjection(energy=1.0).fit(X, Y)
    assert aligner.overlap_ == 6
    A, B = aligner.transform_pair(X, Y)
    np.testing.assert_allclose(A, B, atol=1e-9)


def test_projection_is_idempotent_and_lies_in_both_subspaces(gapped: Pair) -> None:
    X, Y = gapped
    aligner = SharedSpaceProjection(energy=0.95, tolerance=0.05, normalize=False).fit(X, Y)
    P = aligner.map_x_.matrix
    assert P is not None
    np.testing.assert_allclose(P @ P, P, atol=1e-12)
    np.testing.assert_allclose(P, P.T, atol=1e-12)
    assert np.trace(P) == pytest.approx(aligner.overlap_)
    kept = [np.mean(np.sum(side**2, axis=1)) for side in aligner.transform_pair(X, Y)]
    np.testing.assert_allclose(aligner.kept_energy_, kept, atol=1e-12)
    for rows, tolerance in ((X, 1e-6), (Y, np.arccos(0.95) + 1e-6)):
        basis = energy_basis(unit(rows).T @ unit(rows), 0.95)
        directions = np.linalg.svd(P)[0][:, : aligner.overlap_]
        assert subspace_angles(directions, basis).max() <= tolerance


def test_components_are_those_with_the_most_energy(gapped: Pair) -> None:
    energies = []
    for k in (1, 3, 6):
        aligner = SharedSpaceProjection(n_components=k).fit(*gapped)
        assert np.linalg.matrix_rank(aligner.map_x_.matrix) == k
        energies.append(aligner.kept_energy_.sum())
    assert energies == sorted(energies)
    whole = SharedSpaceProjection().fit(*gapped)
    many = SharedSpaceProjection(n_components=99).fit(*gapped)
    assert f"only {whole.overlap_} directions are shared" in many.notes_[0]
    np.testing.assert_allclose(many.map_x_.matrix, whole.map_x_.matrix, atol=1e-12)


def test_nothing_shared_is_said() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 6)), rng.normal(size=(40, 6))
    X[:, 3:], Y[:, :3] = 0, 0
    with pytest.raises(InputError, match="must share a direction to project on, got a largest"):
        SharedSpaceProjection().fit(X, Y)


def test_left_over_directions_stay_where_they_are() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(200, 8)), rng.normal(size=(200, 8))
    X[:, 6:], Y[:, :5] = 0, 0
    aligner = HyperplaneRotation(energy=1.0).fit(X, Y)
    assert len(aligner.cosines_) == 3
    assert 0.3 < aligner.left_over_energy_ < 0.7
    larger = HyperplaneRotation(direction="text_to_image", energy=1.0).fit(X, Y)
    assert larger.left_over_energy_ == 0


def test_real_embeddings_share_about_what_random_subspaces_would(coco: Pair) -> None:
    aligner = SharedSpaceProjection().fit(*coco)
    assert "fitted on 500 rows in 512 dimensions" in aligner.notes_[0]
    bases = [energy_basis(side.T @ side, 0.99) for side in coco]
    assert aligner.overlap_ == np.sum(np.cos(subspace_angles(*bases)) > 0.999)
    expected = random_overlap(512, *(basis.shape[1] for basis in bases))
    assert abs(aligner.overlap_ - expected) < 10
    A, B = aligner.transform_pair(*coco)
    before, after = (gap_angle(*pair) for pair in (coco, (A, B)))
    assert after < before


def gap_angle(X: np.ndarray, Y: np.ndarray) -> float:
    x, y = (unit(side).mean(0) for side in (X, Y))
    return float(np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))


def test_translation_moves_the_mean(gapped: Pair) -> None:
    X, Y = (unit(side) for side in gapped)
    A, B = Translation(normalize=False).fit(X, Y).transform_pair(X, Y)
    np.testing.assert_allclose(A.mean(0), Y.mean(0), atol=1e-12)
    np.testing.assert_allclose(B, Y, atol=1e-15)


def test_matching_translation_is_the_least_that_is_enough() -> None:
    X, Y = make_gapped(200, 10, seed=0)
    wanted = 0.6 * gap_angle(X, Y)
    amount = matching_translation(X, Y, angle=wanted)
    angles = [
        gap_angle(*Translation(amount=value).fit(X, Y).transform_pair(X, Y))
        for value in (amount - 0.01, amount)
    ]
    assert angles[1] < wanted <= angles[0]
    assert matching_translation(X, Y, angle=4.0) == 0.0


@pytest.mark.parametrize("energy", [0.0, 1.1, float("nan")])
def test_energy_out_of_range(energy: float, gapped: Pair) -> None:
    for aligner in (SharedSpaceProjection(energy=energy), HyperplaneRotation(energy=energy)):
        with pytest.raises(InputError, match="energy must be greater than 0 and at most 1"):
            aligner.fit(*gapped)
    with pytest.raises(InputError, match="direction must be one of"):
        HyperplaneRotation(direction="both").fit(*gapped)
