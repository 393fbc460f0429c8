"""Checks that the theorems share: angles, cosines, and unit vectors."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from fillgap.errors import InputError


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


_SWITCH = 30.0  # where twelve Debye terms are exact to 1e-14
_DEBYE_TERMS = 12
_SERIES_TERMS = 96  # the largest term at x = 30 is the 15th; the 96th is below 1e-60 of it


def log_bessel_over_power(order: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
    """Return log[I_ν(x) / x^ν], which is finite at x = 0 too.

    Parameters
    ----------
    order : float or array
        Order ν ≥ 0.
    x : float or array
        Argument x ≥ 0, broadcast against `order`.

    Returns
    -------
    ndarray of float64
        Exact to about 1e-14 of the largest summand, max(x, ν log ν).

    Raises
    ------
    InputError
        If an order or an argument is negative, infinite or NaN.
    """
    order, x = _broadcast(order, x)
    size = np.hypot(order, x)
    uniform = size >= _SWITCH
    value = np.empty_like(size)
    value[uniform] = _debye_log(order[uniform], size[uniform])
    value[~uniform] = _series_log(order[~uniform], x[~uniform])
    return value[()]


def log_bessel(order: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
    """Return log I_ν(x); minus infinity at x = 0 for ν > 0.

    Parameters
    ----------
    order : float or array
        Order ν ≥ 0.
    x : float or array
        Argument x ≥ 0, broadcast against `order`.

    Raises
    ------
    InputError
        If an order or an argument is negative, infinite or NaN.
    """
    scaled = log_bessel_over_power(order, x)
    order, x = _broadcast(order, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.where(order == 0, 0.0, order * np.log(x))
    return scaled + power[()]


def bessel_ratio(order: ArrayLike, x: ArrayLike) -> NDArray[np.float64]:
    """Return I_{ν+1}(x) / I_ν(x), between 0 and 1.

    With ν = h/2 − 1 this is A_h(κ), the length of the mean of a von Mises-Fisher distribution.
    The leading parts of both expansions are subtracted by hand, so that nothing cancels when x
    is huge and nothing underflows when it is tiny.

    Parameters
    ----------
    order : float or array
        Order ν ≥ 0.
    x : float or array
        Argument x ≥ 0, broadcast against `order`.

    Raises
    ------
    InputError
        If an order or an argument is negative, infinite or NaN.
    """
    order, x = _broadcast(order, x)
    low, high = np.hypot(order, x), np.hypot(order + 1, x)
    uniform = low >= _SWITCH
    value = np.empty_like(low)
    value[~uniform] = _series_ratio(order[~uniform], x[~uniform])
    value[uniform] = _debye_ratio(order[uniform], x[uniform], low[uniform], high[uniform])
    return value[()]


def _broadcast(order: ArrayLike, x: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both as float64 arrays of one shape, refusing what the functions do not cover."""
    for value, what in ((order, "order"), (x, "x")):
        entries = np.asarray(value, dtype=np.float64)
        if not np.all(np.isfinite(entries) & (entries >= 0)):
            raise InputError(
                f"{what} must be finite and at least 0, got {value!r}. "
                "Check the concentration and the number of dimensions."
            )
    orders, arguments = np.broadcast_arrays(
        np.asarray(order, dtype=np.float64), np.asarray(x, dtype=np.float64)
    )
    return orders, arguments


def _series(order: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ_k (x²/4)^k / (k! (ν+1)(ν+2)…(ν+k)), which is 1 at x = 0."""
    quarter = x * x / 4
    term = np.ones_like(x)
    total = np.ones_like(x)
    for k in range(1, _SERIES_TERMS):
        term = term * quarter / (k * (order + k))
        total += term
    return total


def _series_log(order: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log[I_ν(x) / x^ν] from the ascending series."""
    return np.log(_series(order, x)) - order * np.log(2) - gammaln(order + 1)


def _series_ratio(order: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return I_{ν+1}(x) / I_ν(x) from two ascending series."""
    return x / (2 * (order + 1)) * _series(order + 1, x) / _series(order, x)


@cache
def _debye_polynomials() -> tuple[Polynomial, ...]:
    """Return Debye's u_0, u_1, … (recurrence of DLMF 10.41.9)."""
    t = Polynomial([0.0, 1.0])
    terms = [Polynomial([1.0])]
    for _ in range(_DEBYE_TERMS):
        last = terms[-1]
        terms.append(0.5 * t**2 * (1 - t**2) * last.deriv() + ((1 - 5 * t**2) * last).integ() / 8)
    return tuple(terms)


def _debye_sum(order: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ_k u_k(t) / ν^k with t = ν/s, written as powers of 1/s so that ν may be 0."""
    t = order / size
    total = np.zeros_like(size)
    for k, polynomial in reversed(list(enumerate(_debye_polynomials()))):
        reduced = Polynomial(polynomial.coef[k:])  # u_k(t) = t^k · reduced(t), and t/ν = 1/s
        total = reduced(t) + total / size
    return total


def _debye_log(order: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log[I_ν(x) / x^ν] from the uniform expansion; log x has cancelled by hand."""
    leading = size - order * np.log(order + size)
    return leading - 0.5 * np.log(2 * np.pi * size) + np.log(_debye_sum(order, size))


def _debye_ratio(
    order: NDArray[np.float64],
    x: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return I_{ν+1}(x) / I_ν(x) from two uniform expansions, differences taken by hand."""
    step = (2 * order + 1) / (high + low)
    exponent = step - order * np.log1p((1 + step) / (order + low))
    sums = _debye_sum(order + 1, high) / _debye_sum(order, low)
    return x / (order + 1 + high) * np.exp(exponent) * np.sqrt(low / high) * sums
