"""What the demonstration of the theory consists of: sections of charts, each with its checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fillgap.papers.theory.hyperplanes import HyperplanePair
from fillgap.papers.theory.monte_carlo import AnchorLoss, anchor_loss
from fillgap.papers.theory.simulator import Frame, Simulation, simulate

Array = NDArray[np.float64]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Check:
    """A statement with its number, and whether it holds."""

    name: str  # with the unit of the number
    value: float
    relation: Literal["=", "≤", "≥"]
    expected: float
    tolerance: float
    holds: bool

    @classmethod
    def equal(cls, name: str, value: float, expected: float, tolerance: float) -> Check:
        """State that `value` is `expected`, up to `tolerance`."""
        near = abs(value - expected) <= tolerance
        return cls(name, float(value), "=", float(expected), float(tolerance), bool(near))

    @classmethod
    def at_most(cls, name: str, value: float, expected: float, tolerance: float = 0.0) -> Check:
        """State that `value` does not exceed `expected` by more than `tolerance`."""
        low = value <= expected + tolerance
        return cls(name, float(value), "≤", float(expected), float(tolerance), bool(low))

    @classmethod
    def at_least(cls, name: str, value: float, expected: float, tolerance: float = 0.0) -> Check:
        """State that `value` does not fall below `expected` by more than `tolerance`."""
        high = value >= expected - tolerance
        return cls(name, float(value), "≥", float(expected), float(tolerance), bool(high))


@dataclass(frozen=True)
class Curve:
    """One curve of a chart."""

    label: str  # in the legend; empty for none
    x: Array
    y: Array
    tone: int = 0  # colour, 0 to 5; a measured curve and its bound share one
    style: Literal["line", "dashed", "dotted", "points"] = "line"  # dashes: what a theorem says
    error: Array | None = None  # two standard errors of each y


@dataclass(frozen=True)
class Chart:
    """Curves over one pair of axes, with the checks that they end with."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    checks: tuple[Check, ...]
    caption: str = ""
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text with their checks."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    checks: tuple[Check, ...]
    caption: str = ""


@dataclass(frozen=True)
class Sphere:
    """Stepped pictures of training on the sphere in three dimensions."""

    title: str
    caption: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Section:
    """One theorem, lemma or corollary made visible."""

    title: str
    lead: str
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    spheres: tuple[Sphere, ...] = ()
    findings: tuple[str, ...] = ()  # where the numbers depart from what one might expect

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks of the section, in order."""
        charts = (check for chart in self.charts for check in chart.checks)
        return (*charts, *(check for table in self.tables for check in table.checks))


@dataclass(frozen=True)
class TheoryDemo:
    """The whole demonstration.

    Attributes
    ----------
    sections : tuple of Section
        In reading order.
    quick : bool
        Whether the short version ran.
    random_state : int
        Seed of everything random.
    """

    sections: tuple[Section, ...]
    quick: bool
    random_state: int

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks, in order."""
        return tuple(check for section in self.sections for check in section.checks)

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists, strings, numbers and None, ready for JSON."""
        return dict(_plain({**asdict(self), "holds": self.holds}))


def _plain(value: Any) -> Any:
    """Turn arrays and tuples into lists, and NaN and infinities into None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def format_number(value: float) -> str:
    """Return a number with four significant digits and a real minus sign."""
    if value == 0:
        return "0"
    text = f"{value:.4g}"
    mantissa, _, exponent = text.partition("e")
    power = "·10" + str(int(exponent)).translate(_RAISED) if exponent else ""
    return mantissa.replace("-", "−") + power


#: The point at which every section is shown: 8 dimensions, τ = .3, κ = 5, planes at .7 rad (40.1°).
N_FEATURES, TAU, KAPPA, PHI = 8, 0.3, 5.0, 0.7


@dataclass(frozen=True)
class Effort:
    """Sizes of the runs."""

    n_pairs: int
    n_steps: int
    n_cloud: int  # points of the clouds where only the loss of the centres is minimised
    n_samples: int  # draws of each Monte-Carlo estimate
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
            (c_x, c_y), basis = planes.leaning(0.0), planes.basis_y
        estimate = anchor_loss(
            c_x, c_y, c_y, kappa=KAPPA, tau=TAU, basis=basis, method="plain",
            n_samples=self.n_cloud, random_state=self.seed,
        )  # fmt: skip
        return 4 * 2 * estimate.standard_error


def final_angle(run: Simulation, measure: str) -> float:
    """Return one angle at the end of a run, in degrees."""
    return float(np.degrees(getattr(run.trace, measure)[-1]))


def angle_curve(label: str, run: Simulation, measure: str, tone: int = 0) -> Curve:
    """Return one angle of a run over its steps, in degrees, kept above 1e-6 for log axes."""
    degrees = np.degrees(getattr(run.trace, measure))
    return Curve(label, run.trace.step, np.maximum(degrees, 1e-6), tone)


def flat(label: str, run: Simulation, height: float, tone: int = 0) -> Curve:
    """Return a dashed level over the steps of a run."""
    return Curve(label, run.trace.step[[0, -1]], np.full(2, height), tone, "dashed")


def sampled(estimates: Sequence[AnchorLoss]) -> tuple[Array, Array]:
    """Return the values of estimates, and their standard errors."""
    values = np.array([estimate.value for estimate in estimates])
    return values, np.array([estimate.standard_error for estimate in estimates])


def spheres_of(effort: Effort, title: str, caption: str, setting: Any, **options: Any) -> Sphere:
    """Train 400 pairs in three dimensions and keep 48 of them in five states on the way."""
    steps = (0, 10, 25, 60, 250)
    run = effort.train(
        setting, n_features=3, n_pairs=400, n_steps=steps[-1], frames=steps, n_records=1, **options
    )
    shown = (replace(frame, X=frame.X[:48], Y=frame.Y[:48]) for frame in run.frames)
    return Sphere(title, caption, tuple(shown))
