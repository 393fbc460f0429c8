"""The contrastive loss over the mixed pool, as a function of two linear maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.affine import scale_to_unit

__all__ = ["Maps", "MixedPoolLoss"]

Matrix = NDArray[np.floating[Any]]
Maps = tuple[NDArray[np.float64], NDArray[np.float64]]


class MixedPoolLoss:
    """Mean over all 2n items of −log softmax(cos / τ) of the counterpart among the other items.

    Parameters
    ----------
    X, Y : array of shape (n, n_features)
        Centred rows; row i of one belongs to row i of the other.
    groups : array of int of shape (n,)
        Pairs with one number are of one image: none of them counts as wrong for another.
    temperature : float
        τ.
    """

    def __init__(self, X: Matrix, Y: Matrix, groups: NDArray[np.intp], temperature: float) -> None:
        # float32 halves the time, and L-BFGS tolerates gradients of that precision.
        self.sides = X.astype(np.float32), Y.astype(np.float32)
        self.temperature = np.float32(temperature)
        n = len(X)
        same = np.tile(groups[:, None] == groups[None, :], (2, 2))
        self.counterpart = np.concatenate([np.arange(n) + n, np.arange(n)])
        same[np.arange(2 * n), self.counterpart] = False
        self.excluded = same

    def value(self, maps: Maps) -> float:
        """Return the loss at these maps."""
        return self.value_and_gradient(maps)[0]

    def value_and_gradient(self, maps: Maps) -> tuple[float, Maps]:
        """Return the loss and its gradient with respect to both maps."""
        images = [
            side @ map_.astype(np.float32) for side, map_ in zip(self.sides, maps, strict=True)
        ]
        raw = np.concatenate(images)
        Z = scale_to_unit(raw)
        S = (Z @ Z.T) / self.temperature
        S[self.excluded] = -np.inf
        S -= S.max(axis=1, keepdims=True)
        items = np.arange(len(Z))
        right = S[items, self.counterpart]
        P = np.exp(S, out=S)
        totals = P.sum(axis=1)
        loss = float(np.mean(np.log(totals, dtype=np.float64) - right))
        P /= totals[:, None]
        P[items, self.counterpart] -= 1
        gradient = (P @ Z + P.T @ Z) / (self.temperature * len(Z))
        gradient -= np.einsum("ij,ij->i", gradient, Z)[:, None] * Z
        gradient /= np.linalg.norm(raw, axis=1, keepdims=True)
        n = len(images[0])
        d_x, d_y = (
            (side.T @ part).astype(np.float64)
            for side, part in zip(self.sides, (gradient[:n], gradient[n:]), strict=True)
        )
        return loss, (d_x, d_y)
