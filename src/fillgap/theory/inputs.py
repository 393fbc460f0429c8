"""Checks that the theorems share: angles, cosines, and unit vectors."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap._checks import InputError

__all__ = ["check_range", "check_right_angle", "check_unit_vector"]


def check_range(
    value: ArrayLike, what: str, low: float, high: float = math.inf
) -> NDArray[np.float64]:
    """Return `value` as float64 array with every entry in [low, high]."""
    entries = np.asarray(value, dtype=np.float64)
    inside = (entries >= low) & (entries <= high) & np.isfinite(entries)
    if not np.all(inside):
        rule = f"between {low:g} and {high:g}" if math.isfinite(high) else f"at least {low:g}"
        worst = float(entries[~inside].flat[0])
        raise InputError(f"{what} must be {rule}, got {worst:g}. Choose values in that range.")
    return entries


def check_right_angle(value: ArrayLike, what: str) -> NDArray[np.float64]:
    """Return the angles `value`, in radians, if all lie strictly between 0 and π/2."""
    angles = np.asarray(value, dtype=np.float64)
    inside = (angles > 0) & (angles < np.pi / 2)
    if not np.all(inside):
        worst = float(angles[~inside].flat[0])
        raise InputError(
            f"{what} must be an angle in radians between 0 and π/2, both excluded, got {worst:g}. "
            "Convert degrees with numpy.radians, and use two different hyperplanes."
        )
    return angles


def check_unit_vector(value: ArrayLike, what: str) -> NDArray[np.float64]:
    """Return `value` as float64 vector of length one, of dimension 2 or more."""
    vector = np.asarray(value, dtype=np.float64)
    if vector.ndim != 1 or vector.size < 2:
        raise InputError(
            f"{what} must be a vector of at least 2 entries, got shape {vector.shape}. "
            "Pass one direction."
        )
    length = float(np.linalg.norm(vector))
    if not abs(length - 1) < 1e-6:  # also refuses NaN
        raise InputError(
            f"{what} must be of length 1, got length {length:g}. Divide it by its norm."
        )
    return vector / length
