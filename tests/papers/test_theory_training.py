"""Training: the loss, every gradient by finite differences, and what the settings keep to.

What each of them converges to is checked by `fillgap theory` too (test_theory_page).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fillgap.errors import InputError, InputTypeError
from fillgap.papers.theory import (
    Cone,
    ConePoints,
    HyperplanePair,
    Subspace,
    SubspacePoints,
    Unconstrained,
    batch_loss,
    cone_limit,
    simulate,
)
from fillgap.papers.theory.loss import batch_loss_gradient, centre_loss_gradient
from fillgap.papers.theory.settings import State, carry, impose_gap, unit
from fillgap.papers.theory.simulator import embed, free_gradients

SMALL = {"n_features": 8, "n_pairs": 256, "n_steps": 300, "tau": 0.5}
CLOUDS = {"kappa_x": 5.0, "kappa_y": 5.0}


def unit_rows(n: int, d: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, d)))


def slow_loss(X: np.ndarray, Y: np.ndarray, tau: float) -> float:
    """The definition, term by term."""
    total = 0.0
    for i in range(len(X)):
        rows = sum(np.exp(X[i] @ Y[k] / tau) for k in range(len(X)))
        columns = sum(np.exp(X[k] @ Y[i] / tau) for k in range(len(X)))
        own = np.exp(X[i] @ Y[i] / tau)
        total -= np.log(own / rows) + np.log(own / columns)
    return total / len(X) - 2 * np.log(len(X))


@pytest.mark.parametrize("tau", [0.05, 0.3, 2.0])
def test_batch_loss_is_the_definition_also_in_hyperplanes(tau):
    X, Y, planes = unit_rows(9, 4, 0), unit_rows(9, 4, 1), HyperplanePair(5, 0.7)
    exact = slow_loss(X, Y, tau)
    assert batch_loss(3 * X, 0.1 * Y, tau=tau) == pytest.approx(exact, rel=1e-12)
    assert batch_loss_gradient(X, Y, 1.0, tau, np.float32).loss == pytest.approx(exact, rel=1e-5)
    inside = batch_loss_gradient(X, Y, np.cos(0.7), tau).loss
    whole = batch_loss(X @ planes.basis_x.T, Y @ planes.basis_y.T, tau=tau)
    assert inside == pytest.approx(whole, rel=1e-12)


def test_centre_loss_is_the_definition():
    X, Y = unit_rows(9, 4, 0), unit_rows(9, 4, 1)
    c_x, c_y = unit_rows(2, 4, 2)
    exact = -2 * c_x @ c_y / 0.3
    exact += np.log(np.mean(np.exp(Y @ c_x / 0.3))) + np.log(np.mean(np.exp(X @ c_y / 0.3)))
    value = centre_loss_gradient(X, Y, np.stack([c_x, c_y]), 1.0, 0.3).loss
    assert value == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_far_apart_keep_their_digits(dtype):
    """At τ = .001 one exponential for both directions would give log 0."""
    X = np.array([[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]])
    Y = np.array([[0.8, 0.6], [0.0, -1.0], [0.0, -1.0]])
    exact = batch_loss_gradient(X, Y, 1.0, 0.001, np.float64)
    assert exact.loss == pytest.approx(1e3 * (0.8 + 0.6 + 1.6) / 3 * 2, rel=0.5)
    found = batch_loss_gradient(X, Y, 1.0, 0.001, dtype)
    assert np.isfinite(found.points).all()
    np.testing.assert_allclose(found.points, exact.points, rtol=1e-4, atol=1e-4)
    assert found.loss == pytest.approx(exact.loss, rel=1e-5)


SETTINGS = [
    Unconstrained(),
    Cone(kappa_x=4, kappa_y=9),
    ConePoints(half_angle=1.2),
    Subspace(kappa_x=4, kappa_y=9, condition="none"),
    Subspace(condition="perpendicular"),
    SubspacePoints(),
]
CASES = [(setting, "batch") for setting in SETTINGS]
CASES += [(setting, "centre") for setting in SETTINGS if "reference" not in setting.free]


def loss_at(state: State, objective: str, tau: float = 0.4) -> float:
    X, Y = state.points
    if objective == "centre":
        return centre_loss_gradient(X, Y, state.centres, np.cos(state.phi), tau).loss
    return batch_loss(*embed(state), tau=tau)


@pytest.mark.parametrize(("setting", "objective"), CASES)
def test_gradient_of_everything_free_by_finite_differences(setting, objective):
    """Moving each free part along a random tangent changes the loss as the gradient says."""
    state = setting.start(6, 4, seed=3)
    X, Y = state.points
    scale = np.cos(state.phi)
    if objective == "centre":
        slope = centre_loss_gradient(X, Y, state.centres, scale, 0.4)
    else:
        slope = batch_loss_gradient(X, Y, scale, 0.4)
    gradients = free_gradients(setting, state, slope)
    assert set(gradients) == set(setting.free)
    rng = np.random.default_rng(5)
    for part, gradient in gradients.items():
        for _ in range(4):
            here = np.asarray(getattr(state, part))
            step = rng.normal(size=gradient.shape)
            if part != "phi":
                step -= (step * here).sum(axis=-1, keepdims=True) * here
                np.testing.assert_allclose((gradient * here).sum(axis=-1), 0, atol=1e-13)
            values = []
            for sign in (1e-5, -1e-5):
                moved = here + sign * (step.item() if part == "phi" else step)
                moved = float(moved) if part == "phi" else unit(moved)
                values.append(loss_at(replace(state, **{part: moved}), objective))
            slope_along = (values[0] - values[1]) / 2e-5
            assert slope_along == pytest.approx(float((gradient * step).sum()), rel=1e-5, abs=1e-8)


def test_carrying_a_cloud_is_the_rotation_of_its_centre():
    start, end = unit_rows(2, 5, 7)
    matrix = carry(np.eye(5), start, end)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(5), atol=1e-13)
    assert np.linalg.det(matrix) == pytest.approx(1)
    np.testing.assert_allclose(carry(start[None], start, end)[0], end, atol=1e-13)
    aside = unit_rows(1, 5, 8)[0]
    basis = np.linalg.qr(np.column_stack([start, end]))[0]
    aside -= basis @ (basis.T @ aside)
    np.testing.assert_allclose(carry(aside[None], start, end)[0], aside, atol=1e-13)


@pytest.mark.parametrize("objective", ["batch", "centre"])
def test_centres_of_cones_meet(objective):
    found = simulate(Cone(kappa_x=5, kappa_y=8), **{**SMALL, "n_pairs": 1024}, objective=objective)
    assert found.trace.centre_gap[0] == pytest.approx(1.5)
    assert found.trace.centre_gap[-1] < 0.1  # the clouds are samples of unequal spread
    limit = float(cone_limit(0, n_features=8, tau=0.5, kappa_x=5, kappa_y=8))
    assert found.trace.centre_loss[-1] == pytest.approx(limit, abs=0.03)


def test_points_in_cones_meet_and_gather_on_the_surface():
    found = simulate(ConePoints(half_angle=0.6), **SMALL)
    assert found.trace.centre_gap[-1] < 1e-4
    axis = found.X.mean(axis=0) / np.linalg.norm(found.X.mean(axis=0))
    angles = np.arccos(found.X @ axis)
    assert angles.max() <= 0.6 + 0.05
    assert np.median(angles) == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("condition", ["gap", "perpendicular"])
@pytest.mark.parametrize("objective", ["batch", "centre"])
@pytest.mark.parametrize("phi_min", [0.4, 1.0])
def test_under_the_condition_the_gap_is_the_smallest_angle(condition, objective, phi_min):
    setting = Subspace(phi_min, **CLOUDS, condition=condition)
    found = simulate(setting, **SMALL, objective=objective)
    assert found.phi == pytest.approx(phi_min, abs=1e-6)
    assert found.trace.centre_gap[-1] == pytest.approx(phi_min, abs=1e-5)
    assert np.all(found.trace.centre_gap >= phi_min - 1e-6)
    assert found.trace.tilt_x[-1] < 1e-3


@pytest.mark.parametrize("setting", [Subspace(0.7), SubspacePoints(0.7)])
def test_points_stay_where_the_setting_allows(setting):
    found = simulate(setting, n_features=5, n_pairs=20, n_steps=15)
    planes = HyperplanePair(5, found.phi)
    for side, basis in ((found.X, planes.basis_x), (found.Y, planes.basis_y)):
        np.testing.assert_allclose(np.linalg.norm(side, axis=1), 1, rtol=1e-12)
        np.testing.assert_allclose(side @ basis @ basis.T, side, atol=1e-12)
    assert np.all(found.trace.phi >= 0.7)


def test_clouds_stay_rigid():
    found = simulate(Cone(kappa_x=3, kappa_y=3), n_features=5, n_pairs=20, n_steps=15, frames=(0,))
    X, Y = found.frames[0].X, found.frames[0].Y
    np.testing.assert_allclose(found.X @ found.X.T, X @ X.T, atol=1e-12)
    np.testing.assert_allclose(Y @ Y.T, X @ X.T, atol=1e-12)


def test_imposing_the_gap_moves_no_more_than_needed():
    upright = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(impose_gap(upright, 0.9, 0.7), upright)
    lean = np.array([[0.8, 0.0, 0.6], [0.8, 0.0, 0.6]])
    moved = impose_gap(lean, 0.9, 0.7)
    gap = np.arccos(moved[0, :2] @ moved[1, :2] + moved[0, 2] * moved[1, 2] * np.cos(0.9))
    assert gap == pytest.approx(0.7, abs=1e-9)
    assert 0 < moved[0, 0] < 0.8
    # at φ = φ_min nothing but the perpendicular is left
    np.testing.assert_allclose(impose_gap(lean, 0.7, 0.7), upright, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_centres_do_not_start_on_a_saddle(seed):
    """Leaning in opposite directions, by symmetry neither would move towards C."""
    centres = Subspace(condition="none").start(5, 2, seed).centres
    assert centres[0, :-1] @ centres[1, :-1] > 0
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1)


def test_trace_frames_and_progress_are_of_the_points_and_steps_that_they_name():
    seen = []
    found = simulate(
        Unconstrained(), n_features=6, n_pairs=40, n_steps=20, n_records=4, frames=(0, 4),
        progress=lambda *step: seen.append(step),
    )  # fmt: skip
    np.testing.assert_array_equal(found.trace.step, [0, 5, 10, 15, 20])
    assert seen == [(step, 20, "training step") for step in (0, 5, 10, 15, 20)]
    assert [frame.step for frame in found.frames] == [0, 4]
    assert found.trace.loss[-1] == pytest.approx(batch_loss(found.X, found.Y, tau=0.3), rel=1e-5)
    means = [side.mean(axis=0) for side in (found.X, found.Y)]
    cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    assert np.cos(found.trace.mean_gap[-1]) == pytest.approx(cosine)
    assert found.trace.mean_length[-1] == pytest.approx(np.linalg.norm(means[0]))
    angles = np.arccos((found.X * found.Y).sum(axis=1))
    assert found.trace.mean_pair_angle[-1] == pytest.approx(angles.mean())


def test_the_seed_repeats_the_run_and_precision_changes_only_rounding():
    def run(**options):
        return simulate(SubspacePoints(), n_features=5, n_pairs=30, n_steps=20, **options)

    first, again, other = (run(random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.X, again.X)
    np.testing.assert_array_equal(first.trace.loss, again.trace.loss)
    assert np.abs(first.X - other.X).max() > 0.1
    double = run(random_state=1, precision="float64")
    assert first.X.dtype == double.X.dtype == np.float64
    np.testing.assert_allclose(first.X, double.X, atol=1e-4)


def test_three_dimensions_and_two_pairs_are_enough():
    for setting in SETTINGS:
        found = simulate(setting, n_features=3, n_pairs=2, n_steps=5)
        assert np.isfinite(found.trace.loss).all()


X = unit_rows(4, 3, 0)


@pytest.mark.parametrize(
    ("function", "arguments", "options", "sentence"),
    [
        (batch_loss, (X, X), {"tau": 0}, "tau must be greater than 0"),
        (batch_loss, (X[:1], X[:1]), {"tau": 0.3}, "X must be at least 2 rows, got 1"),
        (batch_loss, (X, X[:3]), {"tau": 0.3}, "row i belongs to row i"),
        (batch_loss, (X, X[:, :2]), {"tau": 0.3}, "X and Y must be of one dimension, got 3 and 2"),
        (simulate, (Cone(),), {"n_features": 2}, "n_features must be at least 3, got 2"),
        (simulate, (Cone(),), {"n_pairs": 1}, "n_pairs must be at least 2, got 1"),
        (simulate, (Cone(),), {"tau": 0}, "tau must be greater than 0, got 0"),
        (simulate, (SubspacePoints(),), {"objective": "centre"}, "must be 'batch' where every poi"),
        (simulate, (Cone(),), {"objective": "median"}, "objective must be one of 'batch', 'cent"),
        (simulate, (Cone(),), {"precision": "float16"}, "precision must be one of 'float32', 'fl"),
        (simulate, (Cone(),), {"n_steps": 10, "frames": (11,)}, "a step of frames must be between"),
        (simulate, (Cone(),), {"random_state": None}, "random_state must be an integer"),
        *((cls, (), {name: phi}, f"{name} must be an angle in radians")
          for phi in (0.0, np.pi / 2, -0.2, 2.0)
          for cls, name in ((Subspace, "phi_min"), (SubspacePoints, "phi_min"),
                            (ConePoints, "half_angle"))),
        (Cone, (), {"kappa_y": -1}, "kappa_y must be at least 0, got -1"),
        (Subspace, (), {"kappa_x": -1}, "kappa_x must be at least 0, got -1"),
        (Subspace, (), {"condition": "maybe"}, "condition must be one of 'gap', 'perpendicular'"),
        (Subspace, (), {"phi_min": 0.9, "start_phi": 0.8}, "start_phi must be at least 0.9 and le"),
    ],
)  # fmt: skip
def test_refusals(function, arguments, options, sentence):
    with pytest.raises((InputError, InputTypeError), match=sentence):
        function(*arguments, **options)
