"""Linear algebra of d × d matrices: powers of symmetric matrices, ridges, signs. NumPy float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "add_ridge",
    "fix_signs",
    "half_powers",
    "leading_svd",
    "mean_eigenvalue",
    "symmetric_power",
]

Matrix = NDArray[np.float64]

#: Directions with less than this share of the largest eigenvalue are rounding, not data.
RELATIVE_CUTOFF = 1e-12

#: Singular values above this share of the first lose no more than five digits by being squared.
_SAFE_TO_SQUARE = 3e-3


def mean_eigenvalue(G: Matrix) -> float:
    """Return trace(G) / n_features."""
    return float(np.trace(G)) / G.shape[0]


def add_ridge(G: Matrix, ridge: float) -> Matrix:
    """Return G + ridge · (mean eigenvalue of G) · I."""
    return G + ridge * mean_eigenvalue(G) * np.eye(G.shape[0])


def symmetric_power(G: Matrix, power: float, cutoff: float = RELATIVE_CUTOFF) -> Matrix:
    """Return G to a real power; directions below `cutoff` of the largest eigenvalue become 0."""
    values, vectors = np.linalg.eigh(G)
    return (vectors * _powers(values, power, cutoff)) @ vectors.T


def half_powers(G: Matrix, cutoff: float = RELATIVE_CUTOFF) -> tuple[Matrix, Matrix]:
    """Return G^½ and G^-½ from one eigendecomposition; the second is a pseudo-inverse."""
    values, vectors = np.linalg.eigh(G)
    root, inverse = (_powers(values, power, cutoff) for power in (0.5, -0.5))
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T


def _powers(values: Matrix, power: float, cutoff: float) -> Matrix:
    kept = values > cutoff * max(values[-1], 0.0)
    return np.where(kept, np.power(np.where(kept, values, 1.0), power), 0.0)


def fix_signs(A: Matrix, *others: Matrix) -> tuple[Matrix, ...]:
    """Flip columns so that the largest entry of each column of `A` is positive.

    The `others` are flipped alike. Singular vectors are known up to a sign; with this, equal data
    give equal files.
    """
    signs: Any = np.sign(A[np.argmax(np.abs(A), axis=0), np.arange(A.shape[1])])
    signs[signs == 0] = 1.0
    return tuple(matrix * signs for matrix in (A, *others))


def leading_svd(M: Matrix, count: int) -> tuple[Matrix, Matrix, Matrix]:
    """Return U, S and Vᵀ of at least the first `count` singular values of a matrix.

    They come from the eigenvectors of Mᵀ M, which takes a fraction of the time of a singular value
    decomposition, where none of those values is so small that squaring loses more than 1e-11;
    otherwise, and where there are fewer, the whole decomposition is returned.
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
