"""Linear algebra of d × d matrices: powers of symmetric matrices, ridges, signs. NumPy float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_ridge", "fix_signs", "half_powers", "mean_eigenvalue", "symmetric_power"]

Matrix = NDArray[np.float64]

#: Directions with less than this share of the largest eigenvalue are rounding, not data.
RELATIVE_CUTOFF = 1e-12


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
