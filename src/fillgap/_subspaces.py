"""Subspaces that hold most of the energy of a set of rows, and the angles between two of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import check_random_state

__all__ = [
    "TOLERANCE",
    "energy_basis",
    "energy_rank",
    "principal_vectors",
    "random_cosines",
    "random_overlap",
    "shared_dimensions",
    "spectrum",
]

Matrix = NDArray[np.float64]

#: Principal vectors whose cosine exceeds 1 less this are shared.
TOLERANCE = 1e-3


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
    """Return cosines of the principal angles, largest first, and the vectors of both subspaces.

    Parameters
    ----------
    A, B : array of shape (n_features, k)
        Orthonormal bases; their numbers of columns may differ.

    Returns
    -------
    cosines : array of shape (min(k),)
    vectors_a, vectors_b : array of shape (n_features, k)
        Bases of the same subspaces, column i of one paired with column i of the other; columns
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
    """Draw random subspaces and return the cosines of their principal angles.

    Only the angle between the two matters, so one of them is spanned by the first axes, and the
    other by a uniformly random basis.

    Returns
    -------
    array of shape (n_draws, min(size_a, size_b))
        Largest first.
    """
    rng = check_random_state(random_state)
    found = np.empty((n_draws, min(size_a, size_b)))
    for row in found:
        basis, _ = np.linalg.qr(rng.normal(size=(n_features, size_b)))
        row[:] = np.linalg.svd(basis[:size_a], compute_uv=False)
    return np.clip(found, 0.0, 1.0)
