"""What the simulator writes down along the way."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.theory.clouds import State, unit
from fillgap.theory.hyperplanes import chord_angle
from fillgap.theory.loss import batch_loss_gradient, centre_loss_gradient

__all__ = ["Trace", "embed", "measure"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trace:
    """Measures of a simulation; each entry belongs to the step of the same position.

    Attributes
    ----------
    step : ndarray
        Steps taken before the measurement.
    loss : ndarray
        Contrastive loss over all pairs, less 2 log N.
    centre_loss : ndarray
        Loss of the pair of centres against both clouds, less 2 log N.
    centre_gap : ndarray
        Angle in radians between the centres (the axes of the cones).
    mean_gap : ndarray
        Angle in radians between the mean directions of the points: the gap angle Δθ as measured.
    phi : ndarray
        Angle between the hyperplanes in radians; 0 in the whole space.
    tilt_x, tilt_y : ndarray
        Angle in radians of each centre with the perpendicular of C within its hyperplane.
    mean_length : ndarray
        Length of the mean of X: near 0, the direction of the mean is noise.
    mean_pair_angle, max_pair_angle : ndarray
        Mean and largest angle x_i to y_i in radians.
    """

    step: Array
    loss: Array
    centre_loss: Array
    centre_gap: Array
    mean_gap: Array
    phi: Array
    tilt_x: Array
    tilt_y: Array
    mean_length: Array
    mean_pair_angle: Array
    max_pair_angle: Array

    @classmethod
    def of(cls, records: list[tuple[int, dict[str, float]]]) -> Trace:
        """Return the records as one array per measure."""
        names = [field.name for field in fields(cls)][1:]
        columns = {name: np.array([record[name] for _, record in records]) for name in names}
        return cls(step=np.array([step for step, _ in records], dtype=np.float64), **columns)


def measure(
    state: State, tau: float, dtype: type[np.floating[Any]] = np.float64, device: Any = None
) -> dict[str, float]:
    """Return the measures of one state; `dtype` and `device` are those of the N × N product."""
    clouds, scale = tuple(state.points), float(np.cos(state.phi))
    X, Y = embed(state)
    centres = _lift(state.centres, state.phi)
    means = X.mean(axis=0), Y.mean(axis=0)
    angles = chord_angle(X, Y)
    tilts = np.arccos(np.minimum(np.abs(state.centres[:, -1]), 1))
    return {
        "loss": batch_loss_gradient(clouds[0], clouds[1], scale, tau, dtype, device=device).loss,
        "centre_loss": centre_loss_gradient(clouds[0], clouds[1], state.centres, scale, tau).loss,
        "centre_gap": float(chord_angle(*centres)),
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
    X, Y = state.points
    return tuple(_lift(np.stack([X, Y]), state.phi)) if state.phi else (X, Y)


def _lift(sides: Array, phi: float) -> Array:
    """Append the coordinate off A: 0 for X; Y's last coordinate points φ away from A."""
    if not phi:
        return sides
    lifted = np.concatenate([sides, np.zeros_like(sides[..., :1])], axis=-1)
    lifted[1, ..., -1] = np.sin(phi) * sides[1, ..., -1]
    lifted[1, ..., -2] = np.cos(phi) * sides[1, ..., -1]
    return lifted
