"""Sums behind the spectral method: totals of unit rows, and moments weighted by degree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from fillgap._checks import row_scales
from fillgap.moments import gram, precise, to_numpy

__all__ = ["DegreeSums", "Totals", "degree_block", "totals_block"]

Matrix = NDArray[np.float64]


@dataclass
class Totals:
    """Counts and sums of the unit rows of both modalities.

    Attributes
    ----------
    counts : array of shape (2,)
        Images, texts.
    sums : array of shape (2, n_features)
        Sum of the unit images, sum of the unit texts.
    """

    counts: NDArray[np.int64]
    sums: Matrix

    def absorb(self, other: Totals) -> None:
        """Add the rows behind `other`, in place."""
        self.counts = self.counts + other.counts
        self.sums += other.sums


def totals_block(first_row: int, X: Any | None, Y: Any | None) -> Totals:
    """Return the totals of one block; a side may be missing."""
    n_features = int((X if X is not None else Y).shape[1])  # type: ignore[union-attr]
    counts, sums = np.zeros(2, dtype=np.int64), np.zeros((2, n_features))
    for side, (block, what) in enumerate(((X, "images"), (Y, "texts"))):
        if block is not None:
            rows, scales = row_scales(block, what, first_row=first_row)
            counts[side] = rows.shape[0]
            sums[side] = to_numpy(precise(scales, first_row) @ precise(rows, first_row))
    return Totals(counts, sums)


@dataclass
class DegreeSums:
    """Second moments of the unit rows, each row weighted by one over its degree.

    Attributes
    ----------
    grams : list of two arrays of shape (n_columns, n_columns)
        Σ z zᵀ / degree over images and over texts.
    lowest : float
        The least degree.
    absolute, count : float, int
        Sum of |degree| over all rows, and their number.
    eps : float
        Relative rounding error of the coarsest product that went in.
    """

    grams: list[Matrix]
    lowest: float
    absolute: float
    count: int
    eps: float

    def absorb(self, other: DegreeSums) -> None:
        """Add the rows behind `other`, in place."""
        self.grams = [mine + theirs for mine, theirs in zip(self.grams, other.grams, strict=True)]
        self.lowest = min(self.lowest, other.lowest)
        self.absolute += other.absolute
        self.count += other.count
        self.eps = max(self.eps, other.eps)

    @property
    def all_positive(self) -> bool:
        """Whether every degree is clearly positive: above 1e-6 of the mean |degree|."""
        return self.lowest > 1e-6 * self.absolute / self.count


def degree_block(
    first_row: int, X: Any | None, Y: Any | None, *, totals: Totals, shift: float
) -> DegreeSums:
    """Return the degree-weighted sums of one block; a side may be missing.

    Parameters
    ----------
    first_row : int
        Number of the block's first row in the whole set.
    X, Y : array of shape (n_samples, n_features) or None
    totals : Totals
        Of the whole fit: the degree of an image is its product with the sum of all texts.
    shift : float
        c in the weights W + c · 1 1ᵀ, written as one more column √c on each side.
    """
    n_columns = totals.sums.shape[1] + (shift > 0)
    sums = DegreeSums([np.zeros((n_columns, n_columns)) for _ in range(2)], np.inf, 0.0, 0, 0.0)
    for side, (block, what) in enumerate(((X, "images"), (Y, "texts"))):
        if block is None:
            continue
        xp = array_namespace(block)
        rows, scales = row_scales(block, what, first_row=first_row)
        rows, scales = precise(rows, first_row), precise(scales, first_row)
        other = xp.asarray(totals.sums[1 - side], dtype=rows.dtype, device=device(rows))
        degrees = (rows @ other) * scales + shift * float(totals.counts[1 - side])
        if bool(xp.all(degrees > 0)):  # otherwise no product of this pass will be used
            roots = xp.sqrt(degrees)
            sums.grams[side] = _bordered(
                rows * (scales / roots)[:, None], shift**0.5 / roots, shift
            )
        sums.lowest = min(sums.lowest, float(xp.min(degrees)))
        sums.absolute += float(xp.sum(xp.abs(degrees)))
        sums.count += int(rows.shape[0])
        sums.eps = max(sums.eps, float(xp.finfo(rows.dtype).eps))
    return sums


def _bordered(weighted: Any, column: Any, shift: float) -> Matrix:
    """Return the Gram matrix of the rows, with the column of the shift as the last one."""
    inner = gram(weighted)
    if shift == 0:
        return inner
    border = to_numpy(column @ weighted)
    corner = np.array([[float(column @ column)]])
    return np.block([[inner, border[:, None]], [border[None, :], corner]])
