"""Optimal transport with Laplacian regularisation, and how rows that were not in the fit move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from array_api_compat import array_namespace, device

from fillgap.aligners.base import Aligner, check_spread
from fillgap.aligners.transport.assignment import AssignmentSolver, Oracle, flow_oracle
from fillgap.aligners.transport.solver import (
    BLOCK_BYTES,
    GaussLaplacian,
    TransportProblem,
    default_bandwidth,
    neighbour_laplacian,
    solve_transport,
)
from fillgap.errors import (
    InputError,
    check_choice,
    check_flag,
    check_integer,
    check_random_state,
    check_real,
    require,
    unit_rows,
)
from fillgap.linalg import Matrix, add_ridge, symmetric_power
from fillgap.maps import AffineMap
from fillgap.moments import PairMoments, to_numpy
from fillgap.pair import iter_blocks
from fillgap.runtime import Progress, silent

#: More rows than this are refused: the reduced costs alone take 8 bytes · rows².
MAX_ROWS = 30_000
#: What a file keeps of a fit besides its maps.
_RECORD = ("objective_", "gap_", "n_iter_", "converged_")


class _ByExtension:
    """A class attribute that is another one in instances with `extension="nearest"`."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __get__(self, aligner: LaplaceTransport | None, owner: type[LaplaceTransport]) -> Any:
        nearest = aligner is not None and aligner.extension == "nearest"
        return self._values["nearest" if nearest else "affine"]


@dataclass(kw_only=True, eq=False, repr=False)
class LaplaceTransport(Aligner):
    """Transport the images onto the texts, similar rows together; the texts stay.

    The plan γ minimises, over all plans whose marginals are the weights of the rows,

        Σ_ij γ_ij ‖x_i − y_j‖² + η (α tr(Yᵀγᵀ L_x γ Y) + (1 − α) tr(Xᵀγ L_y γᵀ X)),

    with L_x and L_y the Laplacians of the graphs of similar images and of similar texts. An image
    of the fit goes to the mean text under its row of γ, t(x_i) = (γY)_i / a_i. All other images go
    where an affine map takes them that is fitted to t; or x goes to t(x_nn) + x − x_nn, with x_nn
    the most similar image of the fit.

    Rows of γY are t / n: with graphs of neighbours, an effect of a given size needs η ∝ n.

    Parameters
    ----------
    eta : float
        η. 0 is plain optimal transport; a large value sends similar images to one place.
    alpha : float
        α, between 0 (only similar texts count) and 1 (only similar images count).
    reg_type : "pos" or "disp"
        What should vary little between similar rows: where they go, or how far they move.
    similarity : "knn" or "gauss"
        Graphs: `n_neighbors` nearest neighbours, or exp(−‖x − x'‖² / 2σ²).
    n_neighbors : int
        Neighbours of a row, itself left out.
    bandwidth : float or None
        σ of both graphs; None is 1 / (2 m²), m the mean squared distance between images.
    max_iter : int
        Iterations, each with one linear transport problem.
    tol : float
        Stop where the duality gap is at most this share of the objective: then no plan is better
        by more.
    extension : "affine" or "nearest"
        How images are mapped. "affine" is one linear map, fitted to t by ridge regression and
        scaled so that images spread as much as texts; the images of the fit go there too, not to t.
    ridge : float
        Of that regression, in units of the mean eigenvalue of the images' covariance.
    max_samples : int or None
        Fit on a random sample of so many images and texts (the same rows of both where there are
        equally many). None uses all, at most 30 000.
    random_state : int
        Seed of the sample.
    normalize : bool
        Return unit rows; False returns the transported rows as they are.

    Attributes
    ----------
    sources_, transported_ : array of shape (n, n_features)
        Images of the fit at unit length, and t of them. Kept in files for "nearest" alone.
    plan_ : sparse array of shape (n, m)
        γ, but for `independent_share_` · a bᵀ. Not kept in files.
    independent_share_ : float
        Weight in γ of the plan that sends every image to all texts alike; 0 unless η is large.
    objective_ : array of shape (n_iter_ + 1,)
        At the independent plan, and after each iteration.
    gap_ : float
        By how much at most the objective is above its minimum.
    n_iter_ : int
        Linear transport problems solved.
    converged_ : bool
        Whether `gap_` is within `tol`.

    References
    ----------
    Ferradans, Papadakis, Peyré and Aujol (2014), "Regularized discrete optimal transport";
    Courty, Flamary, Tuia and Rakotomamonjy (2017), "Optimal transport for domain adaptation";
    "Fill the Gap" (arXiv:2505.03703). The objective is that of POT's `emd_laplace`.
    """

    linear: ClassVar[bool] = _ByExtension(affine=True, nearest=False)  # type: ignore[assignment]
    passes = 0
    extra_arrays: ClassVar[tuple[str, ...]] = _ByExtension(  # type: ignore[assignment]
        affine=_RECORD, nearest=("sources_", "transported_", *_RECORD)
    )

    eta: float = 1.0
    alpha: float = 0.5
    reg_type: str = "pos"
    similarity: str = "knn"
    n_neighbors: int = 3
    bandwidth: float | None = None
    max_iter: int = 100
    tol: float = 1e-5
    extension: str = "affine"
    ridge: float = 0.3
    max_samples: int | None = None
    random_state: int = 0
    normalize: bool = True

    def fit(
        self,
        X: Any,
        Y: Any,
        *,
        image_weights: Any | None = None,
        text_weights: Any | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Fit to images `X` of shape (n, d) and texts `Y` of shape (m, d).

        Parameters
        ----------
        X, Y : array or `RowSource`
            Rows need not be normalised, nor be pairs.
        image_weights, text_weights : array of shape (n,) and (m,), optional
            Positive, with sum 1; left out, all rows count alike. Other than equal weights of
            equally many rows need the extra fillgap[transport].
        progress : callable, optional
            Called as progress(iterations done, max_iter, "transport").

        Raises
        ------
        InputError
            If the dimensions differ, there are too many rows, weights break their rule, or a row
            is zero or not finite.
        ImportError
            If POT is needed and not installed.
        """
        X, Y = self._check_sides(X, Y)
        self._reset()
        n, m = X.shape[0], Y.shape[0]
        self._check_parameters(n, m)
        rng = check_random_state(self.random_state)
        chosen, chosen_y = (
            np.sort(rng.choice(count, min(count, self.max_samples or count), replace=False))
            for count in (n, m)
        )
        chosen_y = chosen if n == m else chosen_y  # pairs stay pairs
        a = _row_weights(image_weights, "image_weights", n, chosen)
        b = _row_weights(text_weights, "text_weights", m, chosen_y)
        images, texts = _unit_matrix(X, "images", chosen), _unit_matrix(Y, "texts", chosen_y)
        moments = PairMoments.from_block(0, images, texts)
        check_spread(moments)
        bandwidth = self.bandwidth or default_bandwidth(images)
        L_x, L_y = (
            neighbour_laplacian(rows, self.n_neighbors)
            if self.similarity == "knn"
            else GaussLaplacian(rows, bandwidth)
            for rows in (images, texts)
        )
        p, q = self.eta * self.alpha, self.eta * (1 - self.alpha)
        problem = TransportProblem(images, texts, a, b, L_x, L_y, p, q, self.reg_type == "disp")
        if len(a) == len(b) and np.ptp(a) == np.ptp(b) == 0:  # plans are assignments
            oracle: Oracle = AssignmentSolver(len(a))
        else:
            purpose = "LaplaceTransport with weights, or with unequally many images and texts,"
            oracle = flow_oracle(require("ot", "transport", purpose), a, b)
        progress = progress or silent
        mixture, self.objective_, self.gap_, self.n_iter_, self.converged_ = solve_transport(
            problem, oracle, max_iter=self.max_iter, tol=self.tol, progress=progress
        )
        self.mean_x_, self.mean_y_ = moments.x.mean, moments.y.mean
        self.n_samples_, self.n_features_in_ = (len(images), len(texts)), images.shape[1]
        self.plan_, self.independent_share_ = mixture.vertices(), float(mixture.weights[0])
        if not self.converged_:
            self._note(
                f"LaplaceTransport stopped after {self.n_iter_} iterations: its objective is at "
                f"most {self.gap_:.1e} ({self.gap_ / abs(self.objective_[-1]):.1e} of it) above "
                "the minimum; raise max_iter, or tol."
            )
        self.sources_, self.transported_ = images, mixture.images()[0] / a[:, None]
        self.map_y_ = AffineMap()
        if self.extension == "affine":
            spread = float(b @ np.sum((texts - b @ texts) ** 2, axis=1))
            self.map_x_ = affine_extension(
                images, self.transported_, a, ridge=self.ridge, spread=spread
            )
        return self

    def _check_parameters(self, n: int, m: int) -> None:
        check_flag(self.normalize, "normalize")
        for name in ("eta", "tol", "ridge"):
            check_real(getattr(self, name), name, low=0)
        check_real(self.alpha, "alpha", low=0, high=1)
        check_choice(self.reg_type, "reg_type", ("pos", "disp"))
        check_choice(self.similarity, "similarity", ("knn", "gauss"))
        check_choice(self.extension, "extension", ("affine", "nearest"))
        check_integer(self.max_iter, "max_iter", low=1)
        check_integer(self.random_state, "random_state", low=0)
        if self.bandwidth is not None:
            check_real(self.bandwidth, "bandwidth", low=0, open_low=True)
        if self.max_samples is not None:
            check_integer(self.max_samples, "max_samples", low=2, high=MAX_ROWS)
        elif max(n, m) > MAX_ROWS:
            raise InputError(
                f"images and texts must be at most {MAX_ROWS} each for LaplaceTransport, got {n} "
                f"and {m}. Pass max_samples to fit on a random sample, or use GaussianTransport."
            )
        if self.similarity == "knn":
            fewest = min(n, m, self.max_samples or n)
            if check_integer(self.n_neighbors, "n_neighbors", low=1) >= fewest:
                raise InputError(
                    f"n_neighbors must be less than the number of images and of texts, got "
                    f"{self.n_neighbors} neighbours of {fewest} rows. Use fewer neighbours."
                )

    def _map_rows(self, rows: Any, what: str) -> Any:
        if what == "texts" or self.extension == "affine":
            return super()._map_rows(rows, what)
        xp = array_namespace(rows)
        sources, shifts = (
            xp.asarray(side, dtype=rows.dtype, device=device(rows))
            for side in (self.sources_, self.transported_ - self.sources_)
        )
        out = xp.empty_like(rows)
        step = max(1, BLOCK_BYTES // self.sources_[:, 0].nbytes)
        for start in range(0, rows.shape[0], step):
            block = rows[start : start + step, :]
            nearest = xp.argmax(block @ sources.T, axis=1)
            out[start : start + step, :] = block + xp.take(shifts, nearest, axis=0)
        return out


def affine_extension(
    X: Matrix, targets: Matrix, weights: Matrix, *, ridge: float, spread: float
) -> AffineMap:
    """Return the ridge regression of the targets on the rows, scaled to a variance of `spread`.

    Targets are means of texts, and a ridge shrinks: without the scale, images would crowd around
    the mean text and be the nearest items of every text.
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


def _row_weights(weights: Any | None, what: str, n: int, chosen: Any) -> Matrix:
    """Return the weights of the chosen ones of `n` rows, scaled to sum 1."""
    if weights is None:
        return np.full(len(chosen), 1 / len(chosen))
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (n,):
        raise InputError(
            f"{what} must be one number for each of {n} rows, got shape {given.shape}. "
            "Pass a weight for each row."
        )
    bad = given[~(np.isfinite(given) & (given > 0))]
    if len(bad):
        raise InputError(
            f"{what} must be positive, got {bad[0]:g}. Leave out rows that should not count."
        )
    if abs(given.sum() - 1) > 1e-6:
        raise InputError(f"{what} must be of sum 1, got {given.sum():g}. Divide them by their sum.")
    return given[chosen] / given[chosen].sum()


def _unit_matrix(side: Any, what: str, chosen: Any) -> Matrix:
    """Return the chosen rows at unit length in float64; the side is read in blocks."""
    out = np.empty((len(chosen), side.shape[1]))
    for start, block in iter_blocks(side, what):
        first, last = np.searchsorted(chosen, (start, start + block.shape[0]))
        rows = unit_rows(to_numpy(block), what, first_row=start)
        out[first:last] = rows[chosen[first:last] - start]
    return out
