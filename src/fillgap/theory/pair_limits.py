"""The loss of pairs away from their centres: DG theorem S5, and theorem 4 as it is printed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.theory.inputs import check_range, check_right_angle
from fillgap.theory.limits import j_tilde, space_order

__all__ = ["pair_limit", "theorem4_printed"]

Array = NDArray[np.float64]


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
    phi : float or array
        Angle φ between the hyperplanes in radians, in (0, π/2).
    n_features : int
        Dimension h of the space, at least 3.
    tau : float
        Temperature τ > 0.
    kappa : float
        Concentration κ_y ≥ 0 of the other side's cloud.

    Raises
    ------
    InputError
        If a value is out of range.
    """
    pair, reach = _pair_geometry(theta, phi)
    w2 = np.cos(theta) * np.cos(phi)
    return j_tilde(pair, w2, reach, kappa=kappa, tau=tau, order=space_order(n_features, 1))


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
    pair, reach = _pair_geometry(theta, phi)
    w1 = np.cos(phi) if misprint else pair
    # cos θ may exceed ‖P_B x_i‖, which no anchor can do: M is then larger than any real one.
    w2 = np.cos(theta)
    return j_tilde(w1, w2, reach, kappa=kappa, tau=tau, order=space_order(n_features, 1))


def _pair_geometry(theta: ArrayLike, phi: ArrayLike) -> tuple[Array, Array]:
    """Return x_i·y_i and ‖P_B x_i‖ of a pair at θ from centres perpendicular to C."""
    away = np.cos(check_range(theta, "theta", 0, np.pi / 2)) ** 2
    phi = check_right_angle(phi, "phi")
    return 1 - away * (1 - np.cos(phi)), np.sqrt(1 - away * np.sin(phi) ** 2)
