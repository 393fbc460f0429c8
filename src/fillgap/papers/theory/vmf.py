"""The von Mises-Fisher distribution on the unit sphere: density, sampling, concentration.

Its density is proportional to e^{κ c·z}: c is the centre, κ ≥ 0 the concentration, κ = 0 the
uniform distribution. Everything works from 2 to thousands of dimensions, since the normalising
constant stays in log space.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import (
    InputError,
    check_integer,
    check_matrix,
    check_random_state,
    check_real,
    unit_rows,
)
from fillgap.papers.theory.special import bessel_ratio, check_unit_vector, log_bessel_over_power


def log_density(X: Any, centre: ArrayLike, kappa: float) -> NDArray[np.float64]:
    """Return the log-density of each row with respect to the area of the sphere.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Rows; only their direction counts.
    centre : array of shape (n_features,)
        Unit vector c.
    kappa : float
        Concentration κ ≥ 0.

    Returns
    -------
    ndarray of shape (n_samples,)
        κ c·z − log[I_ν(κ)/κ^ν] − (h/2) log 2π, with ν = h/2 − 1.

    Raises
    ------
    InputError
        If κ < 0, `centre` is no unit vector, or the dimensions differ.
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
) -> NDArray[np.float64]:
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


def _draw_cosines(
    kappa: float, n_features: int, n_samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
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


def expected_length(kappa: ArrayLike, n_features: int) -> NDArray[np.float64]:
    """Return A_h(κ), the length of the mean of a von Mises-Fisher distribution.

    Parameters
    ----------
    kappa : float or array
        Concentration κ ≥ 0.
    n_features : int
        Dimension h of the space, at least 2.

    Raises
    ------
    InputError
        If κ < 0 or `n_features` < 2.
    """
    return bessel_ratio(check_integer(n_features, "n_features", low=2) / 2 - 1, kappa)


def mean_resultant_length(X: Any) -> float:
    """Return the length of the mean of the unit rows, between 0 and 1.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Rows; only their direction counts.

    Raises
    ------
    InputError
        If a row is zero or not finite.
    """
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

    Parameters
    ----------
    length : float
        Mean resultant length R, 0 ≤ R < 1.
    n_features : int
        Dimension h of the space, at least 2.

    Raises
    ------
    InputError
        If `length` is outside [0, 1) or `n_features` < 2.
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
