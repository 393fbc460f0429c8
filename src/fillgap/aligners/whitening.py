"""Aligners that equalise spread: standardisation, whitening, principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fillgap.aligners.base import MomentAligner
from fillgap.errors import check_integer, check_real
from fillgap.linalg import add_ridge, fix_signs, half_powers, mean_eigenvalue, symmetric_power
from fillgap.maps import AffineMap
from fillgap.moments import Moments, PairMoments


class Standardisation(MomentAligner):
    """Subtract each modality's mean and divide each dimension by its standard deviation.

    A dimension that is constant in a modality is divided by the typical deviation instead.

    Parameters
    ----------
    normalize : bool
        Return unit rows; False returns the affine image as it is.
    """

    def _solve(self, moments: PairMoments) -> None:
        scales = []
        for side in (moments.x, moments.y):
            variance = np.diag(side.covariance(ddof=0))
            typical = variance.mean()  # positive: a side without spread is refused
            usable = variance > 1e-12 * typical
            scales.append(np.diag(1 / np.sqrt(np.where(usable, variance, typical))))
        self._map_centred(moments, *scales)


@dataclass(kw_only=True, eq=False, repr=False)
class Whitening(MomentAligner):
    """Subtract each modality's mean and whiten it: (x − μ_x) G_x^-½, and the same for texts.

    G is the covariance plus `ridge` times its mean eigenvalue times the identity. The symmetric
    root is used, so each whitened row stays as near as it can to where it was.

    Parameters
    ----------
    ridge : float
        In units of the mean eigenvalue of each covariance. 0 whitens fully, directions without
        variance are dropped; a large value only centres.
    normalize : bool
        Return unit rows; False returns the affine image as it is.
    """

    ridge: float = 0.3

    def _solve(self, moments: PairMoments) -> None:
        ridge = check_real(self.ridge, "ridge", low=0)
        covariances = moments.x.covariance(ddof=0), moments.y.covariance(ddof=0)
        roots = (symmetric_power(add_ridge(G, ridge), -0.5) for G in covariances)
        self._map_centred(moments, *roots)
        if ridge == 0:
            self._note_if_few_rows("Whitening without a ridge")


@dataclass(kw_only=True, eq=False, repr=False)
class PCAProjection(MomentAligner):
    """Project both modalities on the first principal components of the stacked rows.

    One mean and one covariance for both: the gap is then among the first components, which is
    why this baseline closes nothing.

    Parameters
    ----------
    n_components : int
        How many components are kept; fewer, with a note, where the rows have no more.
    normalize : bool
        Return unit rows; False returns the affine image as it is.

    Attributes
    ----------
    explained_variance_ratio_ : array of shape (n_components,)
        Share of the variance of the stacked rows.

    References
    ----------
    A baseline of FG (arXiv:2505.03703), table 6.
    """

    extra_arrays = ("explained_variance_ratio_",)

    n_components: int = 60

    def _solve(self, moments: PairMoments) -> None:
        stacked = Moments(moments.x.count, moments.x.mean, moments.x.scatter.copy())
        stacked.absorb(moments.y)
        wanted = check_integer(self.n_components, "n_components", low=1, high=moments.n_features)
        values, vectors = np.linalg.eigh(stacked.covariance())
        values, vectors = values[::-1], vectors[:, ::-1]
        rank = int(np.sum(values > 1e-12 * values[0]))
        kept = min(wanted, rank)
        if kept < wanted:
            self._note(
                f"n_components is {wanted}, but the rows span {rank} components: {kept} kept."
            )
        (matrix,) = fix_signs(vectors[:, :kept])
        total = mean_eigenvalue(stacked.covariance()) * moments.n_features
        self.explained_variance_ratio_ = values[:kept] / total
        self.map_x_ = self.map_y_ = AffineMap(center=stacked.mean, matrix=matrix)


@dataclass(kw_only=True, eq=False, repr=False)
class GaussianTransport(MomentAligner):
    """Transport the images to the texts as one Gaussian to another; the texts stay.

    x ↦ μ_y + (x − μ_x) T with T = G_x^-½ (G_x^½ G_y G_x^½)^½ G_x^-½, the map of least squared
    displacement that gives the images the mean and the covariance of the texts.

    Parameters
    ----------
    ridge : float
        Added to each covariance, in units of its mean eigenvalue. 0 matches the fitted covariances
        exactly; a large value only moves the mean and the scale.
    normalize : bool
        Return unit rows; False returns the affine image as it is.

    References
    ----------
    Knott and Smith (1984); Peyré and Cuturi (2019), "Computational Optimal Transport", remark 2.31.
    """

    ridge: float = 0.3

    def _solve(self, moments: PairMoments) -> None:
        ridge = check_real(self.ridge, "ridge", low=0)
        G_x = add_ridge(moments.x.covariance(ddof=0), ridge)
        G_y = add_ridge(moments.y.covariance(ddof=0), ridge)
        root, inverse = half_powers(G_x)
        matrix = inverse @ symmetric_power(root @ G_y @ root, 0.5) @ inverse
        self.map_x_ = AffineMap(center=moments.x.mean, matrix=matrix, offset=moments.y.mean)
        self.map_y_ = AffineMap()
        if ridge == 0:
            self._note_if_few_rows("GaussianTransport without a ridge")
