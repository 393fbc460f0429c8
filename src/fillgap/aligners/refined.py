"""Refined alignment: descent on the contrastive loss over the mixed pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from fillgap.aligners.balanced import start_maps
from fillgap.aligners.base import Aligner, check_spread
from fillgap.errors import InputError, check_integer, check_random_state, check_real, unit_rows
from fillgap.linalg import Matrix
from fillgap.maps import AffineMap, scale_to_unit
from fillgap.moments import PairMoments, to_numpy
from fillgap.pair import iter_blocks
from fillgap.runtime import Progress

Maps = tuple[Matrix, Matrix]
#: Rows of both sides; pairs with one group number are of one image.
Pairs = tuple[Matrix, Matrix, NDArray[np.intp]]


class MixedPoolLoss:
    """Mean over all 2n items of −log softmax(cos / τ) of the counterpart among the other items.

    Row i of the centred X belongs to row i of Y. Pairs of one group are of one image: none of them
    counts as wrong for another.
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


@dataclass(kw_only=True, eq=False, repr=False)
class RefinedAligner(Aligner):
    """Start from the balanced maps, and let pairs improve them.

    Every item of a pair queries the pool of all images and texts but itself; the loss is the mean
    cross entropy of finding its counterpart, softmax(cos / τ), plus
    ρ (‖A_x − A_x⁰‖² / ‖A_x⁰‖² + ‖A_y − A_y⁰‖² / ‖A_y⁰‖²), which pulls towards the balanced maps
    A⁰. Minimised by L-BFGS with analytic gradients.

    Parameters
    ----------
    n_components, power, ridge
        Of the balanced start, as in `BalancedAligner`.
    temperature : float
        τ.
    penalty : float or sequence of float
        ρ. Of several, the one with the lowest loss on a held-out fifth of the fitted pairs is
        taken, and the start itself where none lowers it.
    max_pairs : int
        The loss takes time and memory proportional to the square of the number of pairs; of more
        pairs than this, a seeded sample enters it (the balanced start uses all).
    max_iter : int
        Steps of L-BFGS.
    random_state : int
        Seed of the sample and of the held-out fifth.
    normalize : bool
        Return unit rows; False returns the affine image as it is.

    Attributes
    ----------
    penalty_ : float
        The chosen ρ; infinity where the start was kept.
    losses_ : dict
        Held-out loss for each ρ tried (empty where only one was given).

    References
    ----------
    The loss is InfoNCE (arXiv:1807.03748) over the mixed pool; the combination is this project's.
    """

    needs_pairs = True
    passes = 0

    n_components: int | str | None = "auto"
    power: float = 0.5
    ridge: float = 0.5
    temperature: float = 0.07
    penalty: float | Sequence[float] = (10.0, 30.0, 100.0, 300.0)
    max_pairs: int = 500
    max_iter: int = 150
    random_state: int = 0
    normalize: bool = True

    def _fit(self, X: Any, Y: Any, progress: Progress) -> None:
        check_real(self.temperature, "temperature", low=0, open_low=True)
        check_integer(self.max_pairs, "max_pairs", low=10)
        check_integer(self.max_iter, "max_iter", low=1)
        given = self.penalty if isinstance(self.penalty, Sequence) else [self.penalty]
        if not given:
            raise InputError("penalty must be at least one number, got none. Pass one or several.")
        penalties = [check_real(value, "penalty", low=0) for value in given]
        # Scaled in float64 too: the descent would turn the rounding of another library or of
        # float32 into other digits of the maps.
        X, Y = (
            np.concatenate(
                [
                    unit_rows(to_numpy(rows).astype(np.float64), what, first_row=i)
                    for i, rows in iter_blocks(side, what)
                ]
            )
            for side, what in ((X, "images"), (Y, "texts"))
        )
        rng = check_random_state(self.random_state)
        maps, (self.mean_x_, self.mean_y_) = self._start(X, Y)
        self.n_samples_, self.n_features_in_ = (len(X), len(X)), X.shape[1]
        if len(X) > self.max_pairs:
            kept = np.sort(rng.choice(len(X), self.max_pairs, replace=False))
            X, Y = X[kept], Y[kept]
        groups = np.unique(X, axis=0, return_inverse=True)[1].ravel()
        self.losses_: dict[float, float] = {}
        self.penalty_ = penalties[0]
        if len(penalties) > 1:
            self.penalty_ = self._choose((X, Y, groups), penalties, rng, progress)
        if np.isfinite(self.penalty_):
            centred = X - self.mean_x_, Y - self.mean_y_
            maps = self._refine((*centred, groups), maps, self.penalty_)
        progress(1, 1, "refine")
        self.map_x_ = AffineMap(center=self.mean_x_, matrix=maps[0])
        self.map_y_ = AffineMap(center=self.mean_y_, matrix=maps[1])

    def _start(self, X: Matrix, Y: Matrix) -> tuple[Maps, Maps]:
        """Return the balanced maps of these rows, and the means of both sides."""
        moments = PairMoments.from_block(0, X, Y)
        check_spread(moments)
        maps = start_maps(
            moments, n_components=self.n_components, power=self.power, ridge=self.ridge
        )
        return maps[:2], (moments.x.mean, moments.y.mean)

    def _choose(
        self, pairs: Pairs, penalties: list[float], rng: np.random.Generator, progress: Progress
    ) -> float:
        """Return the penalty with the lowest loss on held-out groups; infinity keeps the start."""
        X, Y, groups = pairs
        names = rng.permutation(groups.max() + 1)
        if len(names) < 10:
            return np.inf
        test = np.isin(groups, names[: len(names) // 5])
        start, means = self._start(X[~test], Y[~test])
        X, Y = X - means[0], Y - means[1]
        held = MixedPoolLoss(X[test], Y[test], groups[test], self.temperature)
        self.losses_[np.inf] = held.value_and_gradient(start)[0]
        for done, rho in enumerate(penalties):
            progress(done, len(penalties) + 1, "refine")
            refined = self._refine((X[~test], Y[~test], groups[~test]), start, rho)
            self.losses_[rho] = held.value_and_gradient(refined)[0]
        return min(self.losses_, key=self.losses_.__getitem__)

    def _refine(self, pairs: Pairs, start: Maps, rho: float) -> Maps:
        """Minimise the loss plus the pull, from `start`.

        What changes lies in the span of the rows, so that its coordinates there are enough: with
        fewer rows than dimensions, they are fewer than the entries of the maps.
        """
        bases = [np.linalg.qr(side.T)[0] for side in pairs[:2]]
        rows = [side @ basis for side, basis in zip(pairs[:2], bases, strict=True)]
        loss = MixedPoolLoss(rows[0], rows[1], pairs[2], self.temperature)
        origins = [basis.T @ map_ for basis, map_ in zip(bases, start, strict=True)]
        weights = [rho / np.sum(map_**2) for map_ in start]
        size = origins[0].size

        def split(theta: Matrix) -> list[Matrix]:
            parts = theta[:size], theta[size:]
            return [part.reshape(old.shape) for part, old in zip(parts, origins, strict=True)]

        def objective(theta: Matrix) -> tuple[float, Matrix]:
            maps = split(theta)
            value, gradients = loss.value_and_gradient((maps[0], maps[1]))
            total = []
            for map_, old, gradient, weight in zip(maps, origins, gradients, weights, strict=True):
                value += weight * np.sum((map_ - old) ** 2)
                total.append((gradient + 2 * weight * (map_ - old)).ravel())
            return value, np.concatenate(total)

        theta = np.concatenate([old.ravel() for old in origins])
        options = {"maxiter": self.max_iter}
        result = minimize(objective, theta, jac=True, method="L-BFGS-B", options=options)
        new = split(result.x)
        x, y = (start[i] + bases[i] @ (new[i] - origins[i]) for i in (0, 1))
        return x, y
