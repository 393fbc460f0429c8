"""Limits of the contrastive loss for large batches: the theorems of DG (arXiv:2510.03268).

L is the sum of both directions over the full batch at temperature τ, h the dimension. Everything
rests on one expectation: for z von Mises-Fisher with centre c and concentration κ in a space of
order ν = dimension/2 − 1, and an anchor x whose projection on that space has length t,

    log E e^{x·z/τ} = log[I_ν(M)/M^ν] − log[I_ν(κ)/κ^ν],  M = |κc + Px/τ|.

κ = 0 is the uniform distribution and is allowed everywhere. In a hyperplane the dimension is h − 1
and the order is ν̃ = (h − 1)/2 − 1. All functions broadcast over arrays of angles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import InputError, check_integer, check_real
from fillgap.papers.theory.hyperplanes import check_right_angle
from fillgap.papers.theory.vmf import log_bessel_over_power

Array = NDArray[np.float64]


def tilted_concentration(w2: ArrayLike, t: ArrayLike, *, kappa: float, tau: float) -> Array:
    """Return M = √(κ² + 2κ w2/τ + t²/τ²), the concentration after weighting by e^{x·z/τ}.

    w2 is the cosine x·c of anchor and centre, t the length of the anchor's projection on the space
    of the cloud.
    """
    kappa = check_real(kappa, "kappa", low=0)
    tau = check_real(tau, "tau", low=0, open_low=True)
    w2 = _check_range(w2, "cosine of anchor and centre", -1 - 1e-9, 1 + 1e-9)
    t = _check_range(t, "length of the projected anchor", 0, 1 + 1e-9)
    square = kappa**2 + 2 * kappa * w2 / tau + (t / tau) ** 2
    return np.sqrt(np.maximum(square, 0))  # rounding may leave −1e-17 where the two parts cancel


def _check_range(value: ArrayLike, what: str, low: float, high: float) -> Array:
    """Return `value` as float64 array with every entry in [low, high]."""
    entries = np.asarray(value, dtype=np.float64)
    inside = (entries >= low) & (entries <= high) & np.isfinite(entries)
    if not np.all(inside):
        worst = float(entries[~inside].flat[0])
        raise InputError(
            f"{what} must be between {low:g} and {high:g}, got {worst:g}. "
            "Choose values in that range."
        )
    return entries


def j_tilde(
    w1: ArrayLike, w2: ArrayLike, t: ArrayLike, *, kappa: float, tau: float, order: float
) -> Array:
    """Return J̃(w1, w2, t): one direction of the loss of one anchor, less log N, in the limit.

    J̃ = −w1/τ + log[I_ν(M)/M^ν] − log[I_ν(κ)/κ^ν], with w1 the cosine of the anchor with its
    partner, w2 and t as in `tilted_concentration`, and the order ν of the space of the cloud.
    """
    w1 = _check_range(w1, "cosine of anchor and partner", -1 - 1e-9, 1 + 1e-9)
    concentration = tilted_concentration(w2, t, kappa=kappa, tau=tau)
    spread = log_bessel_over_power(order, concentration) - log_bessel_over_power(order, kappa)
    return -w1 / tau + spread


def j(w: ArrayLike, *, kappa: float, tau: float, order: float) -> Array:
    """Return J(w) = J̃(w, w, 1): the loss of a centre against the cloud of the other side.

    J is concave in the cosine w of the centres, since log[I_ν(M)/M^ν] is concave in M²; so its
    least value on [−1, 1] is at an end, and it is J(1), since the derivative of log[I_ν(M)/M^ν]
    stays below 1.
    """
    return j_tilde(w, w, 1.0, kappa=kappa, tau=tau, order=order)


def unconstrained_limit(*, n_features: int, tau: float) -> float:
    """Return the least L − 2 log N without any constraint (DG theorem 1).

    −2/τ + 2 log(Γ(ν+1) (2τ)^ν I_ν(1/τ)), reached by x_i = y_i uniform on the sphere: J(1) of both
    sides at κ = 0.

    Parameters
    ----------
    n_features : int
        Dimension h of the space, at least 3.
    tau : float
        Temperature τ > 0.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    return float(2 * j(1.0, kappa=0, tau=tau, order=_order(n_features, 0)))


def cone_limit(
    gap: ArrayLike, *, n_features: int, tau: float, kappa_x: float, kappa_y: float
) -> Array:
    """Return the loss L − 2 log N of the two centres of vMF clouds at gap angle Δθ (DG theorem 2).

    J(cos Δθ; κ_y) + J(cos Δθ; κ_x), least at Δθ = 0.

    Parameters
    ----------
    gap : float or array
        Gap angle Δθ in radians, in [0, π].
    n_features, tau
        As in `unconstrained_limit`.
    kappa_x, kappa_y : float
        Concentrations ≥ 0 of the two clouds.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    w = np.cos(_check_range(gap, "gap angle", 0, np.pi))
    order = _order(n_features, 0)
    return j(w, kappa=kappa_y, tau=tau, order=order) + j(w, kappa=kappa_x, tau=tau, order=order)


def subspace_limit(
    phi: ArrayLike,
    tilt: ArrayLike = 0.0,
    *,
    n_features: int,
    tau: float,
    kappa_x: float,
    kappa_y: float,
) -> Array:
    """Return the loss L − 2 log N of two centres in hyperplanes A, B at angle φ (DG theorem 3).

    J̃(cos Δθ, cos Δθ, ‖P_B c_x‖; κ_y, ν̃) and its mirror image, for centres that lean by the same
    angle from the perpendicular of C = A ∩ B towards one direction of C:
    cos Δθ = sin² tilt + cos² tilt cos φ and ‖P_B c_x‖² = 1 − cos² tilt sin² φ.

    Among centres perpendicular to C (tilt 0), or with Δθ at least φ_min, the least value is at
    tilt 0 and the smallest φ. Without that condition it is not: the value is least in C (tilt π/2),
    where Δθ = 0. On the way it falls, but may rise at first where clouds are wide and h small.

    Parameters
    ----------
    phi : float or array
        Angle φ between the hyperplanes in radians, in (0, π/2).
    tilt : float or array
        Angle in radians, in [0, π/2].
    n_features, tau, kappa_x, kappa_y
        As in `cone_limit`; the concentrations are within the hyperplanes.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    phi = check_right_angle(phi, "phi")
    w, t = _leaning(_check_range(tilt, "tilt", 0, np.pi / 2), phi)
    order = _order(n_features, 1)
    to_y = j_tilde(w, w, t, kappa=kappa_y, tau=tau, order=order)
    return to_y + j_tilde(w, w, t, kappa=kappa_x, tau=tau, order=order)


def subspace_minimum(
    phi_min: float, *, n_features: int, tau: float, kappa_x: float, kappa_y: float
) -> float:
    """Return the bound of DG theorem 3: centres perpendicular to C, hyperplanes at φ_min.

    It bounds the loss only among centres perpendicular to C or with Δθ ≥ φ_min.

    Parameters
    ----------
    phi_min : float
        Least angle between the hyperplanes in radians, in (0, π/2).
    n_features, tau, kappa_x, kappa_y
        As in `subspace_limit`.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    return float(
        subspace_limit(phi_min, n_features=n_features, tau=tau, kappa_x=kappa_x, kappa_y=kappa_y)
    )


def pair_limit(
    theta: ArrayLike, phi: ArrayLike, *, n_features: int, tau: float, kappa: float
) -> Array:
    """Return L_{X→Y}(x_i; Y) − log N of a pair away from the centre (DG theorem S5).

    J̃(x_i·y_i, x_i·c_y, ‖P_B x_i‖; κ_y, ν̃), with the centres perpendicular to C and the pair at
    the angle θ from them towards one direction of C, so that P_C x_i = P_C y_i:
    x_i·y_i = sin² θ + cos² θ cos φ, x_i·c_y = cos θ cos φ, ‖P_B x_i‖² = 1 − cos² θ sin² φ.

    Parameters
    ----------
    theta : float or array
        Angle θ of the pair with its centres in radians, in [0, π/2].
    phi, n_features, tau
        As in `subspace_limit`.
    kappa : float
        Concentration κ_y ≥ 0 of the other side's cloud.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    theta = _check_range(theta, "theta", 0, np.pi / 2)
    phi = check_right_angle(phi, "phi")
    pair, reach = _leaning(theta, phi)
    w2 = np.cos(theta) * np.cos(phi)
    return j_tilde(pair, w2, reach, kappa=kappa, tau=tau, order=_order(n_features, 1))


def theorem4_printed(
    theta: ArrayLike,
    phi: ArrayLike,
    *,
    n_features: int,
    tau: float,
    kappa: float,
    misprint: bool = False,
) -> Array:
    """Return what DG's theorem 4 says of the same pair; `pair_limit` is the right value.

    The proof puts cos θ where x_i·c_y = cos θ cos φ belongs. The statement has, on top of it,
    cos Δθ in the place of x_i·y_i (`misprint=True`). Kept to show by how much both miss.

    Parameters
    ----------
    theta, phi, n_features, tau, kappa
        As in `pair_limit`.
    misprint : bool
        Take the first argument as printed in the statement.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    theta = _check_range(theta, "theta", 0, np.pi / 2)
    phi = check_right_angle(phi, "phi")
    pair, reach = _leaning(theta, phi)
    w1 = np.cos(phi) if misprint else pair
    # cos θ may exceed ‖P_B x_i‖, which no anchor can do: M is then larger than any real one.
    w2 = np.cos(theta)
    return j_tilde(w1, w2, reach, kappa=kappa, tau=tau, order=_order(n_features, 1))


def _leaning(tilt: Array, phi: Array) -> tuple[Array, Array]:
    """Return x·y and ‖P_B x‖ of x and y that lean by `tilt` from the perpendicular of C."""
    away = np.cos(tilt) ** 2
    return 1 - away * (1 - np.cos(phi)), np.sqrt(1 - away * np.sin(phi) ** 2)


def _order(n_features: int, codimension: int) -> float:
    """Return the Bessel order of a space of `n_features` − `codimension` dimensions."""
    return (check_integer(n_features, "n_features", low=3) - codimension) / 2 - 1
