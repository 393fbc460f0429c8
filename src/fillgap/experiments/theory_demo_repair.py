"""Section on the corollaries: no aligned pairs across hyperplanes, and the two repairs."""

from __future__ import annotations

import numpy as np

from fillgap.experiments.theory_demo_effort import KAPPA, PHI, Effort
from fillgap.experiments.theory_demo_results import Chart, Check, Curve, Section, Table
from fillgap.theory import (
    HyperplanePair,
    Simulation,
    Subspace,
    SubspacePoints,
    best_response_angles,
    pair_alignment,
)

__all__ = ["corollary_section"]


def corollary_section(effort: Effort) -> Section:
    """Show that pairs cannot be aligned in two hyperplanes, and both repairs."""
    clouds = effort.train(Subspace(PHI, KAPPA, KAPPA), n_features=4)
    points = effort.train(SubspacePoints(PHI), n_features=4)
    named = (("clouds", clouds), ("free points", points))
    return Section(
        "Corollaries: pairs cannot be aligned across hyperplanes; two repairs",
        "A pair is aligned when each is the other's best match. Across hyperplanes the best match "
        "of x in all of B is P_B x, scaled to length one, whose best match in A is not x again: "
        "unless the pair lies in C or perpendicular to it. Turning one hyperplane onto the "
        "other by φ, or projecting both sides on C, repairs every pair, since training has "
        "given both partners the same shadow on C.",
        charts=(_angle_chart(named),),
        tables=(_repair_table(named),),
        findings=(
            "Free points find the same shadow on C from unrelated starts: theorem 4's conclusion "
            "P_C x_i = P_C y_i emerges although its formula is wrong.",
        ),
    )


def _repair_table(named: tuple[tuple[str, Simulation], ...]) -> Table:
    """Return pair alignment as trained, after rotation, and after projection."""
    rows, checks = [], []
    for name, run in named:
        planes = HyperplanePair(run.n_features, run.phi)
        versions = {
            "as trained": (run.X, run.Y),
            "rotated": (run.X, run.Y @ planes.rotation),
            "projected on C": (planes.onto_shared(run.X), planes.onto_shared(run.Y)),
        }
        for version, (X, Y) in versions.items():
            found = pair_alignment(X, Y)
            largest = float(np.degrees(found.max_angle))
            mean = float(np.degrees(found.mean_angle))
            rows.append((name, version, f"{found.matched:.1%}", f"{mean:.2f}°", f"{largest:.2f}°"))
            title = f"{name}, {version}"
            if version == "as trained":
                off = best_response_angles(run.X, run.Y, planes.basis_y)
                mean_off = float(np.degrees(off.mean()))
                checks += [
                    Check.at_most(f"{title}: share of pairs matched", found.matched, 0.95),
                    Check.at_least(f"{title}: mean angle to the best match in B (degrees)",
                                   mean_off, 1.0),
                ]  # fmt: skip
            else:
                checks += [
                    Check.equal(f"{title}: share of pairs matched", found.matched, 1.0, 0.0),
                    Check.equal(f"{title}: largest angle in a pair (degrees)", largest, 0.0, 0.01),
                ]
    run = named[0][1]
    return Table(
        "Pair alignment before and after",
        ("", "version", "each other's nearest", "mean angle", "largest angle"),
        tuple(rows), tuple(checks),
        f"4 dimensions, N = {run.n_pairs}, φ = {np.degrees(run.phi):.1f}°.",
    )  # fmt: skip


def _angle_chart(named: tuple[tuple[str, Simulation], ...]) -> Chart:
    """Return the angle within each pair against its height above C."""
    curves, worst = [], 0.0
    for tone, (name, run) in enumerate(named):
        height = np.abs(run.X[:, -2])  # x's coordinate perpendicular to C
        angle = 2 * np.arcsin(np.linalg.norm(run.X - run.Y, axis=1) / 2)
        exact = 2 * np.arcsin(height * np.sin(run.phi / 2))
        worst = max(worst, float(np.degrees(np.abs(angle - exact).max())))
        some = slice(None, None, max(1, len(height) // 100))
        curves.append(
            Curve(
                name, np.degrees(np.arcsin(height))[some], np.degrees(angle)[some], tone, "points"
            )
        )
    grid = np.linspace(0, np.pi / 2, 91)
    exact = 2 * np.arcsin(np.sin(grid) * np.sin(named[0][1].phi / 2))
    curves.append(Curve("2 arcsin(sin η sin ½φ)", np.degrees(grid), np.degrees(exact), 2, "dashed"))
    return Chart(
        "How far apart trained pairs stay", "angle η of x_i with C (degrees)",
        "angle within the pair (degrees)", tuple(curves),
        (Check.equal("Largest distance from the curve (degrees)", worst, 0.0, 0.05),),
        "Only pairs in C coincide.",
    )  # fmt: skip
