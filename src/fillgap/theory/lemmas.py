"""Two lemmas of DG (arXiv:2510.03268) as functions, and the integral that the second needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from fillgap._checks import InputError, check_integer, check_matrix, check_real

__all__ = ["half_space_probability", "log_sphere_integral", "reach"]

_DROP = 45.0  # the integrand is cut where it has fallen by e^-45
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def reach(X: NDArray[np.floating], basis: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ‖P_B x‖ for each row: no unit vector of B has a larger |x·y| (DG lemma 12).

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Unit rows x.
    basis : array of shape (n_features, dimension)
        Orthonormal columns that span B.

    Returns
    -------
    ndarray of shape (n_samples,)
        The bound, reached by y = P_B x / ‖P_B x‖.

    Raises
    ------
    InputError
        If the columns of `basis` are not orthonormal, or not of the dimension of X.
    """
    rows = check_matrix(X, "X")
    columns = np.asarray(basis, dtype=np.float64)
    if columns.ndim != 2 or columns.shape[0] != rows.shape[1] or columns.shape[1] == 0:
        raise InputError(
            f"basis must be of shape ({rows.shape[1]}, dimension) with dimension at least 1, "
            f"got {columns.shape}. Pass one column per dimension of the subspace."
        )
    if not np.allclose(columns.T @ columns, np.eye(columns.shape[1]), atol=1e-8):
        raise InputError(
            "basis must be of orthonormal columns, got columns that are not. "
            "Pass the Q of numpy.linalg.qr(basis)."
        )
    return np.linalg.norm(rows @ columns, axis=1)


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

    Parameters
    ----------
    kappa : float
        Concentration κ ≥ 0.
    n_features : int
        Dimension h of the space, at least 2.
    low, high : float
        Bounds of the zone, −1 ≤ low < high ≤ 1.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    kappa = check_real(kappa, "kappa", low=0)
    m = check_integer(n_features, "n_features", low=2) - 2
    low = check_real(low, "low", low=-1, high=1)
    high = check_real(high, "high", low=low, high=1, open_low=True)
    left, right = float(np.arcsin(low)), float(np.arcsin(high))

    def exponent(a: NDArray[np.float64] | float) -> NDArray[np.float64]:
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
