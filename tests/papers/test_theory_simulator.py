"""The simulator: what each setting converges to, its constraints, its seed, its refusals."""

from __future__ import annotations

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
    pair_alignment,
    simulate,
    subspace_limit,
    subspace_minimum,
    unconstrained_limit,
)
from fillgap.papers.theory.settings import impose_gap

SMALL = {"n_features": 8, "n_pairs": 256, "n_steps": 300, "tau": 0.5}
CLOUDS = {"kappa_x": 5.0, "kappa_y": 5.0}


def test_without_constraint_the_gap_closes_and_the_loss_reaches_the_bound():
    found = simulate(Unconstrained(), **SMALL)
    trace, bound = found.trace, unconstrained_limit(n_features=8, tau=0.5)
    assert trace.mean_gap[0] > 1
    assert trace.max_pair_angle[-1] < 1e-5
    assert np.all(trace.loss > bound)
    assert trace.loss[-1] == pytest.approx(bound, abs=0.02)
    assert trace.mean_length[-1] < 1e-3


@pytest.mark.parametrize("objective", ["batch", "centre"])
def test_centres_of_cones_meet(objective):
    found = simulate(Cone(kappa_x=5, kappa_y=8), **{**SMALL, "n_pairs": 1024}, objective=objective)
    assert found.trace.centre_gap[0] == pytest.approx(1.5)
    assert found.trace.centre_gap[-1] < 0.1  # the clouds are samples of unequal spread
    limit = float(cone_limit(0, n_features=8, tau=0.5, kappa_x=5, kappa_y=8))
    assert found.trace.centre_loss[-1] == pytest.approx(limit, abs=0.03)


def test_equal_cones_meet_exactly():
    found = simulate(Cone(**CLOUDS), **SMALL)
    assert found.trace.centre_gap[-1] < 1e-6
    assert found.trace.max_pair_angle[-1] < 1e-6


def test_points_in_cones_meet_and_gather_on_the_surface():
    setting = ConePoints(half_angle=0.6)
    found = simulate(setting, **SMALL)
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


def test_without_the_condition_the_centres_lean_into_the_shared_space():
    fixed = {**SMALL, "n_pairs": 4096, "objective": "centre", "n_records": 1}
    kept, free = (simulate(Subspace(0.7, **CLOUDS, condition=c), **fixed) for c in ("gap", "none"))
    at = {"n_features": 8, "tau": 0.5, **CLOUDS}
    bound = subspace_minimum(0.7, **at)
    assert kept.trace.centre_loss[-1] == pytest.approx(bound, abs=0.05)
    assert free.trace.centre_loss[-1] < bound - 0.1
    inside = float(subspace_limit(0.7, np.pi / 2, **at))
    assert free.trace.centre_loss[-1] == pytest.approx(inside, abs=0.05)
    assert free.trace.tilt_x[-1] > 1.5
    assert free.trace.centre_gap[-1] < 0.05


def test_over_the_whole_batch_the_centres_stay_perpendicular_without_any_condition():
    found = simulate(Subspace(0.7, **CLOUDS, condition="none"), **{**SMALL, "n_pairs": 1024})
    assert found.trace.tilt_x[-1] < 0.15 < found.trace.tilt_x[0]
    assert found.trace.centre_gap[-1] == pytest.approx(0.7, abs=0.02)


def test_free_points_in_hyperplanes_share_their_shadow_and_are_repaired():
    found = simulate(SubspacePoints(0.7), n_features=4, n_pairs=300, n_steps=400, tau=0.3)
    planes = HyperplanePair(4, found.phi)
    assert found.phi == pytest.approx(0.7)
    shadows = [planes.onto_shared(side) for side in (found.X, found.Y)]
    raw = pair_alignment(found.X, found.Y)
    assert raw.mean_angle > 0.2
    assert raw.matched < 0.9
    for sides in (shadows, (found.X, found.Y @ planes.rotation)):
        repaired = pair_alignment(*sides)
        assert repaired.max_angle < 1e-5
        assert repaired.matched == 1


def test_points_stay_where_the_setting_allows():
    for setting in (Subspace(0.7), SubspacePoints(0.7)):
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


def test_trace_is_what_the_final_points_say():
    found = simulate(Unconstrained(), n_features=6, n_pairs=40, n_steps=20, n_records=4)
    np.testing.assert_array_equal(found.trace.step, [0, 5, 10, 15, 20])
    assert found.trace.loss[-1] == pytest.approx(batch_loss(found.X, found.Y, tau=0.3), rel=1e-5)
    means = [side.mean(axis=0) for side in (found.X, found.Y)]
    cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    assert np.cos(found.trace.mean_gap[-1]) == pytest.approx(cosine)
    assert found.trace.mean_length[-1] == pytest.approx(np.linalg.norm(means[0]))
    assert found.trace.mean_pair_angle[-1] == pytest.approx(
        np.arccos((found.X * found.Y).sum(axis=1)).mean()
    )


def test_the_seed_repeats_the_run_and_another_does_not():
    runs = [
        simulate(SubspacePoints(), n_features=5, n_pairs=30, n_steps=20, random_state=seed)
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0].X, runs[1].X)
    np.testing.assert_array_equal(runs[0].trace.loss, runs[1].trace.loss)
    assert np.abs(runs[0].X - runs[2].X).max() > 0.1


def test_precision_changes_only_rounding():
    single, double = (
        simulate(Unconstrained(), n_features=5, n_pairs=30, n_steps=20, precision=name)
        for name in ("float32", "float64")
    )
    assert single.X.dtype == double.X.dtype == np.float64
    np.testing.assert_allclose(single.X, double.X, atol=1e-4)


def test_frames_and_progress():
    seen = []
    found = simulate(
        Unconstrained(),
        n_features=3,
        n_pairs=8,
        n_steps=10,
        frames=(0, 4),
        n_records=2,
        progress=lambda done, total, what: seen.append((done, total, what)),
    )
    assert [frame.step for frame in found.frames] == [0, 4]
    assert seen == [(0, 10, "training step"), (5, 10, "training step"), (10, 10, "training step")]


def test_three_dimensions_and_two_pairs_are_enough():
    for setting in (Unconstrained(), Cone(), ConePoints(), Subspace(), SubspacePoints()):
        found = simulate(setting, n_features=3, n_pairs=2, n_steps=5)
        assert np.isfinite(found.trace.loss).all()


def test_bad_input():
    with pytest.raises(InputError, match="n_features must be at least 3, got 2"):
        simulate(Unconstrained(), n_features=2)
    with pytest.raises(InputError, match="n_pairs must be at least 2, got 1"):
        simulate(Unconstrained(), n_pairs=1)
    with pytest.raises(InputError, match="tau must be greater than 0, got 0"):
        simulate(Unconstrained(), tau=0)
    with pytest.raises(InputError, match="objective must be 'batch' where every point is free"):
        simulate(SubspacePoints(), objective="centre")
    with pytest.raises(InputError, match="objective must be one of 'batch', 'centre'"):
        simulate(Cone(), objective="median")
    with pytest.raises(InputError, match="precision must be one of 'float32', 'float64'"):
        simulate(Cone(), precision="float16")
    with pytest.raises(InputError, match="a step of frames must be between 0 and 10, got 11"):
        simulate(Cone(), n_steps=10, frames=(11,))
    with pytest.raises(InputTypeError, match="random_state must be an integer"):
        simulate(Cone(), random_state=None)
    for phi in (0.0, np.pi / 2, -0.2, 2.0):
        with pytest.raises(InputError, match="phi_min must be an angle in radians"):
            Subspace(phi_min=phi)
        with pytest.raises(InputError, match="phi_min must be an angle in radians"):
            SubspacePoints(phi_min=phi)
        with pytest.raises(InputError, match="half_angle must be an angle in radians"):
            ConePoints(half_angle=phi)
    with pytest.raises(InputError, match="kappa_y must be at least 0, got -1"):
        Cone(kappa_y=-1)
    with pytest.raises(InputError, match="kappa_x must be at least 0, got -1"):
        Subspace(kappa_x=-1)
    with pytest.raises(InputError, match="condition must be one of 'gap', 'perpendicular', 'none'"):
        Subspace(condition="maybe")
    with pytest.raises(InputError, match="start_phi must be at least 0.9 and less than"):
        Subspace(phi_min=0.9, start_phi=0.8)
