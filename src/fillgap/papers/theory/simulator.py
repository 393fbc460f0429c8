"""Training of both sides with the contrastive loss, over what a setting leaves free."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, check_choice, check_integer, check_real
from fillgap.papers.theory.hyperplanes import chord_angle
from fillgap.papers.theory.loss import LossGradient, batch_loss_gradient, centre_loss_gradient
from fillgap.papers.theory.settings import Setting, State, carry, carry_gradient, last_axis, unit
from fillgap.runtime import Progress, choose_device, silent

Array = NDArray[np.float64]
Objective = Literal["batch", "centre"]


@dataclass(frozen=True)
class Trace:
    """Measures of a simulation; each entry belongs to the step of the same position."""

    step: Array  # steps taken before the measurement
    loss: Array  # over all pairs, less 2 log N
    centre_loss: Array  # of the pair of centres against both clouds, less 2 log N
    centre_gap: Array  # angle between the centres (the axes of the cones); all angles in radians
    mean_gap: Array  # angle between the means of the points: the gap angle Δθ as measured
    phi: Array  # angle between the hyperplanes; 0 in the whole space
    tilt_x: Array  # angle of c_x with the perpendicular of C within its hyperplane
    tilt_y: Array
    mean_length: Array  # of the mean of X: near 0, the direction of the mean is noise
    mean_pair_angle: Array  # x_i to y_i
    max_pair_angle: Array


@dataclass(frozen=True)
class Frame:
    """All points at one step."""

    step: int
    X: Array
    Y: Array
    phi: float


@dataclass(frozen=True)
class Simulation:
    """What one run of the simulator leaves.

    Attributes
    ----------
    setting : Setting
        What was free and what was fixed.
    n_features, n_pairs, n_steps : int
        Dimension h, pairs N, steps taken.
    tau : float
        Temperature τ.
    objective : {"batch", "centre"}
        The loss that was minimised.
    seed : int
        Repeats the run to the last bit on the same machine and libraries.
    trace : Trace
        One array for each measure along the way: `step`, `loss`, `mean_gap` (Δθ) and others.
    X, Y : ndarray of shape (n_pairs, n_features)
        Final points in the whole space, unit rows.
    phi : float
        Final angle between the hyperplanes; 0 in the whole space.
    frames : tuple of Frame
        `step`, `X`, `Y` and `phi` at the steps asked for.
    """

    setting: Setting
    n_features: int
    n_pairs: int
    n_steps: int
    tau: float
    objective: Objective
    seed: int
    trace: Trace
    X: Array
    Y: Array
    phi: float
    frames: tuple[Frame, ...]


def simulate(
    setting: Setting,
    *,
    n_features: int = 64,
    n_pairs: int = 1024,
    tau: float = 0.3,
    objective: Objective = "batch",
    n_steps: int = 2000,
    learning_rate: float = 0.05,
    n_records: int = 50,
    frames: tuple[int, ...] = (),
    precision: Literal["float32", "float64"] = "float32",
    device: str | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Simulation:
    """Minimise the contrastive loss over what `setting` leaves free.

    Steps are Adam's, with one second moment per pair of rows (so that both sides of a pair move at
    one rate, and the course does not depend on the axes), followed by the constraint; the rate
    falls to 0 along a half cosine.

    Parameters
    ----------
    setting : Setting
        `Unconstrained`, `Cone`, `ConePoints`, `Subspace` or `SubspacePoints`.
    n_features : int
        Dimension h of the space, at least 3.
    n_pairs : int
        Pairs N, at least 2. Time and memory grow with N².
    tau : float
        Temperature τ > 0.
    objective : {"batch", "centre"}
        "batch" is the contrastive loss over all pairs. "centre" is the loss of the pair of centres
        against both clouds, which DG's theorems 2 and 3 are about; only for settings of clouds.
    n_steps : int
        Steps, at least 1.
    learning_rate : float
        Largest step of a row in radians, in (0, 1].
    n_records : int
        How often the trace is written, at least 1; the first and last state always are.
    frames : tuple of int
        Steps at which all points are kept.
    precision : {"float32", "float64"}
        Precision of the products with an N × N matrix; float32 takes half the time.
    device : str, optional
        "cpu", "cuda", "mps", ...: where these products are computed, with PyTorch; left out, in
        NumPy.
    random_state : int
        Seed.
    progress : callable, optional
        Called as progress(done, total, what).

    Returns
    -------
    Simulation

    Raises
    ------
    InputError
        If h < 3, N < 2, τ ≤ 0, "centre" is asked where points are free, or there is no such
        device.
    """
    n_features = check_integer(n_features, "n_features", low=3)
    n_pairs = check_integer(n_pairs, "n_pairs", low=2)
    tau = check_real(tau, "tau", low=0, open_low=True)
    n_steps = check_integer(n_steps, "n_steps", low=1)
    rate = check_real(learning_rate, "learning_rate", low=0, high=1, open_low=True)
    seed = check_integer(random_state, "random_state", low=0)
    check_choice(precision, "precision", ("float32", "float64"))
    check_choice(objective, "objective", ("batch", "centre"))
    if objective == "centre" and "reference" in setting.free:
        raise InputError(
            "objective must be 'batch' where every point is free, got 'centre'. "
            "Use Cone or Subspace for the loss of the centres."
        )
    for step in frames:
        check_integer(step, "a step of frames", low=0, high=n_steps)
    every = max(1, n_steps // check_integer(n_records, "n_records", low=1))
    dtype = np.float32 if precision == "float32" else np.float64

    where = None if device is None else choose_device(device)
    state = setting.start(n_pairs, n_features - ("phi" in setting.free), seed)
    moments: dict[str, tuple[Array, Array]] = {}
    records: list[dict[str, float]] = []
    kept: list[Frame] = []
    for step in range(n_steps + 1):
        if step % every == 0 or step == n_steps:
            records.append({"step": step, **_measures(state, tau, dtype, where)})
            (progress or silent)(step, n_steps, "training step")
        if step in frames:
            kept.append(Frame(step, *embed(state), state.phi))
        if step < n_steps:
            (X, Y), scale = state.points, float(np.cos(state.phi))
            if objective == "centre":
                slope = centre_loss_gradient(X, Y, state.centres, scale, tau)
            else:
                slope = batch_loss_gradient(X, Y, scale, tau, dtype, device=where)
            decayed = rate * (1 + np.cos(np.pi * step / n_steps)) / 2
            moved: dict[str, Any] = {}
            for part, gradient in free_gradients(setting, state, slope).items():
                direction, moments[part] = _adam(gradient, moments.get(part), step + 1)
                moved[part] = getattr(state, part) + decayed * direction
            if "phi" in moved:
                moved["phi"] = float(moved["phi"].item())
            state = setting.restrain(replace(state, **moved))
    names = [field.name for field in fields(Trace)]
    columns = {name: np.array([record[name] for record in records], float) for name in names}
    X, Y = embed(state)
    return Simulation(
        setting=setting,
        n_features=n_features,
        n_pairs=n_pairs,
        n_steps=n_steps,
        tau=tau,
        objective=objective,
        seed=seed,
        trace=Trace(**columns),
        X=X,
        Y=Y,
        phi=state.phi,
        frames=tuple(kept),
    )


def _measures(
    state: State, tau: float, dtype: type[np.floating[Any]], device: Any
) -> dict[str, float]:
    """Return the measures of one state; `dtype` and `device` are those of the N × N product."""
    (A, B), scale = state.points, float(np.cos(state.phi))
    X, Y = embed(state)
    means = X.mean(axis=0), Y.mean(axis=0)
    angles = chord_angle(X, Y)
    tilts = np.arccos(np.minimum(np.abs(state.centres[:, -1]), 1))
    return {
        "loss": batch_loss_gradient(A, B, scale, tau, dtype, device=device).loss,
        "centre_loss": centre_loss_gradient(A, B, state.centres, scale, tau).loss,
        "centre_gap": float(chord_angle(*_lift(state.centres, state.phi))),
        "mean_gap": float(chord_angle(unit(means[0]), unit(means[1]))),
        "phi": state.phi,
        "tilt_x": float(tilts[0]),
        "tilt_y": float(tilts[1]),
        "mean_length": float(np.linalg.norm(means[0])),
        "mean_pair_angle": float(angles.mean()),
        "max_pair_angle": float(angles.max()),
    }


def embed(state: State) -> tuple[Array, Array]:
    """Return X and Y in the whole space, from the coordinates of their hyperplanes if any."""
    X, Y = _lift(state.points, state.phi)
    return X, Y


def _lift(sides: Array, phi: float) -> Array:
    """Append the coordinate off A: 0 for X; Y's last coordinate points φ away from A."""
    if not phi:
        return sides
    lifted = np.concatenate([sides, np.zeros_like(sides[..., :1])], axis=-1)
    lifted[1, ..., -1] = np.sin(phi) * sides[1, ..., -1]
    lifted[1, ..., -2] = np.cos(phi) * sides[1, ..., -1]
    return lifted


def free_gradients(setting: Setting, state: State, slope: LossGradient) -> dict[str, Array]:
    """Return the derivative with respect to each free part of the state, tangent to the sphere."""
    e = last_axis(state.centres.shape[1])
    gradients: dict[str, Array] = {}
    sides = list(zip(state.reference, slope.points, state.centres, strict=True))
    if "reference" in setting.free:
        pulled = np.stack([carry(gradient, centre, e) for _, gradient, centre in sides])
        gradients["reference"] = _tangent(pulled, state.reference)
    if "centres" in setting.free:
        turned = np.stack([carry_gradient(cloud, g, e, centre) for cloud, g, centre in sides])
        gradients["centres"] = _tangent(turned + slope.centres, state.centres)
    if "phi" in setting.free:
        gradients["phi"] = np.array([[-np.sin(state.phi) * slope.scale]])
    return gradients


def _tangent(gradient: Array, rows: Array) -> Array:
    """Return the part of each row of the gradient that is tangent to the sphere there."""
    return gradient - (gradient * rows).sum(axis=-1, keepdims=True) * rows


def _adam(
    gradient: Array, moments: tuple[Array, Array] | None, step: int
) -> tuple[Array, tuple[Array, Array]]:
    """Return Adam's step for unit rate, and its moments; the second is shared by both sides."""
    square = (gradient**2).sum(axis=-1, keepdims=True).mean(axis=0, keepdims=True)
    mean, spread = moments or (np.zeros_like(gradient), np.zeros_like(square))
    mean = 0.9 * mean + 0.1 * gradient
    spread = 0.99 * spread + 0.01 * square
    root = np.sqrt(spread / (1 - 0.99**step))
    return -mean / (1 - 0.9**step) / np.maximum(root, 1e-300), (mean, spread)
