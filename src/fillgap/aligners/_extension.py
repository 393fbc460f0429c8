"""How rows that were not in the fit move: as their nearest neighbour does, or by an affine map."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from fillgap._linalg import add_ridge, symmetric_power
from fillgap.affine import AffineMap

__all__ = ["affine_extension", "shift_of_nearest"]

Matrix = NDArray[np.float64]

#: Bytes of similarities that are held at a time.
BLOCK_BYTES = 32 * 2**20


def shift_of_nearest(rows: Any, sources: Matrix, targets: Matrix) -> Any:
    """Return target − source of the source nearest to each row, in the type of the rows.

    Parameters
    ----------
    rows : array of shape (n, d)
        Unit rows.
    sources, targets : array of shape (m, d)
        Unit rows, and where they go.
    """
    xp = array_namespace(rows)
    pool, shifts = (
        xp.asarray(side, dtype=rows.dtype, device=device(rows))
        for side in (sources, targets - sources)
    )
    out = xp.empty_like(rows)
    step = max(1, BLOCK_BYTES // (len(sources) * sources.itemsize))
    for start in range(0, rows.shape[0], step):
        nearest = xp.argmax(rows[start : start + step, :] @ pool.T, axis=1)
        out[start : start + step, :] = xp.take(shifts, nearest, axis=0)
    return out


def affine_extension(
    X: Matrix, targets: Matrix, weights: Matrix, *, ridge: float, spread: float
) -> AffineMap:
    """Return the ridge regression of the targets on the rows, scaled to a given spread.

    Targets are means of texts, and a ridge shrinks: without the scale, images would crowd around
    the mean text and be the nearest items of every text.

    Parameters
    ----------
    X, targets : array of shape (n, d)
        Rows, and where they go.
    weights : array of shape (n,)
        With sum 1.
    ridge : float
        In units of the mean eigenvalue of the covariance of the rows.
    spread : float
        Variance of the mapped rows, summed over dimensions.
    """
    center, offset = weights @ X, weights @ targets
    centred = X - center
    weighted = centred * weights[:, None]
    covariance = weighted.T @ centred
    matrix = symmetric_power(add_ridge(covariance, ridge), -1.0) @ (weighted.T @ (targets - offset))
    reached = float(np.einsum("ij,ij->", matrix, covariance @ matrix))
    if reached > 1e-12 * spread:  # else all targets are one, and only rounding would be scaled
        matrix *= np.sqrt(spread / reached)
    return AffineMap(center=center, matrix=matrix, offset=offset)
