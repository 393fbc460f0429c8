"""The loss of one anchor by sampling or by quadrature, to set against the closed forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import InputError, check_choice, check_integer, check_random_state, check_real
from fillgap.papers.theory.vmf import check_unit_vector, log_sphere_integral, sample_vmf

Array = NDArray[np.float64]

_PLAIN_LIMIT = 3.0  # 1/(hτ²) up to which plain sampling reaches the limit
_BLOCK = 1 << 22  # entries drawn at a time


@dataclass(frozen=True)
class AnchorLoss:
    """An estimate of L_{X→Y}(x; Y) − log N for an endless batch."""

    value: float
    standard_error: float  # 0 for quadrature
    method: str  # "plain", "tilted" or "quadrature"
    n_samples: int  # points drawn in all; 0 for quadrature


def anchor_loss(
    anchor: ArrayLike,
    partner: ArrayLike,
    centre: ArrayLike,
    *,
    kappa: float,
    tau: float,
    basis: NDArray[np.floating] | None = None,
    method: Literal["auto", "plain", "tilted", "quadrature"] = "auto",
    n_samples: int = 100_000,
    random_state: int | np.random.Generator | None = 0,
) -> AnchorLoss:
    """Estimate −x·y/τ + log E e^{x·z/τ} for z from a von Mises-Fisher cloud.

    "plain" averages e^{x·z/τ} over the cloud. Where 1/(hτ²) exceeds about 3, no affordable sample
    holds the few points that carry that mean; "tilted" then multiplies ratios of neighbouring
    expectations, E e^{(b' − b) x·z/τ} under the cloud weighted by e^{b x·z/τ}, for b from 0 to 1.
    Such a weighted cloud is von Mises-Fisher again, with parameter κc + b·Px/τ, and its sampler
    needs no Bessel function, so both kinds of sampling check the closed form independently.
    "quadrature" integrates over the cosine with that parameter. "auto" takes plain sampling where
    it works and tilted sampling elsewhere.

    Parameters
    ----------
    anchor, partner : array of shape (n_features,)
        Unit vectors x and y.
    centre : array of shape (n_features,)
        Unit vector, the centre of the cloud.
    kappa : float
        Concentration κ ≥ 0 of the cloud.
    tau : float
        Temperature τ > 0.
    basis : array of shape (n_features, dimension), optional
        Orthonormal basis of the subspace that holds the cloud; the whole space without it.
    method : {"auto", "plain", "tilted", "quadrature"}
        See above.
    n_samples : int
        Points to draw, at least 100.
    random_state : int, Generator or None
        Seed of the draws.

    Returns
    -------
    AnchorLoss
        `value` and its `standard_error`, the `method` and the `n_samples` in all.

    Raises
    ------
    InputError
        If a vector is no unit vector, the centre lies outside the subspace, κ < 0 or τ ≤ 0.
    """
    x, y = check_unit_vector(anchor, "anchor"), check_unit_vector(partner, "partner")
    c = check_unit_vector(centre, "centre")
    kappa = check_real(kappa, "kappa", low=0)
    tau = check_real(tau, "tau", low=0, open_low=True)
    n_samples = check_integer(n_samples, "n_samples", low=100)
    check_choice(method, "method", ("auto", "plain", "tilted", "quadrature"))
    pull, inside = x, c
    if basis is not None:
        pull, inside = basis.T @ x, basis.T @ c
        if abs(float(np.linalg.norm(inside)) - 1) > 1e-6:
            raise InputError(
                "centre must be in the subspace of its cloud, got a centre outside the basis. "
                "Project it with basis @ (basis.T @ centre) and scale it to length 1."
            )
        inside = inside / np.linalg.norm(inside)
    if method == "auto":
        method = "plain" if 1 / (inside.size * tau**2) <= _PLAIN_LIMIT else "tilted"
    own = -float(x @ y) / tau
    if method == "quadrature":
        tilted = float(np.linalg.norm(kappa * inside + pull / tau))
        rise = log_sphere_integral(tilted, inside.size) - log_sphere_integral(kappa, inside.size)
        return AnchorLoss(own + rise, 0.0, method, 0)
    stages = 1
    if method == "tilted":  # ratios that keep the exponent's standard deviation near one half
        deviation = float(np.linalg.norm(pull)) / (tau * np.sqrt(pull.size))
        stages = max(1, int(np.ceil(2 * deviation)))
    rng = check_random_state(random_state)
    value, variance, drawn = 0.0, 0.0, -(-n_samples // stages)
    for b in np.arange(stages) / stages:
        parameter = kappa * inside + b * pull / tau
        rise, spread = _log_mean(parameter, pull / (tau * stages), drawn, rng)
        value, variance = value + rise, variance + spread
    return AnchorLoss(own + value, float(np.sqrt(variance)), method, drawn * stages)


def _log_mean(
    parameter: Array, exponent: Array, n_samples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return log E e^{exponent·z} for z ~ vMF(parameter), and the variance of the estimate."""
    kappa = float(np.linalg.norm(parameter))
    direction = parameter / kappa if kappa else np.eye(parameter.size)[0]
    scores = np.empty(n_samples)
    step = max(1, _BLOCK // parameter.size)
    for first in range(0, n_samples, step):
        count = min(step, n_samples - first)
        cloud = sample_vmf(direction, kappa, count, random_state=rng)
        scores[first : first + count] = cloud @ exponent
    top = scores.max()
    weights = np.exp(scores - top)
    mean = float(weights.mean())
    return float(top + np.log(mean)), float(weights.var() / (mean**2 * n_samples))
