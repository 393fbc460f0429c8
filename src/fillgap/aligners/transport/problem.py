"""Laplacians of the graphs of similar rows, as operators on columns of values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, hstack

from fillgap.aligners.transport.assignment import Terms, cost_blocks

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


#: γY and γᵀX, or a gradient with respect to them.
Sides: TypeAlias = tuple[Matrix, Matrix]

#: From this many plans for so many rows on, a product of dense blocks is faster than sparse ones.
ROWS_PER_PLAN = 32


@dataclass(frozen=True, eq=False)
class TransportProblem:
    """Squared distances plus two quadratic regularisers.

        f(γ) = Σ_ij γ_ij ‖x_i − y_j‖² + p tr((γY)ᵀ L_x γY) + q tr((γᵀX)ᵀ L_y γᵀX)

    Attributes
    ----------
    X, Y : array of shape (n, d) and (m, d)
    a, b : array of shape (n,) and (m,)
        Weights, which sum to one: the marginals of γ.
    L_x, L_y : Laplacian
    p, q : float
    displacement : bool
        Regularise γY − X/n and γᵀX − Y/m instead (less a constant).
    """

    X: Matrix
    Y: Matrix
    a: Matrix
    b: Matrix
    L_x: Laplacian
    L_y: Laplacian
    p: float
    q: float
    displacement: bool = False

    @cached_property
    def constant(self) -> float:
        """The part of the squared distances that no plan changes."""
        return float(self.a @ np.sum(self.X**2, axis=1) + self.b @ np.sum(self.Y**2, axis=1))

    @cached_property
    def _pull(self) -> Sides | None:
        """What regularising displacements adds to the gradient."""
        if not self.displacement:
            return None
        x, y = self.curvature((self.X, self.Y))
        return x / -len(x), y / -len(y)

    def images(self, plan: csr_array | None) -> Sides:
        """Return γY and γᵀX; None is the independent plan a bᵀ."""
        if plan is None:
            return np.outer(self.a, self.b @ self.Y), np.outer(self.b, self.a @ self.X)
        return plan @ self.Y, plan.T @ self.X

    def linear(self, images: Sides) -> float:
        """Return the part of f that is linear in γ."""
        linear = -2 * float(np.einsum("ij,ij->", self.X, images[0]))
        return linear if self._pull is None else linear + dot(self._pull, images)

    def curvature(self, images: Sides) -> Sides:
        """Return 2p L_x γY and 2q L_y γᵀX."""
        x, y = (
            2 * strength * (L @ side) if strength else np.zeros_like(side)
            for strength, L, side in ((self.p, self.L_x, images[0]), (self.q, self.L_y, images[1]))
        )
        return x, y

    def gradient(self, images: Sides) -> Sides:
        """Return the gradient of f as a function of γY and γᵀX."""
        x, y = self.curvature(images)
        x -= 2 * self.X
        if self._pull is not None:
            x += self._pull[0]
            y += self._pull[1]
        return x, y

    def terms(self, gradient: Sides) -> Terms:
        """Return the factors of the gradient with respect to γ, for one as above."""
        x, y = gradient
        return [(x, self.Y), (self.X, y)] if self.q else [(x, self.Y)]

    def products(self, slope: Sides, plans: list[csr_array]) -> Matrix:
        """Return ⟨slope, (γY, γᵀX)⟩ for each of several plans γ."""
        n, m = len(self.X), len(self.Y)
        if len(plans) < n / ROWS_PER_PLAN:
            return np.array([dot(slope, self.images(plan)) for plan in plans])
        stacked, sums = csr_array(hstack(plans, format="csr")), np.zeros(len(plans))
        for part, block in cost_blocks(self.terms(slope)):
            entries = stacked[part]
            rows = np.repeat(np.arange(len(block)), np.diff(entries.indptr))
            number, columns = np.divmod(entries.indices, m)
            sums += np.bincount(number, entries.data * block[rows, columns], minlength=len(plans))
        return sums


def dot(A: Sides, B: Sides) -> float:
    """Return the sum of the products of all entries."""
    return float(sum(np.einsum("ij,ij->", a, b) for a, b in zip(A, B, strict=True)))
