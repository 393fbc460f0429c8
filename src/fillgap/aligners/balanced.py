"""Balanced alignment: both modalities get one covariance, and cross-modal products stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fillgap.aligners.base import MomentAligner
from fillgap.errors import check_choice, check_integer, check_real
from fillgap.linalg import Matrix, add_ridge, fix_signs, half_powers, leading_svd, mean_eigenvalue
from fillgap.maps import AffineMap
from fillgap.moments import PairMoments


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
            moments, n_components=self.n_components, power=self.power, ridge=self.ridge
        )
        if isinstance(self.n_components, int) and len(self.singular_values_) < self.n_components:
            self._note(
                f"n_components is {self.n_components}, but both modalities share only "
                f"{len(self.singular_values_)} directions: all of them are kept."
            )
        self.map_x_ = AffineMap(center=moments.x.mean, matrix=A_x)
        self.map_y_ = AffineMap(center=moments.y.mean, matrix=A_y)
        if self.ridge == 0:
            self._note_if_few_rows("BalancedAligner without a ridge")


def start_maps(
    moments: PairMoments, *, n_components: int | str | None, power: float, ridge: float
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
