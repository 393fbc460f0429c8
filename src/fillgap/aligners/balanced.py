"""Balanced alignment, and its refinement by descent on the contrastive loss over the mixed pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from fillgap.aligners.base import Aligner, MomentAligner, check_spread
from fillgap.errors import (
    InputError,
    check_choice,
    check_integer,
    check_random_state,
    check_real,
    unit_rows,
)
from fillgap.linalg import Matrix, add_ridge, fix_signs, half_powers, leading_svd, mean_eigenvalue
from fillgap.maps import AffineMap, scale_to_unit
from fillgap.moments import PairMoments, to_numpy
from fillgap.pair import iter_blocks
from fillgap.runtime import Progress

Maps = tuple[Matrix, Matrix]
#: Rows of both sides; pairs with one group number are of one image.
Pairs = tuple[Matrix, Matrix, NDArray[np.intp]]


@dataclass(kw_only=True, eq=False, repr=False)
class BalancedAligner(MomentAligner):
    """Centre both modalities and balance their covariances by one linear map each.

    With the covariances G_x and G_y (each plus `ridge` times its mean eigenvalue times the
    identity) and the singular value decomposition G_x^½ G_y^½ = U S Vᵀ, the maps are

        A_x = G_x^-½ U S^p,    A_y = G_y^-½ V S^p,    cut to the first `n_components` columns.

    For p = ½ this is the balancing transformation of control theory: A_x A_yᵀ = I at full rank,
    so every product between a centred image and a centred text stays what it was, while both
    covariances become the same diagonal matrix S. p = 0 whitens both sides, which is the spectral
    method without degrees; p between weighs directions by how much both modalities share them.

    Parameters
    ----------
    n_components : int, "auto" or None
        How many of the strongest shared directions are kept. "auto" keeps those in which the data
        vary by half of what the ridge adds, or by a quarter of the mean where the ridge is large.
        It keeps all without a ridge, and where the rows are fewer than a third of the dimensions:
        so few rows leave too much unseen to cut it away. None keeps all.
    power : float
        p.
    ridge : float
        In units of the mean eigenvalue of each covariance. 0 balances the fitted rows exactly and
        needs far more rows than dimensions; a large value only centres.
    normalize : bool
        Return unit rows; False returns the affine image as it is.

    Attributes
    ----------
    singular_values_ : array of shape (n_components,)
        S, the variance that both modalities have along each component.

    References
    ----------
    The contragredient transformation: Laub, Heath, Paige and Ward (1987), "Computation of system
    balancing transformations". Its use to close the modality gap is this project's.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(50, 4)) + 2, rng.normal(size=(50, 4)) - 2
    >>> aligner = BalancedAligner(ridge=0, normalize=False).fit(X, Y)
    >>> A, B = aligner.transform_pair(X, Y)
    >>> bool(np.allclose(np.cov(A.T), np.cov(B.T)))
    True
    """

    extra_arrays = ("singular_values_",)

    n_components: int | str | None = "auto"
    power: float = 0.5
    ridge: float = 0.5

    def _solve(self, moments: PairMoments) -> None:
        A_x, A_y, self.singular_values_ = start_maps(
            moments, self.n_components, self.power, self.ridge
        )
        if isinstance(self.n_components, int) and len(self.singular_values_) < self.n_components:
            self._note(
                f"n_components is {self.n_components}, but both modalities share only "
                f"{len(self.singular_values_)} directions: all of them are kept."
            )
        self._map_centred(moments, A_x, A_y)
        if self.ridge == 0:
            self._note_if_few_rows("BalancedAligner without a ridge")


def start_maps(
    moments: PairMoments, n_components: int | str | None, power: float, ridge: float
) -> tuple[Matrix, Matrix, Matrix]:
    """Return A_x, A_y and S, directions that one modality lacks left out."""
    ridge = check_real(ridge, "ridge", low=0)
    power = check_real(power, "power")
    if isinstance(n_components, str):
        check_choice(n_components, "n_components", ("auto",))
    elif n_components is not None:
        check_integer(n_components, "n_components", low=1, high=moments.n_features)
    C_x, C_y = moments.x.covariance(ddof=0), moments.y.covariance(ddof=0)
    root_x, inverse_x = half_powers(add_ridge(C_x, ridge))
    root_y, inverse_y = half_powers(add_ridge(C_y, ridge))
    U, S, Vt = leading_svd(root_x @ root_y, len(root_x))
    kept = S > 1e-12 * S[0]
    U, S, V = U[:, kept], S[kept], Vt[kept].T
    A_x, A_y = fix_signs(inverse_x @ (U * S**power), inverse_y @ (V * S**power))
    wanted = n_components
    if wanted == "auto":
        wanted = len(S)
        if 3 * min(moments.x.count, moments.y.count) >= moments.n_features:
            mean = np.sqrt(mean_eigenvalue(C_x) * mean_eigenvalue(C_y))
            wanted = max(int(np.sum(S >= (ridge + min(ridge, 0.5) / 2) * mean)), 1)
    return A_x[:, :wanted], A_y[:, :wanted], S[:wanted]


class MixedPoolLoss:
    """Mean over all 2n items of −log softmax(cos / τ) of the counterpart among the other items.

    Pairs of one group are of one image: none of them counts as wrong for another.
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
        n = len(self.sides[0])
        raw = np.concatenate([self.sides[i] @ maps[i].astype(np.float32) for i in (0, 1)])
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
        parts = self.sides[0].T @ gradient[:n], self.sides[1].T @ gradient[n:]
        return loss, (parts[0].astype(np.float64), parts[1].astype(np.float64))


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
                [unit_rows(to_numpy(rows), w, first_row=i) for i, rows in iter_blocks(side, w)]
            )
            for side, w in ((X, "images"), (Y, "texts"))
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
        A_x, A_y, _ = start_maps(moments, self.n_components, self.power, self.ridge)
        return (A_x, A_y), (moments.x.mean, moments.y.mean)

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
