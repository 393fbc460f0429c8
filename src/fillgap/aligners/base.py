"""What all aligners share: two sides, checked input, unit rows, one map per modality."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from fillgap._checks import (
    InputError,
    check_flag,
    check_matrix,
    check_same_count,
    check_same_features,
    unit_rows,
)
from fillgap._copies import level_rows
from fillgap._progress import Progress, silent
from fillgap.affine import AffineMap, scale_to_unit
from fillgap.rows import BLOCK_ROWS, iter_blocks

__all__ = ["Aligner"]

Matrix = NDArray[np.float64]
#: Rows that are mapped at a time: as float32 they stay in the cache of a core through all steps.
STRIP_ROWS = 512


class Aligner(BaseEstimator):
    """Base of all aligners: `fit(X, Y)`, `transform(X)`, `transform_y(Y)`, `transform_pair(X, Y)`.

    Attributes
    ----------
    needs_pairs : bool
        Whether row i of X must belong to row i of Y in `fit`.
    linear : bool
        Whether the fitted result is one affine map per modality, `map_x_` and `map_y_`.
    passes : int
        How often `fit` reads the rows: 1 or 2 where sums suffice, 0 where it must hold them.
    extra_arrays : tuple of str
        Fitted arrays that a file must keep besides the maps and the means.
    notes_ : tuple of str
        What its user should know of a fit that went through.
    """

    needs_pairs: ClassVar[bool] = False
    linear: ClassVar[bool] = True
    passes: ClassVar[int] = 1
    extra_arrays: ClassVar[tuple[str, ...]] = ()

    normalize: bool
    n_features_in_: int
    n_samples_: tuple[int, int]
    mean_x_: Matrix
    mean_y_: Matrix
    notes_: tuple[str, ...]
    map_x_: AffineMap
    map_y_: AffineMap
    metadata_: dict[str, Any]

    def fit(self, X: Any, Y: Any, *, progress: Progress | None = None) -> Self:
        """Fit to images `X` of shape (n, d) and texts `Y` of shape (m, d).

        Parameters
        ----------
        X, Y : array or `RowSource`
            Rows need not be normalised. A `RowSource` is read in blocks and never held.
        progress : callable, optional
            Called as progress(rows done, rows in all, what).

        Returns
        -------
        Self
            The fitted aligner.

        Raises
        ------
        InputError
            If the dimensions differ, the counts differ where pairs are needed, or a row is zero or
            not finite.
        """
        check_flag(self.normalize, "normalize")
        X, Y = self._check_sides(X, Y)
        self._reset()
        self._fit(X, Y, progress or silent)
        return self

    def transform(self, X: Any) -> Any:
        """Return the aligned images, of shape (n, n_components), in float32 or float64."""
        return self._apply(X, "images")

    def transform_y(self, Y: Any) -> Any:
        """Return the aligned texts, of shape (m, n_components), in float32 or float64."""
        return self._apply(Y, "texts")

    def transform_pair(self, X: Any, Y: Any) -> tuple[Any, Any]:
        """Return the aligned images and the aligned texts."""
        return self.transform(X), self.transform_y(Y)

    def _fit(self, X: Any, Y: Any, progress: Progress) -> None:
        """Fit to checked sides."""
        raise NotImplementedError

    def _map_rows(self, rows: Any, what: str) -> Any:
        """Return the image of a block of unit rows, before it is normalised."""
        return (self.map_x_ if what == "images" else self.map_y_)(rows)

    def _check_sides(self, X: Any, Y: Any) -> tuple[Any, Any]:
        sides = [
            side if hasattr(side, "iter_blocks") else check_matrix(side, what, min_rows=2)
            for side, what in ((X, "images"), (Y, "texts"))
        ]
        check_same_features(*sides)
        if self.needs_pairs:
            check_same_count(sides[0], sides[1], f"for {type(self).__name__}")
        return sides[0], sides[1]

    def _reset(self) -> None:
        """Forget an earlier fit."""
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        self.notes_ = ()

    def _note(self, message: str) -> None:
        """Keep a remark with the fit."""
        self.notes_ = (*self.notes_, message)

    def _apply(self, X: Any, what: str) -> Any:
        """Normalise, map and normalise again, block by block."""
        if not hasattr(self, "n_features_in_"):
            name = type(self).__name__
            raise NotFittedError(f"{name} must be fitted before it is applied. Call fit first.")
        X = check_matrix(X, what)
        if X.shape[0] <= BLOCK_ROWS:
            return level_rows(self.apply_block(X, what, 0), X)
        out: Any = None
        for start, block in iter_blocks(X, what):
            rows = self.apply_block(block, what, start)
            if out is None:
                shape = (X.shape[0], rows.shape[1])
                out = array_namespace(rows).empty(shape, dtype=rows.dtype, device=device(rows))
            out[start : start + rows.shape[0], :] = rows
        return level_rows(out, X)

    def apply_block(self, block: Any, what: str, first_row: int = 0) -> Any:
        """Return one aligned block of a longer stream.

        Parameters
        ----------
        block : array of shape (n_samples, n_features)
        what : "images" or "texts"
        first_row : int
            Number of the block's first row in the stream, for messages.
        """
        if block.shape[1] != self.n_features_in_:
            raise InputError(
                f"{what} must be of dimension {self.n_features_in_}, as in the fit, got "
                f"{block.shape[1]}. Use embeddings of the model that the aligner was fitted to."
            )
        if not isinstance(block, np.ndarray) or len(block) <= STRIP_ROWS or not self.linear:
            return self._apply_strip(block, what, first_row)
        out: Any = None
        for start in range(0, len(block), STRIP_ROWS):
            strip = block[start : start + STRIP_ROWS]
            try:
                rows = self._apply_strip(strip, what, first_row + start)
            except InputError:
                unit_rows(block, what, first_row=first_row)  # counts the bad rows of all of it
                raise
            if out is None:
                out = np.empty((len(block), rows.shape[1]), rows.dtype)
            out[start : start + len(rows)] = rows
        return out

    def _apply_strip(self, rows: Any, what: str, first_row: int) -> Any:
        out = self._map_rows(unit_rows(rows, what, first_row=first_row), what)
        return scale_to_unit(out, in_place=True) if self.normalize else out
