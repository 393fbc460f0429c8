"""Section on lemma 12 and lemma 15."""

from __future__ import annotations

import numpy as np

from fillgap.experiments.theory_demo_effort import Effort
from fillgap.experiments.theory_demo_results import Chart, Check, Curve, Section, Table
from fillgap.theory import HyperplanePair, half_space_probability, reach, sample_vmf

__all__ = ["lemma_section"]

#: Lemma 15: dimension → concentration → probability, to four digits.
_PRINTED = {
    128: {1: 0.5353, 5: 0.6710, 10: 0.8117, 20: 0.9609, 30: 0.9956, 50: 1.0},
    512: {1: 0.5176, 5: 0.5875, 10: 0.6708, 20: 0.8116, 30: 0.9075, 50: 0.9863},
    1024: {1: 0.5125, 5: 0.5621, 10: 0.6227, 20: 0.7340, 30: 0.8258, 50: 0.9409, 100: 0.9991},
}


def lemma_section(effort: Effort) -> Section:
    """Show lemma 12 by random points and lemma 15 by its table."""
    return Section(
        "Lemmas 12 and 15",
        "Lemma 12: no unit vector of B has a larger cosine with x than the length of x's "
        "projection on B. Lemma 15: the probability that a von Mises-Fisher point lies in the "
        "half-space of its centre, here by quadrature in log space.",
        charts=(_reach_chart(effort), _half_space_chart()),
        tables=(_half_space_table(),),
    )


def _reach_chart(effort: Effort) -> Chart:
    """Return the largest cosine of random x in A with many y in B, beside its bound."""
    planes = HyperplanePair(4, 1.0)
    uniform = [
        sample_vmf(np.eye(3)[0], 0.0, count, random_state=effort.seed + side)
        for side, count in enumerate((80, 4000))
    ]
    X, Y = uniform[0] @ planes.basis_x.T, uniform[1] @ planes.basis_y.T
    bound, largest = reach(X, planes.basis_y), np.abs(X @ Y.T).max(axis=1)
    line = np.array([np.cos(1.0), 1.0])
    return Chart(
        "Lemma 12", "bound ‖P_B x‖", "largest |x·y|",
        (
            Curve("x in A, over 4000 y in B", bound, largest, 0, "points"),
            Curve("bound", line, line, 1, "dashed"),
        ),
        (
            Check.at_most("Largest excess over the bound", (largest - bound).max(), 0.0, 1e-12),
            Check.equal("Largest distance below it", (bound - largest).max(), 0.0, 0.01),
        ),
        "4 dimensions, φ = 57.3°.",
    )  # fmt: skip


def _half_space_chart() -> Chart:
    """Return lemma 15's probability over the concentration."""
    kappa = np.linspace(0, 100, 101)
    curves = []
    for tone, (h, printed) in enumerate(_PRINTED.items()):
        values = np.array([half_space_probability(float(k), h) for k in kappa])
        curves.append(Curve(f"h = {h}", kappa, values, tone))
        marks = np.array(list(printed.items()), dtype=float)
        curves.append(Curve("", marks[:, 0], marks[:, 1], tone, "points"))
    falling = min(float(np.diff(curve.y).min()) for curve in curves)
    return Chart(
        "Lemma 15", "concentration κ", "P(z·c ≥ 0)", tuple(curves),
        (Check.at_least("Least step of any curve: it only rises", falling, 0.0, 1e-12),),
        "Points: the table's values.",
    )  # fmt: skip


def _half_space_table() -> Table:
    """Return lemma 15's 19 values."""
    rows, checks = [], []
    for h, printed in _PRINTED.items():
        for kappa, expected in printed.items():
            value = half_space_probability(kappa, h)
            rows.append((str(h), str(kappa), f"{value:.6f}", f"{expected:.4f}"))
            checks.append(Check.equal(f"P(z·c ≥ 0), h = {h}, κ = {kappa}", value, expected, 1e-4))
    return Table(
        "Lemma 15's table", ("h", "κ", "by quadrature", "expected"), tuple(rows), tuple(checks)
    )
