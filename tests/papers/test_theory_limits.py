"""The limits of the loss: golden values, brute-force integrals, and the minima they claim."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gamma, iv

from fillgap.errors import InputError
from fillgap.papers.theory import (
    cone_limit,
    pair_limit,
    subspace_limit,
    subspace_minimum,
    theorem4_printed,
    unconstrained_limit,
)
from fillgap.papers.theory.limits import j, j_tilde, tilted_concentration

POINT = {"n_features": 8, "tau": 0.3}
CLOUDS = {"kappa_x": 5.0, "kappa_y": 5.0}


def mean_exponential(dimension: int, kappa: float, along: float, across: float) -> float:
    """E e^{a·z} by two nested integrals; a has length `along` on the centre, `across` off it."""

    def zone(cosine: float, weight: float, dim: int) -> float:
        return np.exp(weight * cosine) * (1 - cosine**2) ** ((dim - 3) / 2)

    def ring(cosine: float) -> float:
        height = across * np.sqrt(1 - cosine**2)
        value = quad(lambda v: zone(v, height, dimension - 1), -1, 1)[0]
        return value / quad(lambda v: zone(v, 0, dimension - 1), -1, 1)[0]

    top = quad(lambda u: zone(u, kappa + along, dimension) * ring(u), -1, 1)[0]
    return top / quad(lambda u: zone(u, kappa, dimension), -1, 1)[0]


def test_j_tilde_is_the_expectation_it_stands_for():
    """Nothing of Bessel functions enters the other side."""
    kappa, tau, w1, w2, t = 3.0, 0.4, 0.5, 0.3, 0.8
    for dimension in (5, 7):
        brute = mean_exponential(dimension, kappa, w2 / tau, np.sqrt(t**2 - w2**2) / tau)
        value = float(j_tilde(w1, w2, t, kappa=kappa, tau=tau, order=dimension / 2 - 1))
        assert value == pytest.approx(-w1 / tau + np.log(brute), rel=1e-8)


@pytest.mark.parametrize(("n_features", "tau"), [(3, 0.5), (8, 0.3), (64, 0.2)])
def test_unconstrained_limit_is_the_printed_formula(n_features, tau):
    order = n_features / 2 - 1
    exact = -2 / tau + 2 * np.log(gamma(order + 1) * (2 * tau) ** order * iv(order, 1 / tau))
    assert unconstrained_limit(n_features=n_features, tau=tau) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    ("tilt", "value"), [(0.0, -1.0048), (0.6, -1.0825), (1.2, -1.2242), (np.pi / 2, -1.2594)]
)
def test_leaning_towards_the_shared_space_lowers_the_loss_of_the_centres(tilt, value):
    loss = float(subspace_limit(0.7, tilt, **POINT, **CLOUDS)) / 2
    assert loss == pytest.approx(value, abs=5e-5)


def test_pairs_away_from_the_centre_and_the_printed_theorem():
    exact = float(pair_limit(0.9, 0.7, **POINT, kappa=5.0))
    assert exact == pytest.approx(-1.78995, abs=5e-6)
    proof = float(theorem4_printed(0.9, 0.7, **POINT, kappa=5.0))
    printed = float(theorem4_printed(0.9, 0.7, **POINT, kappa=5.0, misprint=True))
    assert proof - exact == pytest.approx(0.21854, abs=5e-6)
    assert printed - exact == pytest.approx(0.69952, abs=5e-6)
    # at the centre S5 is theorem 3's value, one direction of it
    at_centre = float(pair_limit(0.0, 0.7, **POINT, kappa=5.0))
    assert at_centre == pytest.approx(subspace_minimum(0.7, **POINT, **CLOUDS) / 2, rel=1e-13)


def test_smallest_angle_is_not_best_for_pairs_far_from_the_centre():
    phi = np.linspace(0.1, 1.5, 57)
    settings = {"n_features": 512, "tau": 0.01, "kappa": 500.0}
    assert pair_limit(0.3, phi, **settings).argmin() == 0
    for theta in (0.9, 1.0, 1.2):
        assert pair_limit(theta, phi, **settings).argmin() > 0


positive = st.floats(0.02, 5.0)
concentration = st.floats(0.0, 2000.0)
dimension = st.integers(3, 4096)


@given(st.floats(-1, 1), concentration, positive, dimension)
def test_j_is_least_for_equal_centres(w, kappa, tau, n_features):
    order = n_features / 2 - 1
    here, best = (float(j(v, kappa=kappa, tau=tau, order=order)) for v in (w, 1.0))
    assert best <= here + 1e-9 * (1 + abs(here))


@given(st.floats(-1, 1), st.floats(-1, 1), concentration, positive, dimension)
def test_j_is_concave(first, second, kappa, tau, n_features):
    def value(w: float) -> float:
        return float(j(w, kappa=kappa, tau=tau, order=n_features / 2 - 1))

    chord = (value(first) + value(second)) / 2
    assert value((first + second) / 2) >= chord - 1e-9 * (1 + abs(chord))


@given(st.floats(0, np.pi), concentration, concentration, positive, dimension)
def test_cone_limit_is_least_without_a_gap(gap, kappa_x, kappa_y, tau, n_features):
    fixed = {"n_features": n_features, "tau": tau, "kappa_x": kappa_x, "kappa_y": kappa_y}
    here, best = float(cone_limit(gap, **fixed)), float(cone_limit(0.0, **fixed))
    assert best <= here + 1e-9 * (1 + abs(here))


angle = st.floats(0.01, 1.55)


@given(angle, angle, st.floats(0.1, 500.0), positive, dimension)
def test_among_perpendicular_centres_the_smallest_angle_is_best(one, other, kappa, tau, n_features):
    fixed = {"n_features": n_features, "tau": tau, "kappa_x": kappa, "kappa_y": kappa}
    low, high = (float(subspace_limit(phi, **fixed)) for phi in sorted((one, other)))
    assert low <= high + 1e-9 * (1 + abs(high))


@given(angle, st.floats(0, 1.5), st.floats(0.1, 500.0), positive, dimension)
def test_without_the_condition_the_loss_is_least_where_both_meet(phi, tilt, kappa, tau, n_features):
    fixed = {"n_features": n_features, "tau": tau, "kappa_x": kappa, "kappa_y": kappa}
    meeting, leaning = (float(subspace_limit(phi, v, **fixed)) for v in (np.pi / 2, tilt))
    assert meeting <= leaning + 1e-9 * (1 + abs(leaning))


def test_wide_clouds_in_circles_lose_by_leaning_a_little():
    """By an integral over both circles: what the formula gives rises before it falls."""
    phi, kappa, tau = 1.5, 3.0, 0.5
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    along = np.array([0.0, 0.0, 1.0])  # C, which both planes share
    across = [np.array([1.0, 0.0, 0.0]), np.array([np.cos(phi), np.sin(phi), 0.0])]

    def loss(tilt):
        centres = [np.cos(tilt) * side + np.sin(tilt) * along for side in across]
        total = 0.0
        for centre, plane in ((centres[0], across[1]), (centres[1], across[0])):
            other = centres[1] if centre is centres[0] else centres[0]
            points = np.cos(angles)[:, None] * plane + np.sin(angles)[:, None] * along
            density = np.exp(kappa * points @ other)
            mean = (density / density.sum()) @ np.exp(points @ centre / tau)
            total += np.log(mean) - other @ centre / tau
        return total

    fixed = {"n_features": 3, "tau": tau, "kappa_x": kappa, "kappa_y": kappa}
    found = [float(subspace_limit(phi, tilt, **fixed)) for tilt in (0.0, 0.3, 1.0)]
    np.testing.assert_allclose(found, [loss(tilt) for tilt in (0.0, 0.3, 1.0)], atol=1e-9)
    assert found[1] > found[0] > found[2]


def test_with_the_gap_imposed_the_perpendicular_and_the_smallest_angle_win():
    """Every tilt and φ with Δθ ≥ φ_min, on a grid that includes the boundary."""
    phi_min, fixed = 0.7, {**POINT, **CLOUDS}
    best = subspace_minimum(phi_min, **fixed)
    phi, tilt = np.meshgrid(np.linspace(phi_min, 1.55, 120), np.linspace(0, 1.5, 150))
    gap = np.arccos(1 - np.cos(tilt) ** 2 * (1 - np.cos(phi)))
    values = subspace_limit(phi, tilt, **fixed)
    allowed = gap >= phi_min - 1e-12
    assert values[allowed].min() == pytest.approx(best, abs=1e-12)
    assert values[~allowed].min() < best - 0.4


def test_uniform_cloud_has_no_preferred_direction():
    values = j_tilde(0.2, np.array([-0.9, 0.0, 0.9]), 1.0, kappa=0.0, tau=0.3, order=3.0)
    assert np.ptp(values) == 0


def test_opposite_parts_cancel_without_a_nan():
    """κ = 1/τ against the cloud: rounding leaves some squares just below 0."""
    for tau in np.linspace(0.05, 3, 200):
        left = float(tilted_concentration(-1.0, 1.0, kappa=1 / tau, tau=tau))
        assert left == pytest.approx(0, abs=1e-6)


def test_high_dimension_stays_finite():
    values = pair_limit(
        np.linspace(0, 1.5, 9), 0.7, n_features=4096, tau=0.01, kappa=np.float64(50)
    )
    assert np.isfinite(values).all()


def test_bad_input_is_refused_in_one_sentence():
    with pytest.raises(InputError, match="tau must be greater than 0, got 0"):
        unconstrained_limit(n_features=8, tau=0)
    with pytest.raises(InputError, match="n_features must be at least 3, got 2"):
        unconstrained_limit(n_features=2, tau=0.3)
    with pytest.raises(InputError, match="kappa must be at least 0, got -1"):
        j(1.0, kappa=-1, tau=0.3, order=3)
    with pytest.raises(InputError, match="cosine of anchor and partner must be between -1 and 1"):
        j(1.5, kappa=1, tau=0.3, order=3)
    with pytest.raises(InputError, match="length of the projected anchor must be between 0 and 1"):
        j_tilde(0, 0, -0.1, kappa=1, tau=0.3, order=3)
    with pytest.raises(InputError, match="gap angle must be between 0 and 3.14159, got 4"):
        cone_limit(4.0, **POINT, **CLOUDS)
    for phi in (0.0, np.pi / 2, -0.3, np.nan, 40.0):
        with pytest.raises(InputError, match="phi must be an angle in radians between 0 and π/2"):
            subspace_limit(phi, **POINT, **CLOUDS)
        with pytest.raises(InputError, match="phi must be an angle in radians between 0 and π/2"):
            pair_limit(0.2, phi, **POINT, kappa=5.0)
    with pytest.raises(InputError, match="tilt must be between 0 and 1.5708, got 2"):
        subspace_limit(0.7, 2.0, **POINT, **CLOUDS)
    with pytest.raises(InputError, match="theta must be between 0 and 1.5708, got -1"):
        theorem4_printed(-1.0, 0.7, **POINT, kappa=5.0)
