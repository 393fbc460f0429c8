"""Sections on theorem 1 (no constraint), theorem 2 (cones), and lemmas 12 and 15."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.papers.theory.checks.results import (
    KAPPA,
    N_FEATURES,
    TAU,
    Chart,
    Check,
    Curve,
    Effort,
    Section,
    Table,
    angle_curve,
    final_angle,
    flat,
    format_number,
    sampled,
    spheres_of,
)
from fillgap.papers.theory.hyperplanes import HyperplanePair, reach
from fillgap.papers.theory.limits import cone_limit, unconstrained_limit
from fillgap.papers.theory.monte_carlo import anchor_loss
from fillgap.papers.theory.settings import Cone, ConePoints, Unconstrained
from fillgap.papers.theory.simulator import Simulation
from fillgap.papers.theory.vmf import half_space_probability, sample_vmf

_WARM = 0.5  # the temperature of theorem 1's runs: batches of 1024 are large there


def unconstrained_section(effort: Effort) -> Section:
    """Show theorem 1: the loss falls to its bound and the gap closes."""
    bound = unconstrained_limit(n_features=N_FEATURES, tau=_WARM)
    sizes = [effort.n_pairs // 16, effort.n_pairs // 4, effort.n_pairs]
    runs = [effort.train(Unconstrained(), n_pairs=size, tau=_WARM) for size in sizes]
    return Section(
        "Theorem 1: without a constraint the gap closes",
        "Every point is free. Both sides start as unrelated clouds 86° apart; the contrastive "
        "loss over the batch is minimised. The theorem bounds the loss less 2 log N from below, "
        "with equality for pairs that coincide and cover the sphere evenly.",
        charts=(_excess_chart(runs, bound), _closing_chart(runs)),
        spheres=(
            spheres_of(
                effort, "Every point is free", "The two sides spread over the sphere and pair up.",
                Unconstrained(), tau=_WARM,
            ),
        ),
        findings=(
            "At the optimum the mean of either side is almost zero (length "
            f"{format_number(runs[-1].trace.mean_length[-1])}), so the gap angle is one between "
            "two vanishing vectors. It closes only because the pairs coincide far more closely.",
        ),
    )  # fmt: skip


def _excess_chart(runs: list[Simulation], bound: float) -> Chart:
    curves = tuple(
        Curve(f"N = {run.n_pairs}", run.trace.step, run.trace.loss - bound, tone)
        for tone, run in enumerate(runs)
    )
    left = [float(run.trace.loss[-1] - bound) for run in runs]
    lowest = min(float(curve.y.min()) for curve in curves)
    checks = (
        Check.at_least("Least loss of any step, less the bound (nats)", lowest, 0.0),
        Check.at_most(f"Final loss less the bound, N = {runs[-1].n_pairs}", left[-1], 0.0, 0.005),
        Check.at_most("The same, over that of the smallest batch", left[-1] / left[0], 0.5),
    )
    return Chart(
        "Loss above the bound", "training step", "loss − bound (nats)", curves, checks,
        f"{N_FEATURES} dimensions, τ = {_WARM}. A finite batch cannot reach the bound; larger "
        "ones come closer.", log_y=True,
    )  # fmt: skip


def _closing_chart(runs: list[Simulation]) -> Chart:
    last = runs[-1]
    curves = (
        angle_curve("gap angle Δθ", last, "mean_gap", 0),
        angle_curve("largest angle within a pair", last, "max_pair_angle", 1),
    )
    checks = (
        Check.equal("Final gap angle Δθ (degrees)", final_angle(last, "mean_gap"), 0, 0.5),
        Check.equal("Final largest angle within a pair (degrees)",
                    final_angle(last, "max_pair_angle"), 0, 0.001),
    )  # fmt: skip
    return Chart(
        "The gap closes", "training step", "degrees", curves, checks,
        f"N = {last.n_pairs}.", log_y=True,
    )  # fmt: skip


def cone_section(effort: Effort) -> Section:
    """Show theorem 2: clouds in cones meet, and the closed form agrees with sampling."""
    clouds = Cone(KAPPA, KAPPA)
    batch = effort.train(clouds)
    centre = effort.train(clouds, objective="centre", n_pairs=effort.n_cloud, n_records=25)
    points = [
        effort.train(ConePoints(), n_pairs=200, random_state=effort.seed + start)
        for start in range(5)
    ]
    best = min(points, key=_final_loss)
    mean = best.X.mean(axis=0)
    angles = np.arccos(np.clip(best.X @ mean / np.linalg.norm(mean), -1, 1))
    edge = float(np.mean(angles > angles.max() - np.radians(1)))  # share on the surface
    return Section(
        "Theorem 2: in cones the gap closes too",
        f"Each side is a von Mises-Fisher cloud of fixed concentration κ = {KAPPA:g}; free are "
        "the two centres. The theorem speaks of the loss of the pair of centres against both "
        "clouds; the loss over the whole batch is minimised beside it. In the harder version "
        "every point is free within a cone of 34° around its side's axis, and both axes are free.",
        charts=(
            _meeting_chart(batch, centre),
            _level_chart(effort, centre),
            _cone_sampling_chart(effort),
            _points_chart(points),
        ),
        spheres=(
            spheres_of(
                effort, "Clouds of fixed concentration, free centres",
                "Both clouds turn as rigid bodies until they coincide.", Cone(20.0, 20.0),
            ),
            spheres_of(
                effort, "Every point is free within its cone",
                "The cones meet; the points gather on their surface.", ConePoints(),
            ),
        ),
        findings=(
            "With every point free in its cone the least loss is without a gap as well, but the "
            f"clouds do not stay von Mises-Fisher: {edge:.0%} of the points end on the surface of "
            "the cone, which the theorem's assumption of a fixed concentration excludes.",
            "From some starts training stalls with the gap open. There the points have left the "
            "direction of the gap unused; the loss adds one number to all scores and does not see "
            "the gap. So collapse by one dimension keeps a gap open even without hyperplanes.",
        ),
    )  # fmt: skip


def _final_loss(run: Simulation) -> float:
    return float(run.trace.loss[-1])


def _gap_share(run: Simulation) -> float:
    """Return the share of X's variance that lies along the direction of the gap."""
    means = run.X.mean(axis=0), run.Y.mean(axis=0)
    along = means[1] - means[0] * (means[0] @ means[1]) / (means[0] @ means[0])
    centred = run.X - means[0]
    spread = centred @ (along / max(float(np.linalg.norm(along)), 1e-300))
    return float((spread**2).sum() / (centred**2).sum())


def _points_chart(runs: list[Simulation]) -> Chart:
    """Return the gap angle with every point free in its cone, from several starts."""
    curves = tuple(
        angle_curve(f"start {tone + 1}", run, "mean_gap", tone) for tone, run in enumerate(runs)
    )
    best = min(runs, key=_final_loss)
    stalled = [run for run in runs if run.trace.mean_gap[-1] > np.radians(1)]
    extra = min((_final_loss(run) for run in stalled), default=np.inf) - _final_loss(best)
    shares = [_gap_share(run) for run in stalled]
    gap = final_angle(best, "mean_gap")
    checks = [Check.equal("Final Δθ of the start with the least loss (degrees)", gap, 0, 0.5)]
    if stalled:
        checks += [
            Check.at_least("Loss of stalled starts, above the least (nats)", extra, 0.005),
            Check.at_most("Their largest share of variance along the gap", max(shares), 0.01),
        ]
    return Chart(
        "Every point free in its cone", "training step", "gap angle Δθ (degrees)", curves,
        tuple(checks), f"N = {best.n_pairs}; {len(stalled)} of {len(runs)} starts stall.",
    )  # fmt: skip


def _meeting_chart(batch: Simulation, centre: Simulation) -> Chart:
    named = (("loss of the batch", batch), ("loss of the centres", centre))
    curves = tuple(
        angle_curve(label, run, "centre_gap", tone) for tone, (label, run) in enumerate(named)
    )
    checks = tuple(
        Check.equal(f"Final Δθ, {label} (degrees)", final_angle(run, "centre_gap"), 0, 0.1)
        for label, run in named
    )
    return Chart(
        "The gap closes", "training step", "gap angle Δθ (degrees)", curves, checks, log_y=True
    )


def _level_chart(effort: Effort, centre: Simulation) -> Chart:
    """Return the loss of the centres over training, with its limit."""
    limit = float(_cone_loss(0.0))
    curves = (
        Curve("loss of the centres", centre.trace.step, centre.trace.centre_loss, 1),
        flat("limit, J(1; κ_x) + J(1; κ_y)", centre, limit, 1),
    )
    final = float(centre.trace.centre_loss[-1])
    return Chart(
        "The loss reaches its limit", "training step", "loss − 2 log N (nats)", curves,
        (Check.equal("Final loss of the centres (nats)", final, limit, effort.noise()),),
        f"Clouds of {centre.n_pairs} points; the tolerance is four standard errors.",
    )  # fmt: skip


def _cone_loss(gap: ArrayLike) -> NDArray[np.float64]:
    return cone_limit(gap, n_features=N_FEATURES, tau=TAU, kappa_x=KAPPA, kappa_y=KAPPA)


def _cone_sampling_chart(effort: Effort) -> Chart:
    """Return theorem 2's limit over the gap angle, with Monte-Carlo estimates."""
    gaps = np.linspace(0, np.pi, 9)
    c_x = np.eye(N_FEATURES)[0]
    estimates = []
    for gap in gaps:
        c_y = np.cos(gap) * c_x + np.sin(gap) * np.eye(N_FEATURES)[1]
        estimates.append(
            anchor_loss(
                c_x, c_y, c_y, kappa=KAPPA, tau=TAU,
                n_samples=effort.n_samples, random_state=effort.seed,
            )
        )  # fmt: skip
    values, errors = (2 * part for part in sampled(estimates))  # equal clouds: a mirror image
    smooth = np.linspace(0, np.pi, 181)
    curves = (
        Curve("limit", np.degrees(smooth), _cone_loss(smooth), 1, "dashed"),
        Curve("sampling", np.degrees(gaps), values, 0, "points", 2 * errors),
    )
    worst = float(np.max(np.abs(values - _cone_loss(gaps)) / errors))
    return Chart(
        "Closed form against sampling", "gap angle Δθ (degrees)", "loss − 2 log N (nats)", curves,
        (
            Check.at_most("Largest deviation in standard errors", worst, 4.0),
            Check.equal("Δθ of the least limit (degrees)",
                        np.degrees(smooth[_cone_loss(smooth).argmin()]), 0, 0),
        ),
        f"{estimates[0].method.capitalize()} sampling, {effort.n_samples} draws a point.",
    )  # fmt: skip


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
    rows, checks = [], []
    for h, printed in _PRINTED.items():
        for kappa, expected in printed.items():
            value = half_space_probability(kappa, h)
            rows.append((str(h), str(kappa), f"{value:.6f}", f"{expected:.4f}"))
            checks.append(Check.equal(f"P(z·c ≥ 0), h = {h}, κ = {kappa}", value, expected, 1e-4))
    return Table(
        "Lemma 15's table", ("h", "κ", "by quadrature", "expected"), tuple(rows), tuple(checks)
    )
