"""What a simulation leaves free and what it fixes: one setting for each theorem.

A state is two clouds around the last axis, each carried to its centre by a rotation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from fillgap.errors import check_choice, check_real
from fillgap.papers.theory.hyperplanes import check_right_angle
from fillgap.papers.theory.vmf import sample_vmf

Array = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """Where a simulation stands."""

    reference: Array  # both clouds around the last axis, shape (2, n_pairs, n_coordinates)
    centres: Array  # where that axis is carried to, shape (2, n_coordinates)
    phi: float  # angle between the hyperplanes; 0 in the whole space

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


Condition = Literal["gap", "perpendicular", "none"]


@dataclass(frozen=True)
class Setting:
    """Base of the settings."""

    @property
    def free(self) -> tuple[str, ...]:
        """The fields of `State` that training moves."""
        raise NotImplementedError

    def start(self, n_pairs: int, n_coordinates: int, seed: int) -> State:
        """Return the state that the simulation starts from."""
        raise NotImplementedError

    def restrain(self, state: State) -> State:
        """Return the nearest state that keeps to the constraints; unit rows, here."""
        return replace(state, reference=unit(state.reference), centres=unit(state.centres))


@dataclass(frozen=True)
class Unconstrained(Setting):
    """Every point is free (DG theorem 1).

    Parameters
    ----------
    start_kappa : float
        Concentration ≥ 0 of the two unrelated clouds that training starts from.
    start_gap : float
        Angle between their centres in radians, in [0, 3].
    """

    free: ClassVar[tuple[str, ...]] = ("reference",)
    start_kappa: float = 10.0
    start_gap: float = 1.5

    def __post_init__(self) -> None:
        check_real(self.start_kappa, "start_kappa", low=0)
        check_real(self.start_gap, "start_gap", low=0, high=3)

    def start(self, n_pairs: int, n_coordinates: int, seed: int) -> State:
        """Return two unrelated clouds, `start_gap` apart."""
        rng = np.random.default_rng(seed)
        centres = centres_apart(self.start_gap, n_coordinates, rng)
        clouds = [sample_vmf(c, self.start_kappa, n_pairs, random_state=rng) for c in centres]
        return State(np.stack(clouds), at_reference(n_coordinates), 0.0)


@dataclass(frozen=True)
class Cone(Setting):
    """Two von Mises-Fisher clouds of fixed concentration whose centres are free (DG theorem 2).

    Parameters
    ----------
    kappa_x, kappa_y : float
        Concentrations ≥ 0.
    start_gap : float
        Angle between the centres at the start in radians, in [0, 3].
    """

    free: ClassVar[tuple[str, ...]] = ("centres",)
    kappa_x: float = 10.0
    kappa_y: float = 10.0
    start_gap: float = 1.5

    def __post_init__(self) -> None:
        check_real(self.kappa_x, "kappa_x", low=0)
        check_real(self.kappa_y, "kappa_y", low=0)
        check_real(self.start_gap, "start_gap", low=0, high=3)

    def start(self, n_pairs: int, n_coordinates: int, seed: int) -> State:
        """Return the clouds at centres `start_gap` apart."""
        rng = np.random.default_rng(seed)
        centres = centres_apart(self.start_gap, n_coordinates, rng)
        clouds = paired_clouds((self.kappa_x, self.kappa_y), n_pairs, n_coordinates, rng)
        return State(clouds, centres, 0.0)


@dataclass(frozen=True)
class ConePoints(Setting):
    """Every point is free within a cone around its side's axis; both axes are free.

    Parameters
    ----------
    half_angle : float
        Largest angle of a point with its axis in radians, in (0, π/2).
    start_gap : float
        Angle between the axes at the start in radians, in [0, 3].
    """

    free: ClassVar[tuple[str, ...]] = ("reference", "centres")
    half_angle: float = 0.6
    start_gap: float = 1.5

    def __post_init__(self) -> None:
        check_right_angle(self.half_angle, "half_angle")
        check_real(self.start_gap, "start_gap", low=0, high=3)

    def start(self, n_pairs: int, n_coordinates: int, seed: int) -> State:
        """Return two unrelated clouds in cones whose axes are `start_gap` apart."""
        rng = np.random.default_rng(seed)
        centres = centres_apart(self.start_gap, n_coordinates, rng)
        kappa = n_coordinates / self.half_angle**2
        e = last_axis(n_coordinates)
        clouds = [sample_vmf(e, kappa, n_pairs, random_state=rng) for _ in range(2)]
        return self.restrain(State(np.stack(clouds), centres, 0.0))

    def restrain(self, state: State) -> State:
        """Bring points that left the cone back to its surface, along their great circle."""
        state = super().restrain(state)
        around = state.reference.copy()
        along = around[..., -1].copy()
        around[..., -1] = 0
        length = np.maximum(np.linalg.norm(around, axis=-1), 1e-300)
        on_surface = around * (np.sin(self.half_angle) / length)[..., None]
        on_surface[..., -1] = np.cos(self.half_angle)
        outside = (along < np.cos(self.half_angle))[..., None]
        return replace(state, reference=np.where(outside, on_surface, state.reference))


@dataclass(frozen=True)
class Subspace(Setting):
    """Clouds of fixed concentration in two hyperplanes at angle φ ≥ φ_min (DG theorem 3).

    Parameters
    ----------
    phi_min : float
        Least angle between the hyperplanes in radians, in (0, π/2).
    kappa_x, kappa_y : float
        Concentrations ≥ 0 within the hyperplanes.
    condition : {"gap", "perpendicular", "none"}
        "gap" imposes Δθ ≥ φ_min: where a step breaks it, both centres are moved back towards the
        perpendicular of C = A ∩ B by the least share that restores it. "perpendicular" holds the
        centres perpendicular to C, so that only φ is free. "none" is what the theorem's statement
        asks for, which is not enough for its conclusion.
    start_phi : float
        Angle between the hyperplanes at the start, at least φ_min and below π/2.
    start_tilt : float
        Angle of both centres with the perpendicular of C at the start, in [0, π/2). They lean in
        random directions, at most a right angle apart: opposite ones start on a saddle.
    """

    phi_min: float = 0.7
    kappa_x: float = 10.0
    kappa_y: float = 10.0
    condition: Condition = "gap"
    start_phi: float = 1.4
    start_tilt: float = 0.8

    @property
    def free(self) -> tuple[str, ...]:
        """The fields of `State` that training moves."""
        return ("centres", "phi") if self.condition != "perpendicular" else ("phi",)

    def __post_init__(self) -> None:
        check_right_angle(self.phi_min, "phi_min")
        check_real(self.kappa_x, "kappa_x", low=0)
        check_real(self.kappa_y, "kappa_y", low=0)
        check_choice(self.condition, "condition", ("gap", "perpendicular", "none"))
        check_real(self.start_phi, "start_phi", low=self.phi_min, high=np.pi / 2, open_high=True)
        check_real(self.start_tilt, "start_tilt", low=0, high=np.pi / 2, open_high=True)

    def start(self, n_pairs: int, n_coordinates: int, seed: int) -> State:
        """Return the clouds at tilted centres."""
        rng = np.random.default_rng(seed)
        tilt = self.start_tilt if "centres" in self.free else 0.0
        centres = np.stack([tilted(tilt, n_coordinates, rng) for _ in range(2)])
        if centres[0, :-1] @ centres[1, :-1] < 0:
            centres[1, :-1] *= -1
        clouds = paired_clouds((self.kappa_x, self.kappa_y), n_pairs, n_coordinates, rng)
        return self.restrain(State(clouds, centres, self.start_phi))

    def restrain(self, state: State) -> State:
        """Keep φ in its range, and Δθ ≥ φ_min where that is imposed."""
        state = _restrain_phi(super().restrain(state), self.phi_min)
        if self.condition != "gap":
            return state
        return replace(state, centres=impose_gap(state.centres, state.phi, self.phi_min))


@dataclass(frozen=True)
class SubspacePoints(Setting):
    """Every point is free within its side's hyperplane; φ ≥ φ_min is free.

    Parameters
    ----------
    phi_min : float
        Least angle between the hyperplanes in radians, in (0, π/2).
    start_kappa : float
        Concentration ≥ 0 of the two unrelated clouds that training starts from.
    start_phi, start_tilt : float
        As in `Subspace`.
    """

    free: ClassVar[tuple[str, ...]] = ("reference", "phi")
    phi_min: float = 0.7
    start_kappa: float = 10.0
    start_phi: float = 1.4
    start_tilt: float = 0.8

    def __post_init__(self) -> None:
        check_right_angle(self.phi_min, "phi_min")
        check_real(self.start_kappa, "start_kappa", low=0)
        check_real(self.start_phi, "start_phi", low=self.phi_min, high=np.pi / 2, open_high=True)
        check_real(self.start_tilt, "start_tilt", low=0, high=np.pi / 2, open_high=True)

    def start(self, n_pairs: int, n_coordinates: int, seed: int) -> State:
        """Return two unrelated clouds around tilted directions."""
        rng = np.random.default_rng(seed)
        centres = [tilted(self.start_tilt, n_coordinates, rng) for _ in range(2)]
        clouds = [sample_vmf(c, self.start_kappa, n_pairs, random_state=rng) for c in centres]
        return State(np.stack(clouds), at_reference(n_coordinates), self.start_phi)

    def restrain(self, state: State) -> State:
        """Keep φ in its range."""
        return _restrain_phi(super().restrain(state), self.phi_min)


def _restrain_phi(state: State, phi_min: float) -> State:
    """Clip φ to [φ_min, π/2), where the hyperplanes are not yet perpendicular."""
    return replace(state, phi=min(max(state.phi, phi_min), float(np.nextafter(np.pi / 2, 0))))
