"""Each aligner against its definition, computed another way, and on real embeddings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from scipy.linalg import subspace_angles

from fillgap.aligners import (
    CCA,
    Aligner,
    BalancedAligner,
    DimensionRemoval,
    EmbeddingShift,
    GaussianTransport,
    HyperplaneRotation,
    OrthogonalProcrustes,
    PCAProjection,
    RefinedAligner,
    RidgeRegression,
    SharedSpaceProjection,
    SpectralAligner,
    Translation,
    Whitening,
)
from fillgap.aligners.balanced import MixedPoolLoss
from fillgap.aligners.centring import matching_translation
from fillgap.aligners.subspace import direct_rotation
from fillgap.errors import InputError
from fillgap.linalg import energy_basis, principal_vectors, random_overlap
from fillgap.maps import scale_to_unit
from reference import unit
from worlds import load_npz, make_gapped

Pair = tuple[np.ndarray, np.ndarray]


def dense_spectral(X: np.ndarray, Y: np.ndarray, k: int, shift: float = 0.0) -> np.ndarray:
    """Embed by the eigenvectors of the whole bipartite graph, as the definition says."""
    W = unit(X) @ unit(Y).T + shift
    n, m = W.shape
    A = np.block([[np.zeros((n, n)), W], [W.T, np.zeros((m, m))]])
    root = 1 / np.sqrt(A.sum(1))
    _, F = np.linalg.eigh(np.eye(n + m) - root[:, None] * A * root)
    return unit(root[:, None] * F[:, 1 : k + 1])


def assert_same_cosines(Z: np.ndarray, F: np.ndarray, atol: float) -> None:
    np.testing.assert_allclose(Z @ Z.T, F @ F.T, atol=atol)


@pytest.mark.parametrize(
    ("k", "m", "dtype", "atol"),
    [(5, 500, "f8", 1e-8), (120, 500, "f8", 1e-8), (9, 170, "f8", 1e-8), (60, 500, "f4", 1e-6)],
)
def test_spectral_is_the_eigenvectors_of_the_graph(
    coco: Pair, k: int, m: int, dtype: str, atol: float
) -> None:
    X, Y = coco[0].astype(dtype), coco[1][:m].astype(dtype)
    aligner = SpectralAligner(n_components=k).fit(X, Y)
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    assert_same_cosines(np.vstack(aligner.transform_pair(X, Y)), dense_spectral(X, Y, k), atol)


def test_spectral_reproduces_the_published_recall(coco: Pair) -> None:
    A, B = SpectralAligner(n_components=60).fit(*coco).transform_pair(*coco)
    S = A @ np.vstack([A, B]).T
    n = len(A)
    own = S[np.arange(n), n + np.arange(n)]
    S[np.arange(n), np.arange(n)] = -np.inf
    rank = 1 + (own[:, None] < S).sum(1)
    recall = [(rank <= k).mean() for k in (5, 10, 20)]
    np.testing.assert_allclose(recall, [0.66, 0.78, 0.86], atol=0.005)


def test_spectral_adds_one_to_every_weight_where_degrees_are_not_positive(real_data: Path) -> None:
    arrays = load_npz(real_data / "amumo" / "coco100__CLOOB.npz")
    X, Y = (unit(arrays[side].astype(np.float64)) for side in ("images", "texts"))
    assert (X @ Y.sum(0)).min() <= 0
    aligner = SpectralAligner(n_components=10).fit(X, Y)
    assert aligner.shift_ == 1
    assert len(aligner.notes_) == 1
    assert "1 was added to every weight" in aligner.notes_[0]
    Z = np.vstack(aligner.transform_pair(X, Y))
    assert_same_cosines(Z, dense_spectral(X, Y, 10, shift=1.0), 1e-8)
    with pytest.raises(InputError, match="degrees of the graph must be positive"):
        SpectralAligner(negative="raise").fit(X, Y)


def test_spectral_has_no_more_components_than_the_graph(real_data: Path) -> None:
    arrays = load_npz(real_data / "amumo" / "coco100__CLIP.npz")
    aligner = SpectralAligner(n_components=120).fit(arrays["images"], arrays["texts"])
    assert "only 99 non-trivial eigenvectors: 99 kept" in aligner.notes_[0]
    assert aligner.transform(arrays["images"]).shape == (100, 99)
    assert abs(aligner.map_x_.folded(200)[0]).max() < 1e6


def test_spectral_counts_new_rows_of_no_degree(coco: Pair) -> None:
    X, Y = coco
    aligner = SpectralAligner(n_components=5).fit(X, Y)
    strange = np.vstack([X[:3], -X[:2]])
    with pytest.warns(UserWarning, match="2 of 5 images have a degree that is not positive"):
        out = aligner.transform(strange)
    np.testing.assert_allclose(out[3:], -out[:2], atol=1e-12)
    mean_x, mean_y = (unit(mean[None])[0] for mean in (aligner.mean_x_, aligner.mean_y_))
    away = (mean_x - (mean_x @ mean_y + 0.1) * mean_y)[None]  # from texts, and not from images
    assert away[0] @ mean_y < 0 < away[0] @ mean_x
    with pytest.warns(UserWarning, match="1 of 1 images have a degree"):
        aligner.transform(away)


def test_balanced_keeps_every_cross_modal_product_and_equals_the_covariances(gapped: Pair) -> None:
    X, Y = gapped
    aligner = BalancedAligner(ridge=0, normalize=False).fit(X, Y)
    A, B = aligner.transform_pair(X, Y)
    assert (np.diff(aligner.singular_values_) <= 0).all()
    X_c, Y_c = (unit(side) - unit(side).mean(0) for side in gapped)
    np.testing.assert_allclose(A @ B.T, X_c @ Y_c.T, atol=1e-9)
    for side in (A, B):
        np.testing.assert_allclose(
            np.cov(side.T, bias=True), np.diag(aligner.singular_values_), atol=1e-12
        )


def test_balanced_keeps_products_of_new_rows_at_any_ridge(coco: Pair) -> None:
    X, Y = coco
    aligner = BalancedAligner(n_components=None, ridge=0.3, normalize=False).fit(X[:250], Y[:250])
    A, B = aligner.transform_pair(X[250:], Y[250:])
    none = BalancedAligner(ridge=0, normalize=False).fit(X[:250], Y[:250])
    assert "fitted on 250 rows in 512 dimensions" in none.notes_[0]
    expected = (X[250:] - X[:250].mean(0)) @ (Y[250:] - Y[:250].mean(0)).T
    np.testing.assert_allclose(A @ B.T, expected, atol=1e-9)


def test_balanced_cuts_by_itself_where_the_ridge_drowns_the_data(coco: Pair) -> None:
    kept = [
        len(BalancedAligner(ridge=ridge).fit(*coco).singular_values_) for ridge in (1e-9, 0.3, 0.5)
    ]
    assert kept[0] > 490
    assert (np.diff(kept) < 0).all()
    C_x, C_y = (np.cov(side.T, bias=True) for side in coco)
    mean = np.sqrt(np.trace(C_x) * np.trace(C_y)) / 512
    strengths = BalancedAligner(n_components=None, ridge=0.5).fit(*coco).singular_values_
    assert 100 < kept[2] == np.sum(strengths >= 0.75 * mean)
    few = BalancedAligner(ridge=0.5).fit(coco[0][:170], coco[1][:171])
    assert len(few.singular_values_) == 512
    assert len(BalancedAligner().fit(coco[0][:171], coco[1][:171]).singular_values_) < 200


@pytest.mark.parametrize(
    "aligner",
    [Whitening(ridge=0, normalize=False), BalancedAligner(power=0, ridge=0, normalize=False)],
)
def test_both_sides_are_whitened(aligner: Aligner, gapped: Pair) -> None:
    for side in aligner.fit(*gapped).transform_pair(*gapped):
        np.testing.assert_allclose(side.T @ side / len(side), np.eye(side.shape[1]), atol=1e-9)


def test_gaussian_transport_gives_images_the_moments_of_texts(gapped: Pair) -> None:
    aligner = GaussianTransport(ridge=0, normalize=False).fit(*gapped)
    moved, texts = aligner.transform_pair(*gapped)
    np.testing.assert_allclose(moved.mean(0), texts.mean(0), atol=1e-12)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(texts.T), atol=1e-12)
    matrix = aligner.map_x_.matrix
    # A map of least displacement between Gaussians is symmetric and positive definite.
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_embedding_shift_equals_the_published_matrix(real_data: Path) -> None:
    for name in ("CLIP", "CLOOB", "CyCLIP"):
        arrays = load_npz(real_data / "amumo" / f"coco100__{name}.npz")
        aligner = EmbeddingShift().fit(arrays["images"], arrays["texts"])
        Z = np.vstack(aligner.transform_pair(arrays["images"], arrays["texts"]))
        np.testing.assert_allclose(Z @ Z.T, arrays["gram_nogap"], atol=2e-6)


def test_pca_agrees_with_scikit_learn(gapped: Pair) -> None:
    from sklearn.decomposition import PCA

    Z = unit(np.vstack(gapped))
    aligner = PCAProjection(n_components=4, normalize=False).fit(*gapped)
    pca = PCA(n_components=4).fit(Z)
    got = np.vstack(aligner.transform_pair(*gapped))
    np.testing.assert_allclose(np.abs(got), np.abs(pca.transform(Z)), atol=1e-9)
    shares = aligner.explained_variance_ratio_
    np.testing.assert_allclose(shares, pca.explained_variance_ratio_, atol=1e-12)


def test_dimension_removal_drops_the_largest_mean_differences(gapped: Pair) -> None:
    X, Y = (unit(side) for side in gapped)
    aligner = DimensionRemoval(n_removed=3, normalize=False).fit(X, Y)
    order = np.argsort(-abs(X.mean(0) - Y.mean(0)))
    assert aligner.removed_.tolist() == order[:3].tolist()
    np.testing.assert_allclose(aligner.transform(X), X[:, np.sort(order[3:])], atol=1e-15)


@pytest.mark.parametrize("center", [True, False])
def test_procrustes_agrees_with_scipy(gapped: Pair, center: bool) -> None:
    sides = [unit(side) - unit(side).mean(0) * center for side in gapped]
    aligner = OrthogonalProcrustes(center=center, normalize=False).fit(*gapped)
    R = scipy.linalg.orthogonal_procrustes(*sides)[0]
    np.testing.assert_allclose(aligner.transform(gapped[0]), sides[0] @ R, atol=1e-10)
    assert (aligner.map_x_.center is None) == (not center)


def test_ridge_regression_agrees_with_scikit_learn(gapped: Pair) -> None:
    from sklearn.linear_model import Ridge

    X, Y = (unit(side) for side in gapped)
    aligner = RidgeRegression(ridge=0.5, normalize=False).fit(X, Y)
    alpha = 0.5 * np.trace((X - X.mean(0)).T @ (X - X.mean(0))) / X.shape[1]
    expected = Ridge(alpha=alpha, solver="cholesky").fit(X, Y).predict(X)
    np.testing.assert_allclose(aligner.transform(X), expected, atol=1e-10)


def test_cca_correlations_are_those_of_the_projections(gapped: Pair) -> None:
    aligner = CCA(ridge=0, power=0, n_components=5, normalize=False).fit(*gapped)
    A, B = aligner.transform_pair(*gapped)
    got = [np.corrcoef(A[:, i], B[:, i])[0, 1] for i in range(5)]
    np.testing.assert_allclose(got, aligner.correlations_, atol=1e-9)
    angles = subspace_angles(*(unit(side) - unit(side).mean(0) for side in gapped))
    np.testing.assert_allclose(np.cos(angles)[::-1][:5], aligner.correlations_, atol=1e-9)


def test_mixed_pool_loss_against_its_definition_and_finite_differences() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 8, 6))
    X[3] = X[2]
    groups = np.array([0, 1, 2, 2, 3, 4, 5, 6])
    maps = (rng.normal(size=(6, 4)), rng.normal(size=(6, 4)))
    loss = MixedPoolLoss(X, Y, groups, temperature=0.3)

    def by_definition(maps: Pair) -> float:
        Z = unit(np.vstack([X @ maps[0], Y @ maps[1]]))
        total = 0.0
        for i in range(16):
            own = (i + 8) % 16
            others = [j for j in range(16) if j == own or groups[j % 8] != groups[i % 8]]
            logits = Z[others] @ Z[i] / 0.3
            total += np.log(np.exp(logits).sum()) - Z[own] @ Z[i] / 0.3
        return total / 16

    value, gradients = loss.value_and_gradient(maps)
    assert value == pytest.approx(by_definition(maps), abs=1e-5)
    for side in range(2):
        for index in [(0, 0), (3, 2), (5, 3)]:
            step = np.zeros((6, 4))
            step[index] = 1e-5
            moved = [tuple(m + s * step * (i == side) for i, m in enumerate(maps)) for s in (1, -1)]
            slope = (by_definition(moved[0]) - by_definition(moved[1])) / 2e-5
            assert gradients[side][index] == pytest.approx(slope, abs=1e-4)


def test_refinement_lowers_the_loss_and_a_strong_pull_keeps_the_start(gapped: Pair) -> None:
    start = BalancedAligner(n_components=8).fit(*gapped)
    near = RefinedAligner(n_components=8, penalty=1e9).fit(*gapped)
    np.testing.assert_allclose(near.transform(gapped[0]), start.transform(gapped[0]), atol=1e-4)
    free = RefinedAligner(n_components=8, penalty=1.0).fit(*gapped)
    centred = [unit(side) - unit(side).mean(0) for side in gapped]
    loss = MixedPoolLoss(centred[0], centred[1], np.arange(300), 0.07)
    values = [loss.value_and_gradient((a.map_x_.matrix, a.map_y_.matrix))[0] for a in (start, free)]
    assert values[1] < 0.9 * values[0]


def test_refinement_chooses_its_penalty_on_held_out_pairs_and_may_keep_the_start() -> None:
    X, Y = make_gapped(60, 24, seed=3)
    Y = np.random.default_rng(0).permutation(Y)  # nothing to learn: the pairing is random
    aligner = RefinedAligner(penalty=(1e-3, 1e-2)).fit(X, Y)
    assert aligner.penalty_ == min(aligner.losses_, key=aligner.losses_.get) == np.inf
    start = BalancedAligner().fit(X, Y)
    np.testing.assert_allclose(aligner.transform(X), start.transform(X), atol=1e-10)


def test_a_row_that_is_mapped_to_zero_stays_zero() -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_array_equal(scale_to_unit(rows), [[0.0, 0.0], [0.6, 0.8]])


@pytest.mark.parametrize("sizes", [(3, 3), (2, 5), (5, 2), (9, 9), (8, 10)])
def test_direct_rotation_is_orthogonal_and_turns_each_vector_onto_its_partner(
    sizes: tuple[int, int],
) -> None:
    rng = np.random.default_rng(0)
    bases = (np.linalg.qr(rng.normal(size=(12, size)))[0] for size in sizes)
    cosines, a, b = principal_vectors(*bases)
    a, b = a[:, : len(cosines)], b[:, : len(cosines)]
    R = direct_rotation(a, b)
    np.testing.assert_allclose(R @ R.T, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(a.T @ R, b.T, atol=1e-12)
    span = np.linalg.svd(np.hstack([a, b]))
    outside = span[0][:, np.sum(span[1] > 1e-10) :]
    np.testing.assert_allclose(outside.T @ R, outside.T, atol=1e-12)


def in_hyperplanes(n: int, d: int, phi: float) -> Pair:
    """Draw pairs, the texts being the images turned by `phi` into another hyperplane."""
    X = np.random.default_rng(0).normal(size=(n, d)) + np.eye(d)[0]
    X[:, -1] = 0
    turn = np.eye(d)
    turn[-2:, -2:] = [[np.cos(phi), np.sin(phi)], [-np.sin(phi), np.cos(phi)]]
    return unit(X), unit(X @ turn)


@pytest.mark.parametrize("phi", [0.2, 0.7, 1.4])
def test_pairs_of_two_hyperplanes_meet(phi: float) -> None:
    X, Y = in_hyperplanes(500, 8, phi)
    for direction in ("image_to_text", "text_to_image"):
        aligner = HyperplaneRotation(direction=direction, energy=1.0).fit(X, Y)
        A, B = aligner.transform_pair(X, Y)
        np.testing.assert_allclose(A, B, atol=1e-9)
        np.testing.assert_allclose(A @ A.T, X @ X.T, atol=1e-9)
        np.testing.assert_allclose(*((B, Y) if direction == "image_to_text" else (A, X)))
        assert aligner.left_over_energy_ == pytest.approx(0, abs=1e-12)
        assert np.arccos(aligner.cosines_[-1]) == pytest.approx(phi, abs=1e-6)
    projection = SharedSpaceProjection(energy=1.0).fit(X, Y)
    assert projection.overlap_ == 6
    np.testing.assert_allclose(*projection.transform_pair(X, Y), atol=1e-9)


def test_projection_is_idempotent_and_lies_in_both_subspaces(gapped: Pair) -> None:
    aligner = SharedSpaceProjection(energy=0.95, tolerance=0.05, normalize=False).fit(*gapped)
    P = aligner.map_x_.matrix
    np.testing.assert_allclose(P @ P, P, atol=1e-12)
    np.testing.assert_allclose(P, P.T, atol=1e-12)
    assert np.trace(P) == pytest.approx(aligner.overlap_)
    kept = [np.mean(np.sum(side**2, axis=1)) for side in aligner.transform_pair(*gapped)]
    np.testing.assert_allclose(aligner.kept_energy_, kept, atol=1e-12)
    for rows, tolerance in zip(gapped, (1e-6, np.arccos(0.95) + 1e-6), strict=True):
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


def test_directions_without_a_partner_stay_and_nothing_shared_is_said() -> None:
    X, Y = np.random.default_rng(0).normal(size=(2, 200, 8))
    X[:, 6:], Y[:, :5] = 0, 0
    aligner = HyperplaneRotation(energy=1.0).fit(X, Y)
    assert len(aligner.cosines_) == 3
    assert 0.3 < aligner.left_over_energy_ < 0.7
    larger = HyperplaneRotation(direction="text_to_image", energy=1.0).fit(X, Y)
    assert larger.left_over_energy_ == 0
    X[:, 5] = 0
    with pytest.raises(InputError, match="must share a direction to project on, got a largest"):
        SharedSpaceProjection().fit(X, Y)


def test_real_embeddings_share_about_what_random_subspaces_would(coco: Pair) -> None:
    aligner = SharedSpaceProjection().fit(*coco)
    assert "fitted on 500 rows in 512 dimensions" in aligner.notes_[0]
    bases = [energy_basis(side.T @ side, 0.99) for side in coco]
    assert aligner.overlap_ == np.sum(np.cos(subspace_angles(*bases)) > 0.999)
    expected = random_overlap(512, *(basis.shape[1] for basis in bases))
    assert abs(aligner.overlap_ - expected) < 10
    assert gap_angle(*aligner.transform_pair(*coco)) < gap_angle(*coco)


def gap_angle(X: np.ndarray, Y: np.ndarray) -> float:
    x, y = (unit(side).mean(0) for side in (X, Y))
    return float(np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))


def test_translation_moves_the_mean_as_far_as_is_asked_and_no_further() -> None:
    X, Y = (unit(side) for side in make_gapped(200, 10, seed=0))
    A, B = Translation(normalize=False).fit(X, Y).transform_pair(X, Y)
    np.testing.assert_allclose(A.mean(0), Y.mean(0), atol=1e-12)
    np.testing.assert_allclose(B, Y, atol=1e-15)
    wanted = 0.6 * gap_angle(X, Y)
    amount = matching_translation(X, Y, angle=wanted)
    angles = [
        gap_angle(*Translation(amount=value).fit(X, Y).transform_pair(X, Y))
        for value in (amount - 0.01, amount)
    ]
    assert angles[1] < wanted <= angles[0]
    assert matching_translation(X, Y, angle=4.0) == 0.0


ENERGY = "energy must be greater than 0 and at most 1"


@pytest.mark.parametrize(
    ("make", "parameters", "sentence"),
    [
        (BalancedAligner, {"ridge": -1}, "ridge must be at least 0, got -1"),
        (BalancedAligner, {"n_components": 0}, "n_components must be between 1 and 24, got 0"),
        (BalancedAligner, {"n_components": 99}, "n_components must be between 1 and 24, got 99"),
        (BalancedAligner, {"n_components": "all"}, "must be one of 'auto', got 'all'"),
        (BalancedAligner, {"power": np.nan}, "power must be finite, got nan"),
        (SpectralAligner, {"n_components": 0}, "n_components must be at least 1, got 0"),
        (SpectralAligner, {"negative": "drop"}, "must be one of 'shift', 'raise', got 'drop'"),
        (DimensionRemoval, {"n_removed": 24}, "n_removed must be between 0 and 23, got 24"),
        (PCAProjection, {"n_components": 25}, "n_components must be between 1 and 24, got 25"),
        (RefinedAligner, {"temperature": 0}, "temperature must be greater than 0, got 0"),
        (RefinedAligner, {"penalty": ()}, "penalty must be at least one number, got none"),
        (EmbeddingShift, {"amount": "half"}, "amount must be a number, got 'half'"),
        (SharedSpaceProjection, {"energy": 0.0}, ENERGY),
        (SharedSpaceProjection, {"energy": np.nan}, ENERGY),
        (HyperplaneRotation, {"energy": 1.1}, ENERGY),
        (HyperplaneRotation, {"direction": "both"}, "direction must be one of"),
    ],
)
def test_parameters_out_of_range(
    make: Callable[..., Aligner], parameters: dict[str, Any], sentence: str, gapped: Pair
) -> None:
    with pytest.raises((InputError, TypeError), match=sentence):
        make(**parameters).fit(*gapped)
