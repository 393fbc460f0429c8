"""How much work the demonstration does, and the numbers that all its sections share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.experiments.theory_demo_results import Curve, Sphere
from fillgap.theory import HyperplanePair, Simulation, anchor_loss, simulate

__all__ = ["KAPPA", "N_FEATURES", "PHI", "TAU", "Effort", "angle_curve", "flat", "spheres_of"]

#: The point at which every section is shown: 8 dimensions, τ = .3, κ = 5, planes at .7 rad (40.1°).
N_FEATURES, TAU, KAPPA, PHI = 8, 0.3, 5.0, 0.7

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Effort:
    """Sizes of the runs.

    Attributes
    ----------
    n_pairs, n_steps : int
        Of each simulation.
    n_cloud : int
        Points of the clouds where only the loss of the centres is minimised.
    n_samples : int
        Draws of each Monte-Carlo estimate.
    seed : int
        Of everything random.
    """

    n_pairs: int
    n_steps: int
    n_cloud: int
    n_samples: int
    seed: int

    @classmethod
    def of(cls, *, quick: bool, seed: int) -> Effort:
        """Return the sizes of the short or the full version."""
        if quick:
            return cls(200, 300, 1000, 40_000, seed)
        return cls(1024, 800, 2048, 400_000, seed)

    def train(self, setting: Any, **options: Any) -> Simulation:
        """Run one simulation at the shared point, unless `options` say otherwise."""
        fixed: dict[str, Any] = {
            "n_features": N_FEATURES,
            "n_pairs": self.n_pairs,
            "tau": TAU,
            "n_steps": self.n_steps,
            "random_state": self.seed,
        }
        return simulate(setting, **{**fixed, **options})

    def noise(self, phi: float | None = None) -> float:
        """Return four standard errors of the loss of two centres against clouds of `n_cloud`.

        The clouds lie in hyperplanes at angle `phi`, or in one cone without it. Both sides are the
        same draws, so the errors of both directions add up.
        """
        c_x = c_y = np.eye(N_FEATURES)[0]
        basis = None
        if phi is not None:
            planes = HyperplanePair(N_FEATURES, phi)
            c_x, c_y, basis = planes.basis_x[:, -1], planes.basis_y[:, -1], planes.basis_y
        estimate = anchor_loss(
            c_x, c_y, c_y, kappa=KAPPA, tau=TAU, basis=basis, method="plain",
            n_samples=self.n_cloud, random_state=self.seed,
        )  # fmt: skip
        return 4 * 2 * estimate.standard_error


def angle_curve(label: str, run: Simulation, measure: str, tone: int = 0) -> Curve:
    """Return one angle of a run over its steps, in degrees, kept above 1e-6 for log axes."""
    degrees = np.degrees(getattr(run.trace, measure))
    return Curve(label, run.trace.step, np.maximum(degrees, 1e-6), tone)


def flat(label: str, run: Simulation, height: float, tone: int = 0) -> Curve:
    """Return a dashed level over the steps of a run."""
    return Curve(label, run.trace.step[[0, -1]], np.full(2, height), tone, "dashed")


def spheres_of(effort: Effort, title: str, caption: str, setting: Any, **options: Any) -> Sphere:
    """Train 400 pairs in three dimensions and keep 48 of them in five states on the way."""
    steps = (0, 10, 25, 60, 250)
    run = effort.train(
        setting, n_features=3, n_pairs=400, n_steps=steps[-1], frames=steps, n_records=1, **options
    )
    shown = (replace(frame, X=frame.X[:48], Y=frame.Y[:48]) for frame in run.frames)
    return Sphere(title, caption, tuple(shown))
