"""Two clouds of points on the sphere that are carried to their centres by a rotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from fillgap.theory.vmf import sample_vmf

__all__ = [
    "State",
    "at_reference",
    "carry",
    "carry_gradient",
    "centres_apart",
    "impose_gap",
    "last_axis",
    "paired_clouds",
    "tilted",
    "unit",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """Where a simulation stands.

    Attributes
    ----------
    reference : ndarray of shape (2, n_pairs, n_coordinates)
        Both clouds around the reference direction, the last axis.
    centres : ndarray of shape (2, n_coordinates)
        Where the reference direction is carried to.
    phi : float
        Angle between the hyperplanes; 0 in the whole space.
    """

    reference: Array
    centres: Array
    phi: float

    @property
    def points(self) -> Array:
        """Both clouds at their centres, shape (2, n_pairs, n_coordinates)."""
        e = last_axis(self.centres.shape[1])
        clouds = zip(self.reference, self.centres, strict=True)
        return np.stack([carry(cloud, e, centre) for cloud, centre in clouds])


def carry(points: Array, start: Array, end: Array) -> Array:
    """Rotate the rows by the rotation that takes the unit vector `start` to `end`."""
    between = start + end
    share = points @ between / (1 + start @ end)
    return points - np.outer(share, between) + 2 * np.outer(points @ start, end)


def carry_gradient(points: Array, gradient: Array, start: Array, end: Array) -> Array:
    """Return the derivative of ⟨gradient, carry(points, start, end)⟩ with respect to `end`."""
    between, angle = start + end, 1 + start @ end
    ahead, back = points @ between, gradient @ between
    turning = (points.T @ back + gradient.T @ ahead) / angle
    return (ahead @ back) / angle**2 * start - turning + 2 * gradient.T @ (points @ start)


def unit(rows: Array) -> Array:
    """Return the rows scaled to length one."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def last_axis(n_coordinates: int) -> Array:
    """Return the reference direction: in a hyperplane, the perpendicular of C."""
    axis = np.zeros(n_coordinates)
    axis[-1] = 1
    return axis


def at_reference(n_coordinates: int) -> Array:
    """Return centres that carry nothing anywhere."""
    return np.tile(last_axis(n_coordinates), (2, 1))


def tilted(tilt: float, n_coordinates: int, rng: np.random.Generator) -> Array:
    """Return a unit vector at angle `tilt` from the last axis, in a random direction."""
    aside = np.append(unit(rng.normal(size=n_coordinates - 1)), 0.0)
    return np.cos(tilt) * last_axis(n_coordinates) + np.sin(tilt) * aside


def centres_apart(gap: float, n_coordinates: int, rng: np.random.Generator) -> Array:
    """Return two unit vectors at angle `gap`, on both sides of the last axis."""
    centre = tilted(gap / 2, n_coordinates, rng)
    mirrored = -centre
    mirrored[-1] = centre[-1]
    return np.stack([centre, mirrored])


def paired_clouds(
    kappas: tuple[float, float], n_pairs: int, n_coordinates: int, rng: np.random.Generator
) -> Array:
    """Draw both clouds around the last axis from one seed, so that equal κ give equal rows."""
    e, seed = last_axis(n_coordinates), int(rng.integers(2**32))
    return np.stack([sample_vmf(e, kappa, n_pairs, random_state=seed) for kappa in kappas])


def impose_gap(centres: Array, phi: float, phi_min: float) -> Array:
    """Shrink the parts of both centres in C by the least factor that makes Δθ ≥ φ_min."""
    in_shared, poles = centres[:, :-1], np.sign(centres[:, -1])
    squares = (in_shared**2).sum(axis=1)

    def shrunk(factor: float) -> Array:
        heights = poles * np.sqrt(np.maximum(1 - factor**2 * squares, 0))
        return np.column_stack([factor * in_shared, heights])

    def excess(factor: float) -> float:
        c_x, c_y = shrunk(factor)
        return float(c_x[:-1] @ c_y[:-1] + c_x[-1] * c_y[-1] * np.cos(phi) - np.cos(phi_min))

    if excess(1.0) <= 0:
        return centres
    return shrunk(brentq(excess, 0.0, 1.0) if excess(0.0) < 0 else 0.0)
