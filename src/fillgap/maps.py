"""The affine map that every linear aligner ends in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from fillgap.errors import row_norms
from fillgap.linalg import Matrix


@dataclass(frozen=True, eq=False)
class AffineMap:
    """The map x ↦ (x − center) · matrix + offset; a part that is None does nothing."""

    center: Matrix | None = None
    matrix: Matrix | None = None
    offset: Matrix | None = None

    def __call__(self, rows: Any) -> Any:
        """Return the image of `rows`, of shape (n_samples, n_features_in), in their own type."""
        if isinstance(rows, np.ndarray) and rows.dtype == np.float32 and self is not self._single:
            return self._single(rows)
        if self.center is not None:
            rows = rows - _like(self.center, rows)
        if self.matrix is not None:
            rows = rows @ _like(self.matrix, rows)
        if self.offset is None:
            return rows
        offset = _like(self.offset, rows)
        if self.matrix is None and self.center is None:
            return rows + offset
        rows += offset  # a new array already
        return rows

    @cached_property
    def _single(self) -> AffineMap:
        """The same in float32: short blocks would be mapped in the time that casting takes."""
        parts: tuple[Any, ...] = (self.center, self.matrix, self.offset)
        if all(part is None or part.dtype == np.float32 for part in parts):
            return self
        return AffineMap(*(None if part is None else part.astype(np.float32) for part in parts))

    def folded(self, n_features: int) -> tuple[Matrix, Matrix]:
        """Return (A, b) with x ↦ x A + b, the form that a linear layer stores; x has n_features."""
        matrix = np.eye(n_features) if self.matrix is None else self.matrix
        offset = np.zeros(matrix.shape[1]) if self.offset is None else self.offset
        return matrix, offset if self.center is None else offset - self.center @ matrix


def _like(constant: Matrix, rows: Any) -> Any:
    """Return a float64 constant in the library, the type and on the device of `rows`."""
    if isinstance(rows, np.ndarray):
        return constant.astype(rows.dtype, copy=False)
    return array_namespace(rows).asarray(constant, dtype=rows.dtype, device=device(rows))


def scale_to_unit(rows: Any, *, in_place: bool = False) -> Any:
    """Return rows of length one; a row that a map sent to zero stays zero."""
    xp = array_namespace(rows)
    norms = row_norms(rows)
    norms = xp.where(norms > 0, norms, xp.ones_like(norms))[:, None]
    if not in_place:
        return rows / norms
    rows /= norms
    return rows
