"""Sections on two hyperplanes: theorem 3, the corollaries, and theorems S5 and 4 on pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.papers.theory.checks.results import (
    KAPPA,
    N_FEATURES,
    PHI,
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
    sampled,
    spheres_of,
)
from fillgap.papers.theory.hyperplanes import (
    HyperplanePair,
    best_response_angles,
    chord_angle,
    pair_alignment,
)
from fillgap.papers.theory.limits import (
    pair_limit,
    subspace_limit,
    subspace_minimum,
    theorem4_printed,
)
from fillgap.papers.theory.monte_carlo import AnchorLoss, anchor_loss
from fillgap.papers.theory.settings import Condition, Subspace, SubspacePoints
from fillgap.papers.theory.simulator import Simulation

Array = NDArray[np.float64]

_SHARED: Final[dict[str, Any]] = {
    "n_features": N_FEATURES, "tau": TAU, "kappa_x": KAPPA, "kappa_y": KAPPA,
}  # fmt: skip


def subspace_section(effort: Effort) -> Section:
    """Show theorem 3 under its condition, without it, and with every point free."""
    angles = np.radians([20.0, 40.0, 60.0])
    kept = {float(phi): _centres(effort, float(phi), "gap") for phi in angles}
    with_it, without = _centres(effort, PHI, "gap"), _centres(effort, PHI, "none")
    whole = effort.train(Subspace(PHI, KAPPA, KAPPA, condition="none"))
    points = _points_chart(effort)
    taus, apart = points.curves[0].x, points.curves[0].y > 1
    vanishing = ""
    if apart.any() and not apart.all():
        vanishing = (
            f" Between τ = {taus[apart].max():g} and τ = {taus[~apart].min():g} even that "
            "disappears: all points move into C and coincide."
        )
    return Section(
        "Theorem 3: in two hyperplanes the gap stays, under a condition",
        "Each side lives in its own hyperplane through the origin; the two meet in C at the angle "
        f"φ ≥ φ_min. Free are the centres of two clouds (κ = {KAPPA:g}) within their hyperplanes, "
        "and φ. The theorem concludes Δθ = φ_min with both centres perpendicular to C. That holds "
        "among centres perpendicular to C or with Δθ ≥ φ_min imposed, and not otherwise.",
        charts=(
            _kept_chart(kept),
            _bound_chart(effort, kept),
            _leaning_chart(
                "Without the condition: the centres drift into C", without,
                (
                    Check.at_least(
                        "Final tilt towards C (degrees)", final_angle(without, "tilt_x"), 85.0
                    ),
                    Check.at_most("Final Δθ (degrees)", final_angle(without, "centre_gap"), 5.0),
                ),
                "Loss of the pair of centres; φ_min = 40.1°.",
            ),
            _below_chart(effort, with_it, without),
            _tilt_chart(effort),
            _leaning_chart(
                "Loss of the whole batch, no condition", whole,
                (
                    Check.equal("Final Δθ (degrees)", final_angle(whole, "centre_gap"),
                                float(np.degrees(PHI)), 2.0),
                    Check.at_most(
                        "Final tilt towards C (degrees)", final_angle(whole, "tilt_x"), 15.0
                    ),
                ),
                f"A finding: N = {whole.n_pairs} pairs hold the centres near the perpendicular of "
                "C.",
            ),
            points,
        ),
        spheres=(
            spheres_of(
                effort, "With the condition Δθ ≥ φ_min",
                "The centres turn until they are perpendicular to C, the line where the planes "
                "meet.",
                Subspace(PHI, 20.0, 20.0), objective="centre",
            ),
            spheres_of(
                effort, "Without it",
                "Both centres move into C: the gap closes although the planes stay apart.",
                Subspace(PHI, 20.0, 20.0, condition="none"), objective="centre",
            ),
            spheres_of(
                effort, "Every point is free within its plane",
                "Both sides spread over their circles; pairs face each other across the planes' "
                "angle.",
                SubspacePoints(PHI),
            ),
        ),
        findings=(
            "The printed theorem only asks for centres outside C with a positive cosine. That is "
            "not enough: as both centres lean towards C, the loss of the pair of centres falls "
            "below the theorem's bound, all the way until both lie in C and the gap is gone.",
            "The loss over the whole batch behaves otherwise: without any condition the centres "
            "stay perpendicular to C, up to the sampling of the clouds, and Δθ goes to φ_min. The "
            "conclusion of the theorem survives there although its argument at the centre fails.",
            "With every point free in its hyperplane the means vanish, so that Δθ is no longer "
            "defined; what remains of the gap is the angle within the pairs." + vanishing,
        ),
    )  # fmt: skip


def _centres(effort: Effort, phi_min: float, condition: Condition) -> Simulation:
    setting = Subspace(phi_min, KAPPA, KAPPA, condition=condition)
    return effort.train(setting, objective="centre", n_pairs=effort.n_cloud, n_records=25)


def _kept_chart(runs: dict[float, Simulation]) -> Chart:
    curves, checks = [], []
    for tone, (angle, run) in enumerate(runs.items()):
        phi_min = float(np.degrees(angle))
        name, final = f"φ_min = {phi_min:.0f}°", final_angle(run, "centre_gap")
        curves += [angle_curve(name, run, "centre_gap", tone), flat("", run, phi_min, tone)]
        checks.append(Check.equal(f"Final Δθ for {name} (degrees)", final, phi_min, 0.1))
    tilt = max(final_angle(run, "tilt_x") for run in runs.values())
    checks.append(Check.equal("Largest final tilt towards C (degrees)", tilt, 0, 0.5))
    return Chart(
        "With the condition: Δθ → φ_min", "training step", "gap angle Δθ (degrees)",
        tuple(curves), tuple(checks), "Δθ ≥ φ_min imposed; loss of the pair of centres.",
    )  # fmt: skip


def _bound_chart(effort: Effort, runs: dict[float, Simulation]) -> Chart:
    curves, checks = [], []
    for tone, (phi_min, run) in enumerate(runs.items()):
        bound, name = subspace_minimum(phi_min, **_SHARED), f"φ_min = {np.degrees(phi_min):.0f}°"
        curves += [Curve(name, run.trace.step, run.trace.centre_loss, tone)]
        curves += [flat("", run, bound, tone)]
        final, noise = float(run.trace.centre_loss[-1]), effort.noise(phi_min)
        checks.append(Check.equal(f"Final loss, {name} (nats)", final, bound, noise))
    return Chart(
        "With the condition: the loss reaches the bound", "training step",
        "loss − 2 log N (nats)", tuple(curves), tuple(checks),
        f"Dashed: the bound. Clouds of {effort.n_cloud} points; the tolerance is four standard "
        "errors.",
    )  # fmt: skip


def _leaning_chart(title: str, run: Simulation, checks: tuple[Check, ...], caption: str) -> Chart:
    """Return how the centres lean towards C, and the gap between them."""
    curves = (
        angle_curve("tilt of c_x towards C", run, "tilt_x", 0),
        angle_curve("gap angle Δθ", run, "centre_gap", 1),
        flat("φ_min", run, float(np.degrees(PHI)), 2),
    )
    return Chart(title, "training step", "degrees", curves, checks, caption)


def _below_chart(effort: Effort, with_it: Simulation, without: Simulation) -> Chart:
    bound, inside = subspace_minimum(PHI, **_SHARED), float(_tilt_loss(np.pi / 2))
    curves = (
        Curve("with the condition", with_it.trace.step, with_it.trace.centre_loss, 0),
        flat("bound of theorem 3", with_it, bound, 0),
        Curve("without", without.trace.step, without.trace.centre_loss, 1),
        flat("limit for centres in C", without, inside, 1),
    )
    final, tolerance = float(without.trace.centre_loss[-1]), effort.noise(PHI)
    checks = (
        Check.at_most("Final loss without the condition (nats)", final, bound - 0.3),
        Check.equal("The same, against the limit for centres in C", final, inside, tolerance),
        Check.equal(
            "Final loss with the condition", with_it.trace.centre_loss[-1], bound, tolerance
        ),
    )
    return Chart(
        "Without the condition: below the bound", "training step", "loss − 2 log N (nats)", curves,
        checks,
    )  # fmt: skip


def _tilt_loss(tilt: ArrayLike) -> Array:
    """Return theorem 3's loss of centres that lean by `tilt` at φ = .7."""
    return subspace_limit(PHI, tilt, **_SHARED)


def _tilt_chart(effort: Effort) -> Chart:
    """Return the closed form over the tilt, one direction, with Monte-Carlo estimates."""
    planes, tilts = HyperplanePair(N_FEATURES, PHI), np.array([0, 0.3, 0.6, 0.9, 1.2, np.pi / 2])
    estimates = []
    for tilt in tilts:
        c_x, c_y = planes.leaning(tilt)
        estimates.append(
            anchor_loss(
                c_x, c_y, c_y, kappa=KAPPA, tau=TAU, basis=planes.basis_y,
                n_samples=effort.n_samples, random_state=effort.seed,
            )
        )  # fmt: skip
    values, errors = sampled(estimates)
    smooth = np.linspace(0, np.pi / 2, 181)
    curves = (
        Curve("limit", np.degrees(smooth), _tilt_loss(smooth) / 2, 1, "dashed"),
        Curve("sampling", np.degrees(tilts), values, 0, "points", 2 * errors),
    )
    worst = float(np.max(np.abs(values - _tilt_loss(tilts) / 2) / errors))
    return Chart(
        "The closed form is right; the minimum is not where it is said to be",
        "tilt of both centres towards C (degrees)", "loss − log N (nats)", curves,
        (
            Check.at_most("Largest deviation in standard errors", worst, 4.0),
            Check.at_most("Sampled, in C less perpendicular to C", values[-1] - values[0], -0.2),
        ),
        f"{estimates[0].method.capitalize()} sampling, {effort.n_samples} draws a point; one "
        "direction, φ = 40.1°.",
    )  # fmt: skip


def _points_chart(effort: Effort) -> Chart:
    """Return the end of training with every point free, over the temperature."""
    taus = np.array([0.1, 0.2, 0.3, 0.5, 0.8, 1.0])
    size = effort.n_pairs // 2
    runs = [effort.train(SubspacePoints(PHI), tau=float(tau), n_pairs=size) for tau in taus]
    pairs = np.degrees([run.trace.mean_pair_angle[-1] for run in runs])
    lengths = [float(run.trace.mean_length[-1]) for run in runs]
    phi = max(float(np.degrees(run.phi)) for run in runs)
    checks = (
        Check.equal("Largest final φ (degrees)", phi, float(np.degrees(PHI)), 0.1),
        Check.at_most("Longest mean of any run", max(lengths), 0.05),
        Check.at_least("Mean angle within pairs at τ = .3 (degrees)", pairs[2], 5.0),
        Check.equal("Mean angle within pairs at τ = 1 (degrees)", pairs[-1], 0.0, 1.0),
    )
    return Chart(
        "Every point free in its hyperplane", "temperature τ", "mean angle within pairs (degrees)",
        (Curve("after training", taus, pairs, 0, "points"), Curve("", taus, pairs, 0)), checks,
        f"A finding: N = {size}, φ_min = 40.1°.",
    )  # fmt: skip


@dataclass(frozen=True)
class Point:
    """Where both formulas are compared: dimension, temperature, concentration, sampler."""

    n_features: int
    tau: float
    kappa: float
    method: Literal["plain", "tilted"] = "plain"

    def exact(self, theta: ArrayLike, phi: ArrayLike = PHI) -> Array:
        """Return theorem S5's loss."""
        return pair_limit(theta, phi, n_features=self.n_features, tau=self.tau, kappa=self.kappa)

    def printed(self, theta: ArrayLike, *, misprint: bool = False) -> Array:
        """Return theorem 4's loss, as in its proof or as in its statement."""
        at: dict[str, Any] = {"n_features": self.n_features, "tau": self.tau, "kappa": self.kappa}
        return theorem4_printed(theta, PHI, **at, misprint=misprint)

    def miss(self, theta: ArrayLike) -> Array:
        """Return by how much the proof of theorem 4 misses."""
        return self.printed(theta) - self.exact(theta)

    def sample(self, theta: float, effort: Effort) -> AnchorLoss:
        """Estimate the loss of the pair at θ."""
        planes = HyperplanePair(self.n_features, PHI)
        return anchor_loss(
            *planes.leaning(theta), planes.basis_y[:, -1],
            kappa=self.kappa, tau=self.tau, basis=planes.basis_y, method=self.method,
            n_samples=max(1000, effort.n_samples * 8 // self.n_features),
            random_state=effort.seed,
        )  # fmt: skip


_POINT = Point(N_FEATURES, TAU, KAPPA)
_COLD = Point(512, 0.01, 500.0, "tilted")  # 1/(hτ²) = 20: plain sampling fails
_FAR = 0.9  # the angle θ at which the miss is quoted


def pair_section(effort: Effort) -> Section:
    """Show theorem S5 against sampling, and by how much the printed theorem 4 misses."""
    miss = float(_COLD.miss(np.linspace(0, 1.5, 181)).max())
    return Section(
        "Theorems S5 and 4: pairs away from the centre",
        "A pair stands at the angle θ from its centres, towards C, with one shadow on C. Theorem "
        "S5 gives its loss in one direction. The proof of theorem 4 writes cos θ where the cosine "
        "of x_i with the other side's centre belongs, cos θ cos φ; its statement prints, on top, "
        "cos Δθ for the cosine of the pair.",
        charts=(
            _sampling_chart(effort, _POINT),
            _sampling_chart(effort, _COLD),
            _miss_chart(),
            _best_angle_chart(),
        ),
        findings=(
            "Sampling agrees with S5 everywhere. The proof of theorem 4 misses by "
            f"{float(_POINT.miss(_FAR)):.2f} nats at θ = {_FAR} in 8 dimensions, and by up to "
            f"{miss:.1f} nats in 512 dimensions at τ = .01. It is right only for pairs in C.",
            "That Δθ = φ_min is best fails for pairs far from the centre: at 512 dimensions, "
            f"τ = .01, κ = 500 and θ ≥ {_FAR} the loss is lower at larger angles of the "
            "hyperplanes.",
        ),
    )


def _sampling_chart(effort: Effort, point: Point) -> Chart:
    """Return S5 and both printed forms over θ, with Monte-Carlo estimates."""
    smooth, thetas = np.linspace(0, np.pi / 2, 181), np.array([0.0, 0.3, 0.6, 0.9, 1.2, 1.5])
    estimates = [point.sample(float(theta), effort) for theta in thetas]
    values, errors = sampled(estimates)
    degrees, far = np.degrees(smooth), int(np.flatnonzero(thetas == _FAR)[0])
    curves = (
        Curve("theorem S5", degrees, point.exact(smooth), 1, "dashed"),
        Curve("sampling", np.degrees(thetas), values, 0, "points", 2 * errors),
        Curve("theorem 4, its proof", degrees, point.printed(smooth), 2, "dashed"),
        Curve("theorem 4, as printed", degrees, point.printed(smooth, misprint=True), 3, "dotted"),
    )
    worst = float(np.max(np.abs(values - point.exact(thetas)) / errors))
    off = float(point.printed(_FAR) - values[far])
    return Chart(
        f"{point.n_features} dimensions, τ = {point.tau:g}, κ = {point.kappa:g}",
        "angle θ of the pair with its centre (degrees)", "loss − log N (nats)",
        curves,
        (
            Check.at_most("Sampling from S5, largest deviation in standard errors", worst, 4.0),
            Check.equal(f"Theorem 4's proof less sampling at θ = {_FAR} (nats)", off,
                        float(point.miss(_FAR)), 4 * errors[far]),
            Check.at_least("The same, in standard errors", off / errors[far], 20.0),
        ),
        f"{point.method.capitalize()} sampling, {estimates[0].n_samples} draws a point; one "
        "direction, φ = 40.1°.",
    )  # fmt: skip


def _miss_chart() -> Chart:
    """Return by how much theorem 4's proof misses, over θ and κ."""
    theta = np.linspace(0, np.pi / 2, 181)
    curves = tuple(
        Curve(f"κ = {kappa:g}", np.degrees(theta), Point(N_FEATURES, TAU, kappa).miss(theta), tone)
        for tone, kappa in enumerate((1.0, 5.0, 25.0))
    )
    in_shared = max(abs(float(curve.y[-1])) for curve in curves)
    at_centre = min(float(curve.y[0]) for curve in curves)
    return Chart(
        "Where theorem 4 misses, and by how much", "angle θ of the pair with its centre (degrees)",
        "miss (nats)", curves,
        (
            Check.equal("Miss in C, θ = 90° (nats)", in_shared, 0.0, 1e-9),
            Check.at_least("Least miss at the centre, θ = 0 (nats)", at_centre, 0.05),
        ),
        "Theorem 4's proof less theorem S5; 8 dimensions, τ = .3, φ = 40.1°. The miss vanishes "
        "only for pairs in C.",
    )  # fmt: skip


def _best_angle_chart() -> Chart:
    """Return the loss of pairs over the angle of the hyperplanes."""
    phi = np.linspace(0.1, 1.5, 141)
    curves, checks = [], []
    for tone, theta in enumerate((0.3, 0.6, _FAR, 1.2)):
        loss = _COLD.exact(theta, phi)
        curves.append(Curve(f"θ = {theta}", np.degrees(phi), loss - loss[0], tone))
        best = float(np.degrees(phi[loss.argmin()]))
        name = f"Best φ for θ = {theta} (degrees), from φ_min = {np.degrees(phi[0]):.1f}°"
        if theta < _FAR:
            checks.append(Check.equal(name, best, float(np.degrees(phi[0])), 1e-9))
        else:
            checks.append(Check.at_least(name, best, 45.0))
    return Chart(
        "The smallest angle is not best for far pairs", "angle φ of the hyperplanes (degrees)",
        "loss − loss at φ_min (nats)", tuple(curves), tuple(checks),
        "A finding: theorem S5 at 512 dimensions, τ = .01, κ = 500.",
    )  # fmt: skip


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
            mean, largest = np.degrees([found.mean_angle, found.max_angle])
            rows.append((name, version, f"{found.matched:.1%}", f"{mean:.2f}°", f"{largest:.2f}°"))
            title = f"{name}, {version}"
            if version == "as trained":
                off = best_response_angles(run.X, run.Y, planes.basis_y)
                checks += [
                    Check.at_most(f"{title}: share of pairs matched", found.matched, 0.95),
                    Check.at_least(f"{title}: mean angle to the best match in B (degrees)",
                                   np.degrees(off.mean()), 1.0),
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
    curves, worst = [], 0.0
    for tone, (name, run) in enumerate(named):
        height = np.abs(run.X[:, -2])  # x's coordinate perpendicular to C
        angle = chord_angle(run.X, run.Y)
        exact = 2 * np.arcsin(height * np.sin(run.phi / 2))
        worst = max(worst, float(np.degrees(np.abs(angle - exact).max())))
        some = slice(None, None, max(1, len(height) // 100))
        heights, angles = np.degrees(np.arcsin(height))[some], np.degrees(angle)[some]
        curves.append(Curve(name, heights, angles, tone, "points"))
    grid = np.linspace(0, np.pi / 2, 91)
    exact = 2 * np.arcsin(np.sin(grid) * np.sin(named[0][1].phi / 2))
    curves.append(Curve("2 arcsin(sin η sin ½φ)", np.degrees(grid), np.degrees(exact), 2, "dashed"))
    return Chart(
        "How far apart trained pairs stay", "angle η of x_i with C (degrees)",
        "angle within the pair (degrees)", tuple(curves),
        (Check.equal("Largest distance from the curve (degrees)", worst, 0.0, 0.05),),
        "Only pairs in C coincide.",
    )  # fmt: skip
