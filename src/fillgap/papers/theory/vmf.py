"""The von Mises-Fisher distribution on the unit sphere, and the Bessel functions it rests on.

Its density is proportional to e^{κ c·z}: c is the centre, κ ≥ 0 the concentration, κ = 0 the
uniform distribution. Everything works from 2 to thousands of dimensions, since the normalising
constant stays in log space.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import gammaln

from fillgap.errors import (
    InputError,
    check_integer,
    check_matrix,
    check_random_state,
    check_real,
    unit_rows,
)

Array = NDArray[np.float64]

_SWITCH = 30.0  # where twelve Debye terms are exact to 1e-14
_DEBYE_TERMS = 12
_SERIES_TERMS = 96  # the largest term at x = 30 is the 15th; the 96th is below 1e-60 of it
_DROP = 45.0  # the integrand of a zone is cut where it has fallen by e^-45
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def log_bessel_over_power(order: ArrayLike, x: ArrayLike) -> Array:
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
    n, s = order[uniform], size[uniform]
    # Debye's uniform expansion; log x has cancelled by hand.
    leading = s - n * np.log(n + s)
    value[uniform] = leading - 0.5 * np.log(2 * np.pi * s) + np.log(_debye_sum(n, s))
    n, small = order[~uniform], x[~uniform]
    value[~uniform] = np.log(_series(n, small)) - n * np.log(2) - gammaln(n + 1)
    return value[()]


def log_bessel(order: ArrayLike, x: ArrayLike) -> Array:
    """Return log I_ν(x); minus infinity at x = 0 for ν > 0."""
    scaled = log_bessel_over_power(order, x)
    order, x = _broadcast(order, x)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.where(order == 0, 0.0, order * np.log(x))
    return scaled + power[()]


def bessel_ratio(order: ArrayLike, x: ArrayLike) -> Array:
    """Return I_{ν+1}(x) / I_ν(x), between 0 and 1.

    With ν = h/2 − 1 this is A_h(κ), the length of the mean of a von Mises-Fisher distribution.
    The leading parts of both expansions are subtracted by hand, so that nothing cancels when x
    is huge and nothing underflows when it is tiny.
    """
    order, x = _broadcast(order, x)
    low, high = np.hypot(order, x), np.hypot(order + 1, x)
    uniform = low >= _SWITCH
    value = np.empty_like(low)
    n, small = order[~uniform], x[~uniform]
    value[~uniform] = small / (2 * (n + 1)) * _series(n + 1, small) / _series(n, small)
    n, x, low, high = order[uniform], x[uniform], low[uniform], high[uniform]
    step = (2 * n + 1) / (high + low)
    exponent = step - n * np.log1p((1 + step) / (n + low))
    sums = _debye_sum(n + 1, high) / _debye_sum(n, low)
    value[uniform] = x / (n + 1 + high) * np.exp(exponent) * np.sqrt(low / high) * sums
    return value[()]


def _broadcast(order: ArrayLike, x: ArrayLike) -> tuple[Array, Array]:
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


def _series(order: Array, x: Array) -> Array:
    """Return Σ_k (x²/4)^k / (k! (ν+1)(ν+2)…(ν+k)), which is 1 at x = 0."""
    quarter = x * x / 4
    term = np.ones_like(x)
    total = np.ones_like(x)
    for k in range(1, _SERIES_TERMS):
        term = term * quarter / (k * (order + k))
        total += term
    return total


@cache
def _debye_polynomials() -> tuple[Polynomial, ...]:
    """Return Debye's u_0, u_1, … (recurrence of DLMF 10.41.9)."""
    t = Polynomial([0.0, 1.0])
    terms = [Polynomial([1.0])]
    for _ in range(_DEBYE_TERMS):
        last = terms[-1]
        terms.append(0.5 * t**2 * (1 - t**2) * last.deriv() + ((1 - 5 * t**2) * last).integ() / 8)
    return tuple(terms)


def _debye_sum(order: Array, size: Array) -> Array:
    """Return Σ_k u_k(t) / ν^k with t = ν/s, written as powers of 1/s so that ν may be 0."""
    t = order / size
    total = np.zeros_like(size)
    for k, polynomial in reversed(list(enumerate(_debye_polynomials()))):
        reduced = Polynomial(polynomial.coef[k:])  # u_k(t) = t^k · reduced(t), and t/ν = 1/s
        total = reduced(t) + total / size
    return total


def check_unit_vector(value: ArrayLike, what: str) -> Array:
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


def log_density(X: Any, centre: ArrayLike, kappa: float) -> Array:
    """Return the log-density of each row's direction with respect to the area of the sphere.

    κ c·z − log[I_ν(κ)/κ^ν] − (h/2) log 2π, with ν = h/2 − 1.
    """
    rows = np.asarray(unit_rows(check_matrix(X, "X"), "X"), dtype=np.float64)
    direction = check_unit_vector(centre, "centre")
    kappa = check_real(kappa, "kappa", low=0)
    if rows.shape[1] != direction.size:
        raise InputError(
            f"centre must be of the dimension of X, {rows.shape[1]}, got {direction.size}. "
            "Pass a centre in the same space."
        )
    half = direction.size / 2
    constant = log_bessel_over_power(half - 1, kappa) + half * np.log(2 * np.pi)
    return kappa * (rows @ direction) - constant


def sample_vmf(
    centre: ArrayLike,
    kappa: float,
    n_samples: int,
    *,
    random_state: int | np.random.Generator | None = 0,
) -> Array:
    """Draw rows from the von Mises-Fisher distribution.

    The cosine with the centre is drawn by Wood's rejection (1994), which accepts about two of
    three proposals or more in every dimension; the direction around the centre is uniform.

    Parameters
    ----------
    centre : array of shape (n_features,)
        Unit vector c.
    kappa : float
        Concentration κ ≥ 0.
    n_samples : int
        Number of rows, at least 1.
    random_state : int, Generator or None
        Seed of the draws. The directions around the centre are drawn first, so that one seed
        gives the same directions for every κ.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        Unit rows, float64.

    Raises
    ------
    InputError
        If κ < 0, `n_samples` < 1 or `centre` is no unit vector.
    """
    direction = check_unit_vector(centre, "centre")
    kappa = check_real(kappa, "kappa", low=0)
    n_samples = check_integer(n_samples, "n_samples", low=1)
    rng = check_random_state(random_state)
    around = rng.normal(size=(n_samples, direction.size))
    around -= np.outer(around @ direction, direction)
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    cosine = _draw_cosines(kappa, direction.size, n_samples, rng)[:, None]
    return cosine * direction + np.sqrt((1 - cosine) * (1 + cosine)) * around


def _draw_cosines(kappa: float, n_features: int, n_samples: int, rng: np.random.Generator) -> Array:
    """Draw z·c by rejection from a transformed beta distribution."""
    m = n_features - 1
    b = m / (2 * kappa + np.hypot(2 * kappa, m))
    x0 = (1 - b) / (1 + b)
    peak = kappa * x0 + m * np.log(4 * b / (1 + b) ** 2)  # 1 − x0² without cancellation
    cosines = np.empty(n_samples)
    open_rows = np.arange(n_samples)
    while open_rows.size:
        z = rng.beta(m / 2, m / 2, size=open_rows.size)
        proposal = (1 - (1 + b) * z) / (1 - (1 - b) * z)
        height = kappa * proposal + m * np.log1p(-x0 * proposal) - peak
        accepted = height >= np.log(1 - rng.random(open_rows.size))
        cosines[open_rows[accepted]] = proposal[accepted]
        open_rows = open_rows[~accepted]
    return cosines


def expected_length(kappa: ArrayLike, n_features: int) -> Array:
    """Return A_h(κ), the length of the mean of a von Mises-Fisher distribution."""
    return bessel_ratio(check_integer(n_features, "n_features", low=2) / 2 - 1, kappa)


def mean_resultant_length(X: Any) -> float:
    """Return the length of the mean of the unit rows, between 0 and 1."""
    rows = np.asarray(unit_rows(check_matrix(X, "X"), "X"))
    return float(np.linalg.norm(rows.mean(axis=0, dtype=np.float64)))


def estimate_concentration(X: Any) -> float:
    """Return the maximum-likelihood κ of a von Mises-Fisher distribution for these rows.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Rows; only their direction counts. With fewer rows than dimensions κ is overestimated,
        since even uniform rows have a mean of length about 1/√n.

    Raises
    ------
    InputError
        If all rows are equal: then no finite κ is likeliest.
    """
    return concentration_from_length(mean_resultant_length(X), check_matrix(X, "X").shape[1])


def concentration_from_length(length: float, n_features: int) -> float:
    """Return the κ with A_h(κ) = `length`: the inverse of `expected_length`.

    Newton's iteration from Banerjee's approximation (2005), kept inside the bracket of Hornik and
    Grün (2014), R(h − 2)/(1 − R²) ≤ κ ≤ R h/(1 − R²).
    """
    h = check_integer(n_features, "n_features", low=2)
    length = check_real(length, "mean resultant length", low=0, high=1, open_high=True)
    unit = length / ((1 - length) * (1 + length))
    kappa = unit * (h - length**2)
    for _ in range(50):
        if kappa == 0:
            break
        ratio = float(bessel_ratio(h / 2 - 1, kappa))
        slope = 1 - ratio**2 - (h - 1) / kappa * ratio
        if slope <= 0:  # rounding has eaten the slope: the start is exact to that degree already
            break
        previous, kappa = kappa, kappa - (ratio - length) / slope
        kappa = min(max(kappa, unit * (h - 2)), unit * h)
        if abs(kappa - previous) <= 1e-13 * kappa:
            break
    return kappa


def half_space_probability(kappa: float, n_features: int) -> float:
    """Return P(z·c ≥ 0) of a von Mises-Fisher distribution (DG lemma 15).

    It equals ½(1 + L_ν(κ)/I_ν(κ)) with the modified Struve function L, which is not available
    over the range that embeddings need; both half-spaces are integrated instead.

    Parameters
    ----------
    kappa : float
        Concentration κ ≥ 0.
    n_features : int
        Dimension h of the space, at least 2.

    Returns
    -------
    float
        Between ½ and 1.

    Raises
    ------
    InputError
        If κ < 0 or `n_features` < 2.
    """
    behind = log_sphere_integral(kappa, n_features, -1.0, 0.0)
    front = log_sphere_integral(kappa, n_features, 0.0, 1.0)
    return float(1 / (1 + np.exp(behind - front)))


def log_sphere_integral(
    kappa: float, n_features: int, low: float = -1.0, high: float = 1.0
) -> float:
    """Return log ∫ e^{κu} (1 − u²)^{(h−3)/2} du from `low` to `high`.

    That is, up to a constant of the dimension, the mass of e^{κ c·z} over the zone of the sphere
    with low ≤ c·z ≤ high. With u = sin a the integrand is log-concave; it is cut where it has
    fallen by e^-45 from its maximum on the interval, and integrated by Gauss and Legendre.
    """
    kappa = check_real(kappa, "kappa", low=0)
    m = check_integer(n_features, "n_features", low=2) - 2
    low = check_real(low, "low", low=-1, high=1)
    high = check_real(high, "high", low=low, high=1, open_low=True)
    left, right = float(np.arcsin(low)), float(np.arcsin(high))

    def exponent(a: Array | float) -> Array:
        return kappa * np.sin(a) + m * np.log(np.cos(a))  # cos stays above 0 in floating point

    top = 2 * kappa / (m + np.hypot(m, 2 * kappa)) if kappa else 0.0
    peak = min(max(float(np.arcsin(top)), left), right)
    summit = float(exponent(peak))

    def below(a: float) -> float:
        return float(exponent(a)) - summit + _DROP

    start = left if below(left) >= 0 else brentq(below, left, peak)
    stop = right if below(right) >= 0 else brentq(below, peak, right)
    half = (stop - start) / 2
    nodes = start + half * (1 + _NODES)
    return float(summit + np.log(half * (_WEIGHTS @ np.exp(exponent(nodes) - summit))))
