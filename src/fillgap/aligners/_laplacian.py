"""Laplacians of the graphs of similar rows, as operators on columns of values."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

__all__ = ["GaussLaplacian", "Laplacian", "default_bandwidth", "neighbour_laplacian"]

Matrix = NDArray[np.float64]

#: Bytes of similarities that are computed together.
BLOCK_BYTES = 32 * 2**20


class Laplacian(Protocol):
    """A symmetric operator, degrees minus similarities."""

    def __matmul__(self, values: Matrix, /) -> Any:
        """Return the product with an array of shape (n, r)."""
        ...


def neighbour_laplacian(rows: Matrix, n_neighbors: int) -> csr_array:
    """Return the Laplacian of the graph of nearest neighbours, of shape (n, n).

    Parameters
    ----------
    rows : array of shape (n, d)
    n_neighbors : int
        Neighbours of each row, itself left out. An edge weighs 1 where both rows name each other,
        ½ where only one does.
    """
    from sklearn.neighbors import kneighbors_graph

    named = csr_array(kneighbors_graph(rows, n_neighbors))
    similarity = (named + named.T) / 2
    return csr_array(diags_array(similarity.sum(axis=0)) - similarity)


def default_bandwidth(rows: Matrix) -> float:
    """Return 1 / (2 m²), m the mean squared distance between unit rows (each with itself too)."""
    mean = rows.mean(axis=0)
    spread = 2 - 2 * float(mean @ mean)
    return 1 / (2 * spread**2)


class GaussLaplacian:
    """The Laplacian of similarities exp(−‖x − x'‖² / 2σ²), computed in blocks, never stored.

    Parameters
    ----------
    rows : array of shape (n, d)
        Unit rows.
    bandwidth : float
        σ.
    """

    def __init__(self, rows: Matrix, bandwidth: float) -> None:
        self._rows, self._scale = rows, bandwidth**-2
        self._degrees = self._similarities_times(np.ones((len(rows), 1)))

    def __matmul__(self, values: Matrix) -> Matrix:
        """Return the product with an array of shape (n, r)."""
        return self._degrees * values - self._similarities_times(values)

    def _similarities_times(self, values: Matrix) -> Matrix:
        out = np.empty_like(values)
        step = max(1, BLOCK_BYTES // (8 * len(self._rows)))
        for start in range(0, len(self._rows), step):
            part = slice(start, start + step)
            block = self._rows[part] @ self._rows.T
            block -= 1
            block *= self._scale
            np.matmul(np.exp(block, out=block), values, out=out[part])
        return out
