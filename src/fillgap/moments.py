"""Sums of unit rows that merge: counts, means and centred second moments.

Nearly every aligner is a function of these. Because they merge, one pass over a block, a file, a
thousand shards or a cluster gives the same fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from fillgap._checks import row_scales

__all__ = ["PRECISE_ROWS", "Moments", "PairMoments", "gram", "precise", "to_numpy"]

Matrix = NDArray[np.float64]

#: Data sets smaller than this are multiplied in float64, and exact to about 1e-15; larger ones in
#: their own precision.
PRECISE_ROWS = 8192


def to_numpy(array: Any) -> Matrix:
    """Return `array` as a float64 NumPy array, from whatever device it lies on."""
    if isinstance(array, np.ndarray):
        return array.astype(np.float64, copy=False)
    host = array.detach().cpu().numpy() if hasattr(array, "detach") else array.get()
    return np.asarray(host, dtype=np.float64)


def precise(array: Any, first_row: int) -> Any:
    """Return a block in float64 where no more than a small data set has been read."""
    if first_row + array.shape[0] >= PRECISE_ROWS or "mps" in str(getattr(array, "device", "")):
        return array  # (that device has no float64)
    xp = array_namespace(array)
    return xp.astype(array, xp.float64)


def gram(A: Any, B: Any | None = None) -> Matrix:
    """Return Aᵀ B (Aᵀ A without `B`) as float64, multiplied in the precision of `A`."""
    return to_numpy(A.T @ (A if B is None else B))


@dataclass
class Moments:
    """Count, mean and centred scatter of the rows of one modality.

    Attributes
    ----------
    count : int
        Number of rows.
    mean : array of shape (n_features,)
        Their mean.
    scatter : array of shape (n_features, n_features)
        Sum over rows of (x − mean)(x − mean)ᵀ.

    Notes
    -----
    Two of them merge by the formula of Chan, Golub and LeVeque (1983), which loses no digits where
    the mean is far larger than the deviation.
    """

    count: int
    mean: Matrix
    scatter: Matrix

    @classmethod
    def empty(cls, n_features: int) -> Moments:
        """Return the moments of no rows."""
        return cls(0, np.zeros(n_features), np.zeros((n_features, n_features)))

    @classmethod
    def from_rows(cls, rows: Any) -> Moments:
        """Return the moments of a block of shape (n_samples, n_features), taken as it is."""
        mean = array_namespace(rows).mean(rows, axis=0)
        return cls(int(rows.shape[0]), to_numpy(mean), gram(rows - mean[None, :]))

    def absorb(self, other: Moments) -> None:
        """Add the rows behind `other`, in place."""
        total = self.count + other.count
        if other.count == 0:
            return
        delta = other.mean - self.mean
        self.scatter += other.scatter
        if self.count:
            self.scatter += np.outer(delta * (self.count * other.count / total), delta)
        self.mean = self.mean + delta * (other.count / total)
        self.count = total

    def covariance(self, ddof: int = 1) -> Matrix:
        """Return the covariance matrix with denominator count − ddof."""
        return self.scatter / max(self.count - ddof, 1)

    def second_moment(self) -> Matrix:
        """Return the uncentred mean of x xᵀ."""
        return self.scatter / self.count + np.outer(self.mean, self.mean)


@dataclass
class PairMoments:
    """Moments of both modalities, and the cross scatter where rows are pairs.

    Attributes
    ----------
    x, y : Moments
        Of the images and of the texts.
    cross : array of shape (n_features, n_features) or None
        Sum over pairs of (x − mean of x)(y − mean of y)ᵀ.
    """

    x: Moments
    y: Moments
    cross: Matrix | None = None

    @property
    def n_features(self) -> int:
        """Dimension of the rows."""
        return len(self.x.mean)

    @classmethod
    def from_block(
        cls, first_row: int, X: Any | None, Y: Any | None, *, cross: bool = False
    ) -> PairMoments:
        """Return the moments of the unit rows of one block of each side.

        Parameters
        ----------
        first_row : int
            Number of the block's first row in the whole set: for messages, and because small sets
            are multiplied in float64.
        X, Y : array of shape (n_samples, n_features) or None
            One side may be missing where `cross` is not asked for. Rows need not be normalised.
        cross : bool
            Whether row i of `X` belongs to row i of `Y`, and their cross scatter is wanted.
        """
        moments, residuals = [], []
        for side, what in ((X, "images"), (Y, "texts")):
            if side is None:
                continue
            rows, scales = row_scales(side, what, first_row=first_row)
            rows, scales = precise(rows, first_row), precise(scales, first_row)
            mean, centred = _centred(rows, scales, in_place=rows is not side)
            moments.append(Moments(int(side.shape[0]), mean, gram(centred)))
            residuals.append(centred)
        if X is None or Y is None:
            nothing = Moments.empty(len(moments[0].mean))
            return cls(nothing, moments[0]) if X is None else cls(moments[0], nothing)
        return cls(moments[0], moments[1], gram(*residuals) if cross else None)

    def absorb(self, other: PairMoments) -> None:
        """Add the rows behind `other`, in place."""
        if self.cross is not None and other.cross is not None and other.x.count:
            n, m = self.x.count, other.x.count
            dx, dy = other.x.mean - self.x.mean, other.y.mean - self.y.mean
            self.cross += other.cross
            self.cross += np.outer(dx * (n * m / (n + m)), dy)
        self.x.absorb(other.x)
        self.y.absorb(other.y)


def _centred(rows: Any, scales: Any, *, in_place: bool) -> tuple[Matrix, Any]:
    """Return the mean of the scaled rows, and the scaled rows without it."""
    mean = (scales @ rows) / rows.shape[0]
    if in_place:  # a copy of the block already
        centred = rows
        centred *= scales[:, None]
    else:
        centred = rows * scales[:, None]
    centred -= mean[None, :]
    return to_numpy(mean), centred
