"""Aligners that learn from pairs: Procrustes, ridge regression, canonical correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fillgap.aligners.base import MomentAligner
from fillgap.errors import check_flag, check_integer, check_real
from fillgap.linalg import Matrix, add_ridge, fix_signs, symmetric_power
from fillgap.maps import AffineMap
from fillgap.moments import PairMoments


def _cross(moments: PairMoments) -> Matrix:
    """Return the cross scatter that every method here asks for."""
    if moments.cross is None:
        raise ValueError("the moments must hold the cross scatter of pairs")
    return moments.cross


@dataclass(kw_only=True, eq=False, repr=False)
class OrthogonalProcrustes(MomentAligner):
    """Rotate the images onto their texts: minimise Σ ‖(x_i − μ_x) R − (y_i − μ_y)‖², R orthogonal.

    R = U Vᵀ with U S Vᵀ the singular value decomposition of the cross scatter.

    Parameters
    ----------
    center : bool
        Subtract each modality's mean first. False rotates about the origin, an exactly linear map
        that can be folded into a projection layer, and closes less of the gap.
    normalize : bool
        Return unit rows; False returns the affine image as it is.

    References
    ----------
    Schönemann (1966), "A generalized solution of the orthogonal Procrustes problem".
    """

    needs_pairs = True

    center: bool = True

    def _solve(self, moments: PairMoments) -> None:
        check_flag(self.center, "center")
        x, y = moments.x, moments.y
        cross = _cross(moments)
        if not self.center:
            cross = cross + x.count * np.outer(x.mean, y.mean)
        U, _, Vt = np.linalg.svd(cross)
        self.map_x_ = AffineMap(center=x.mean if self.center else None, matrix=U @ Vt)
        self.map_y_ = AffineMap(center=y.mean if self.center else None)
        self._note_if_few_rows("OrthogonalProcrustes")


@dataclass(kw_only=True, eq=False, repr=False)
class RidgeRegression(MomentAligner):
    """Predict each text from its image: x ↦ μ_y + (x − μ_x) B; the texts stay.

    B = (S_xx + λI)⁻¹ S_xy, with λ = `ridge` times the mean eigenvalue of S_xx.

    Parameters
    ----------
    ridge : float
        0 is least squares and needs more pairs than dimensions; a large value sends every image
        to the mean text.
    normalize : bool
        Return unit rows; False returns the affine image as it is.

    References
    ----------
    Hoerl and Kennard (1970), "Ridge regression: biased estimation for nonorthogonal problems".
    """

    needs_pairs = True

    ridge: float = 1.0

    def _solve(self, moments: PairMoments) -> None:
        ridge = check_real(self.ridge, "ridge", low=0)
        matrix = symmetric_power(add_ridge(moments.x.scatter, ridge), -1.0) @ _cross(moments)
        self.map_x_ = AffineMap(center=moments.x.mean, matrix=matrix, offset=moments.y.mean)
        self.map_y_ = AffineMap()
        if ridge == 0:
            self._note_if_few_rows("RidgeRegression without a ridge")


@dataclass(kw_only=True, eq=False, repr=False)
class CCA(MomentAligner):
    """Project both modalities on the directions in which pairs correlate most.

    With the covariances G_x and G_y (ridge added) and U ρ Vᵀ the singular value decomposition of
    G_x^-½ S_xy G_y^-½, the maps are G_x^-½ U ρ^p and G_y^-½ V ρ^p.

    Parameters
    ----------
    n_components : int or None
        How many directions are kept; None keeps all.
    power : float
        p, how strongly a direction counts by its correlation.
    ridge : float
        In units of the mean eigenvalue of each covariance; 0 needs far more pairs than dimensions.
    normalize : bool
        Return unit rows; False returns the affine image as it is.

    Attributes
    ----------
    correlations_ : array of shape (n_components,)
        ρ, the canonical correlations (shrunk by the ridge).

    References
    ----------
    Hotelling (1936), "Relations between two sets of variates".
    """

    needs_pairs = True
    extra_arrays = ("correlations_",)

    n_components: int | None = None
    power: float = 1.0
    ridge: float = 0.3

    def _solve(self, moments: PairMoments) -> None:
        ridge = check_real(self.ridge, "ridge", low=0)
        power = check_real(self.power, "power", low=0)
        d = moments.n_features
        wanted = d if self.n_components is None else self.n_components
        wanted = check_integer(wanted, "n_components", low=1, high=d)
        inverse_x, inverse_y = (
            symmetric_power(add_ridge(side.covariance(ddof=0), ridge), -0.5)
            for side in (moments.x, moments.y)
        )
        U, rho, Vt = np.linalg.svd(inverse_x @ (_cross(moments) / moments.x.count) @ inverse_y)
        kept = min(wanted, int(np.sum(rho > 1e-12 * rho[0])))
        weights = rho[:kept] ** power
        A_x, A_y = fix_signs(
            inverse_x @ (U[:, :kept] * weights), inverse_y @ (Vt[:kept].T * weights)
        )
        self.correlations_ = rho[:kept]
        self._map_centred(moments, A_x, A_y)
        if self.n_components is not None and kept < wanted:
            self._note(
                f"n_components is {wanted}, but only {kept} directions correlate: {kept} kept."
            )
        self._note_if_few_rows("CCA")
