"""Sums of unit rows that merge, over blocks, files or a cluster: what most aligners need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from fillgap.errors import SMALLEST_NORM, row_scales
from fillgap.linalg import Matrix

#: Rows that are made ready at a time: 512 KiB of 512 float32 columns.
STRIP_ROWS = 256
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

    Two of them merge by the formula of Chan, Golub and LeVeque (1983), which loses no digits where
    the mean is far larger than the deviation.
    """

    count: int
    mean: Matrix
    scatter: Matrix  # sum over rows of (x − mean)(x − mean)ᵀ

    @classmethod
    def empty(cls, n_features: int) -> Moments:
        """Return the moments of no rows."""
        return cls(0, np.zeros(n_features), np.zeros((n_features, n_features)))

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Send no zeros to other processes where there are no rows."""
        if self.count == 0:
            return Moments.empty, (len(self.mean),)
        return Moments, (self.count, self.mean, self.scatter)

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
    """Moments of both modalities, and the cross scatter where rows are pairs."""

    x: Moments  # of the images
    y: Moments  # of the texts
    cross: Matrix | None = None  # sum over pairs of (x − mean of x)(y − mean of y)ᵀ

    @property
    def n_features(self) -> int:
        """Dimension of the rows."""
        return len(self.x.mean)

    @classmethod
    def from_block(
        cls, first_row: int, X: Any | None, Y: Any | None, *, cross: bool = False
    ) -> PairMoments:
        """Return the moments of the unit rows of one block of each side.

        `first_row` of the whole set is for messages, and because small sets are multiplied in
        float64. One side may be None where `cross`, for rows that are pairs, is not asked for.
        """
        given = [
            _centred_rows(side, what, first_row)
            for side, what in ((X, "images"), (Y, "texts"))
            if side is not None
        ]
        moments = [
            Moments(len(rows), mean, gram(rows) - np.outer(len(rows) * rest, rest))
            for rows, mean, rest in given
        ]
        if X is None or Y is None:
            nothing = Moments.empty(len(moments[0].mean))
            return cls(nothing, moments[0]) if X is None else cls(moments[0], nothing)
        if not cross:
            return cls(moments[0], moments[1])
        (x, _, rest_x), (y, _, rest_y) = given
        return cls(moments[0], moments[1], gram(x, y) - np.outer(len(x) * rest_x, rest_y))

    def absorb(self, other: PairMoments) -> None:
        """Add the rows behind `other`, in place."""
        if self.cross is not None and other.cross is not None and other.x.count:
            n, m = self.x.count, other.x.count
            dx, dy = other.x.mean - self.x.mean, other.y.mean - self.y.mean
            self.cross += other.cross
            self.cross += np.outer(dx * (n * m / (n + m)), dy)
        self.x.absorb(other.x)
        self.y.absorb(other.y)


def _centred_rows(side: Any, what: str, first_row: int) -> tuple[Any, Matrix, Matrix]:
    """Return the unit rows about a point near their mean, that mean, and what is left of it.

    Arrays are made ready strip by strip, each of which stays in the cache of a core through all
    steps; the point is the mean of the first strip.
    """
    n, d = side.shape
    if isinstance(side, np.ndarray):
        small = first_row + n < PRECISE_ROWS or side.dtype == np.float64
        centred = np.empty((n, d), np.float64 if small else np.float32)
        ones, total = np.ones(STRIP_ROWS, centred.dtype), np.zeros(d)
        point: NDArray[Any] | None = None
        with np.errstate(over="ignore"):
            for start in range(0, n, STRIP_ROWS):
                strip = centred[start : start + STRIP_ROWS]
                strip[...] = side[start : start + STRIP_ROWS]
                norms = np.sqrt(np.vecdot(strip, strip))
                if not (np.isfinite(norms).all() and norms.min() > SMALLEST_NORM):
                    break  # `row_scales` says which row has no direction, or mends it
                strip *= (1 / norms)[:, None]
                if point is None:
                    point = (ones[: len(strip)] @ strip) / len(strip)
                strip -= point
                total += ones[: len(strip)] @ strip
            else:
                return centred, point + total / n, total / n
    rows, scales = row_scales(side, what, first_row=first_row)
    rows, scales = precise(rows, first_row), precise(scales, first_row)
    mean = (scales @ rows) / n
    rows = rows * scales[:, None]
    rows -= mean[None, :]
    return rows, to_numpy(mean), np.zeros(d)
