"""Aligners that move each modality as a whole: centring, shifting, dropping dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fillgap.aligners.base import MomentAligner
from fillgap.errors import check_integer, check_real, unit_rows
from fillgap.maps import AffineMap, scale_to_unit
from fillgap.moments import PairMoments, to_numpy


class MeanCentering(MomentAligner):
    """Subtract each modality's own mean: x − μ_x, y − μ_y.

    It makes both centroids zero and leaves the covariances as they differ.

    Parameters
    ----------
    normalize : bool
        Return unit rows; False returns the affine image as it is.

    References
    ----------
    GR-CLIP (arXiv:2507.19054).

    Examples
    --------
    >>> import numpy as np
    >>> X, Y = np.eye(4)[:3], np.eye(4)[1:]
    >>> MeanCentering(normalize=False).fit(X, Y).transform(X).mean(axis=0).round(12) + 0.0
    array([0., 0., 0., 0.])
    """

    def _solve(self, moments: PairMoments) -> None:
        self._map_centred(moments, None, None)


@dataclass(kw_only=True, eq=False, repr=False)
class EmbeddingShift(MomentAligner):
    """Move both modalities along the gap vector δ = μ_x − μ_y: x − ½λδ, y + ½λδ.

    λ = 1 makes the two means equal, λ = 0 changes nothing, λ < 0 widens the gap.

    Parameters
    ----------
    amount : float
        λ, the share of the gap that is closed.
    normalize : bool
        Return unit rows; False returns the affine image as it is.

    References
    ----------
    Liang et al., "Mind the Gap" (arXiv:2203.02053), section 5.
    """

    amount: float = 1.0

    def _solve(self, moments: PairMoments) -> None:
        half = 0.5 * check_real(self.amount, "amount") * (moments.x.mean - moments.y.mean)
        self.map_x_, self.map_y_ = AffineMap(center=half), AffineMap(center=-half)


@dataclass(kw_only=True, eq=False, repr=False)
class Translation(MomentAligner):
    """Move the images towards the texts along the gap: x + λ(μ_y − μ_x); the texts stay.

    Parameters
    ----------
    amount : float
        λ: 1 makes the two means equal. `matching_translation` finds the λ that DG compares with.
    normalize : bool
        Return unit rows; False returns the affine image as it is.

    References
    ----------
    A baseline of DG (arXiv:2510.03268), tables 1 to 3.
    """

    amount: float = 1.0

    def _solve(self, moments: PairMoments) -> None:
        shift = check_real(self.amount, "amount") * (moments.y.mean - moments.x.mean)
        self.map_x_, self.map_y_ = AffineMap(offset=shift), AffineMap()


def matching_translation(X: Any, Y: Any, *, angle: float) -> float:
    """Return the least λ of two decimals in [0, 1] that brings the gap angle below `angle`.

    Parameters
    ----------
    X, Y : array of shape (n, n_features) and (m, n_features)
        Images and texts.
    angle : float
        In radians: the gap angle that another method leaves, such as `SharedSpaceProjection`.

    Returns
    -------
    float
        1 where no smaller λ is enough.

    References
    ----------
    The rule behind the translation rows of DG (arXiv:2510.03268), tables 1 to 3.
    """
    check_real(angle, "angle", low=0)
    units = to_numpy(unit_rows(X, "images")), to_numpy(unit_rows(Y, "texts"))
    mean_x, mean_y = (side.mean(axis=0) for side in units)
    for hundredths in range(100):
        amount = hundredths / 100
        moved = scale_to_unit(units[0] + amount * (mean_y - mean_x)).mean(axis=0)
        cosine = moved @ mean_y / (np.linalg.norm(moved) * np.linalg.norm(mean_y))
        if np.arccos(np.clip(cosine, -1, 1)) < angle:
            return amount
    return 1.0


@dataclass(kw_only=True, eq=False, repr=False)
class DimensionRemoval(MomentAligner):
    """Drop the dimensions in which the two means differ most.

    Parameters
    ----------
    n_removed : int
        How many dimensions are dropped; the result has n_features − n_removed.
    normalize : bool
        Return unit rows; False returns the remaining columns as they are.

    Attributes
    ----------
    removed_ : array of int of shape (n_removed,)
        The dropped dimensions, the one with the largest |μ_x − μ_y| first.

    References
    ----------
    A baseline of DG (arXiv:2510.03268), tables 1 to 3.
    """

    extra_arrays = ("removed_",)

    n_removed: int = 5

    def _solve(self, moments: PairMoments) -> None:
        d = moments.n_features
        count = check_integer(self.n_removed, "n_removed", low=0, high=d - 1)
        order = np.argsort(-np.abs(moments.x.mean - moments.y.mean), kind="stable")
        self.removed_ = order[:count]
        matrix = np.delete(np.eye(d), self.removed_, axis=1)
        self.map_x_, self.map_y_ = AffineMap(matrix=matrix), AffineMap(matrix=matrix)
