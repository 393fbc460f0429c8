"""Optimal transport between two Gaussians, in closed form."""

from __future__ import annotations

from fillgap._checks import check_real
from fillgap._linalg import add_ridge, half_powers, symmetric_power
from fillgap.affine import AffineMap
from fillgap.aligners.sums import MomentAligner
from fillgap.moments import PairMoments

__all__ = ["GaussianTransport"]


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

    def __init__(self, *, ridge: float = 0.3, normalize: bool = True) -> None:
        self.ridge = ridge
        self.normalize = normalize

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
