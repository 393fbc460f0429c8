"""The objective of regularised transport, as a function of where it sends the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fillgap.aligners._laplacian import Laplacian

__all__ = ["TransportProblem", "dot"]

Matrix = NDArray[np.float64]
#: γY and γᵀX, or a gradient with respect to them.
Sides = tuple[Matrix, Matrix]


@dataclass(frozen=True, eq=False)
class TransportProblem:
    """The objective, as a function of γY and γᵀX.

        f(γ) = ⟨γ, C⟩ + p tr((γY)ᵀ L_x γY) + q tr((γᵀX)ᵀ L_y γᵀX),
        ⟨γ, C⟩ = constant + ⟨U, γY⟩ + ⟨V, γᵀX⟩

    Attributes
    ----------
    X, Y : array of shape (n, d) and (m, d)
    a, b : array of shape (n,) and (m,)
        Weights, which sum to one.
    p, q : float
        Strength of the two regularisers.
    L_x, L_y : Laplacian
    U, V : array of shape (n, d) and (m, d)
    constant : float
    """

    X: Matrix
    Y: Matrix
    a: Matrix
    b: Matrix
    p: float
    q: float
    L_x: Laplacian
    L_y: Laplacian
    U: Matrix
    V: Matrix
    constant: float

    @classmethod
    def make(
        cls,
        rows: Sides,
        weights: Sides,
        laplacians: tuple[Laplacian, Laplacian],
        strengths: tuple[float, float],
        *,
        displacement: bool,
    ) -> TransportProblem:
        """Return the problem whose cost is the squared distance.

        Parameters
        ----------
        rows, weights, laplacians, strengths
            X and Y, a and b, L_x and L_y, p and q.
        displacement : bool
            Whether γY − X/n and γᵀX − Y/m should vary little, in place of γY and γᵀX.
        """
        (X, Y), (a, b), (L_x, L_y), (p, q) = rows, weights, laplacians, strengths
        U, V = -2 * X, np.zeros_like(Y)
        if displacement:
            U -= 2 * p / len(X) * (L_x @ X)
            V -= 2 * q / len(Y) * (L_y @ Y)
        constant = float(a @ np.sum(X**2, axis=1) + b @ np.sum(Y**2, axis=1))
        return cls(X, Y, a, b, p, q, L_x, L_y, U, V, constant)

    def images(self, plan: csr_array | None) -> Sides:
        """Return γY and γᵀX; None is the independent plan a bᵀ."""
        if plan is None:
            return np.outer(self.a, self.b @ self.Y), np.outer(self.b, self.a @ self.X)
        return plan @ self.Y, plan.T @ self.X

    def curvature(self, images: Sides) -> Sides:
        """Return 2p L_x γY and 2q L_y γᵀX, the gradient of the regularisers."""
        parts = ((self.p, self.L_x, images[0]), (self.q, self.L_y, images[1]))
        x, y = (2 * s * (L @ side) if s else np.zeros_like(side) for s, L, side in parts)
        return x, y

    def factors(self, gradient: Sides) -> Sides:
        """Return two arrays of which the product A Yᵀ + X Bᵀ consists, for a gradient (A, B)."""
        A, B = gradient
        if self.q == 0:  # B is zero
            return A, self.Y
        return np.hstack([A, self.X]), np.hstack([self.Y, B])


def dot(A: Sides, B: Sides) -> float:
    """Return the sum of the products of all entries."""
    return float(sum(np.einsum("ij,ij->", a, b) for a, b in zip(A, B, strict=True)))
