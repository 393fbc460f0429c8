"""Linear algebra of d × d matrices: powers of symmetric matrices, ridges, signs. NumPy float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import check_random_state

Matrix = NDArray[np.float64]
Array = NDArray[Any]

#: Directions with less than this share of the largest eigenvalue are rounding, not data.
_CUTOFF = 1e-12
#: Principal vectors whose cosine exceeds 1 less this are shared.
TOLERANCE = 1e-3
#: Singular values above this share of the first lose no more than five digits by being squared.
_SAFE_TO_SQUARE = 3e-3


def mean_eigenvalue(G: Matrix) -> float:
    """Return trace(G) / n_features."""
    return float(np.trace(G)) / G.shape[0]


def add_ridge(G: Matrix, ridge: float) -> Matrix:
    """Return G + ridge · (mean eigenvalue of G) · I."""
    return G + ridge * mean_eigenvalue(G) * np.eye(G.shape[0])


def symmetric_power(G: Matrix, power: float) -> Matrix:
    """Return G to a real power; directions that are rounding become 0."""
    values, vectors = np.linalg.eigh(G)
    return (vectors * _powers(values, power)) @ vectors.T


def half_powers(G: Matrix) -> tuple[Matrix, Matrix]:
    """Return G^½ and G^-½ from one eigendecomposition; the second is a pseudo-inverse."""
    values, vectors = np.linalg.eigh(G)
    root, inverse = (_powers(values, power) for power in (0.5, -0.5))
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T


def _powers(values: Matrix, power: float) -> Matrix:
    kept = values > _CUTOFF * max(values[-1], 0.0)
    return np.where(kept, np.power(np.where(kept, values, 1.0), power), 0.0)


def fix_signs(A: Matrix, *others: Matrix) -> tuple[Matrix, ...]:
    """Flip columns, of all alike, so that the largest entry of each column of `A` is positive."""
    signs: Any = np.sign(A[np.argmax(np.abs(A), axis=0), np.arange(A.shape[1])])
    signs[signs == 0] = 1.0
    return tuple(matrix * signs for matrix in (A, *others))


def leading_svd(M: Matrix, count: int) -> tuple[Matrix, Matrix, Matrix]:
    """Return U, S and Vᵀ of at least the first `count` singular values of a matrix.

    Where squaring loses no more than 1e-11 they come from Mᵀ M, in a fraction of the time.
    """
    if 0 < count <= min(M.shape):
        _, vectors = np.linalg.eigh(M.T @ M)
        V = vectors[:, ::-1][:, :count]
        B = M @ V
        S = np.linalg.norm(B, axis=0)
        if S[-1] > _SAFE_TO_SQUARE * S[0]:
            return B / S, S, V.T
    U, S, Vt = np.linalg.svd(M, full_matrices=False)
    return U, S, Vt


def spectrum(G: Matrix) -> tuple[Matrix, Matrix]:
    """Return the eigenvalues (not negative, largest first) and eigenvectors of a second moment."""
    values, vectors = np.linalg.eigh(G)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def energy_rank(values: Matrix, energy: float) -> int:
    """Return how many of the largest eigenvalues hold that share of their sum."""
    share = np.cumsum(values) / values.sum()
    # Rounding must not ask for a direction more than the share needs.
    return int(np.searchsorted(share, energy - 1e-12) + 1)


def energy_basis(G: Matrix, energy: float) -> Matrix:
    """Return an orthonormal basis (n_features, k) of the leading directions with that energy."""
    values, vectors = spectrum(G)
    return vectors[:, : energy_rank(values, energy)]


def principal_vectors(A: Matrix, B: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Return cosines of the principal angles of two orthonormal bases, and the vectors of both.

    The largest cosine is first. Columns of the one are paired with those of the other; columns
    beyond the smaller dimension are perpendicular to the other subspace.
    """
    U, cosines, Vt = np.linalg.svd(A.T @ B)
    return np.clip(cosines, 0.0, 1.0), A @ U, B @ Vt.T


def shared_dimensions(cosines: Matrix, tolerance: float = TOLERANCE) -> int:
    """Return how many principal vectors are shared."""
    return int(np.count_nonzero(cosines > 1.0 - tolerance))


def random_overlap(n_features: int, size_a: int, size_b: int) -> int:
    """Return how many dimensions two random subspaces of these sizes share."""
    return max(0, size_a + size_b - n_features)


def random_cosines(
    n_features: int, size_a: int, size_b: int, *, n_draws: int, random_state: Any
) -> Matrix:
    """Draw random subspaces and return cosines of principal angles, largest first, a row a draw."""
    # Only the angle between the two matters, so one of them is spanned by the first axes.
    rng = check_random_state(random_state)
    cosines = np.empty((n_draws, min(size_a, size_b)))
    for row in cosines:
        basis, _ = np.linalg.qr(rng.normal(size=(n_features, size_b)))
        row[:] = np.linalg.svd(basis[:size_a], compute_uv=False)
    return np.clip(cosines, 0.0, 1.0)
