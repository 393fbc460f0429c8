"""The limits of the loss: golden values, integrals by brute force, sampling, and their minima."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gamma, iv

from fillgap.errors import InputError
from fillgap.papers.theory import (
    HyperplanePair,
    anchor_loss,
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


positive = st.floats(0.02, 5.0)
concentration = st.floats(0.0, 2000.0)
dimension = st.integers(3, 4096)
angle = st.floats(0.01, 1.55)


def no_more(best: float, here: float) -> bool:
    return best <= here + 1e-9 * (1 + abs(here))


@given(st.floats(-1, 1), st.floats(-1, 1), concentration, positive, dimension)
def test_j_is_concave_and_least_for_equal_centres(first, second, kappa, tau, n_features):
    def value(w: float) -> float:
        return float(j(w, kappa=kappa, tau=tau, order=n_features / 2 - 1))

    assert no_more((value(first) + value(second)) / 2, value((first + second) / 2))
    assert no_more(value(1.0), value(first))


@given(st.floats(0, np.pi), concentration, concentration, positive, dimension)
def test_cone_limit_is_least_without_a_gap(gap, kappa_x, kappa_y, tau, n_features):
    fixed = {"n_features": n_features, "tau": tau, "kappa_x": kappa_x, "kappa_y": kappa_y}
    assert no_more(float(cone_limit(0.0, **fixed)), float(cone_limit(gap, **fixed)))


@given(angle, angle, st.floats(0, 1.5), st.floats(0.1, 500.0), positive, dimension)
def test_the_smallest_angle_is_best_among_perpendicular_centres_and_none_in_the_shared_space(
    one, other, tilt, kappa, tau, n_features
):
    fixed = {"n_features": n_features, "tau": tau, "kappa_x": kappa, "kappa_y": kappa}
    assert no_more(*(float(subspace_limit(phi, **fixed)) for phi in sorted((one, other))))
    assert no_more(*(float(subspace_limit(one, v, **fixed)) for v in (np.pi / 2, tilt)))


def test_wide_clouds_in_circles_lose_by_leaning_a_little():
    """By an integral over both circles: what the formula gives rises before it falls."""
    phi, kappa, tau = 1.5, 3.0, 0.5
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    along = np.array([0.0, 0.0, 1.0])  # C, which both planes share
    across = [np.array([1.0, 0.0, 0.0]), np.array([np.cos(phi), np.sin(phi), 0.0])]

    def loss(tilt):
        centres = [np.cos(tilt) * side + np.sin(tilt) * along for side in across]
        total = 0.0
        for centre, other, plane in ((*centres, across[1]), (*centres[::-1], across[0])):
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


def test_opposite_parts_cancel_without_a_nan():
    """κ = 1/τ against the cloud: rounding leaves some squares just below 0."""
    for tau in np.linspace(0.05, 3, 200):
        left = float(tilted_concentration(-1.0, 1.0, kappa=1 / tau, tau=tau))
        assert left == pytest.approx(0, abs=1e-6)


# Sampling and quadrature against the closed forms; `leaning` itself is checked by hand first.


def pair_at(theta: float, phi: float, n_features: int) -> dict:
    """A pair at θ from centres perpendicular to C, with the cloud of the other side."""
    planes = HyperplanePair(n_features, phi)
    anchor, partner = planes.leaning(theta)
    cosine = np.sin(theta) ** 2 + np.cos(theta) ** 2 * np.cos(phi)
    assert anchor @ partner == pytest.approx(cosine, abs=1e-12)
    centre, basis = planes.basis_y[:, -1], planes.basis_y
    return {"anchor": anchor, "partner": partner, "centre": centre, "basis": basis}


@pytest.mark.parametrize("method", ["plain", "tilted"])
@pytest.mark.parametrize("gap", [0.0, 0.8, 2.5])
def test_centres_of_cones(method, gap):
    c_x, c_y = np.eye(8)[0], np.cos(gap) * np.eye(8)[0] + np.sin(gap) * np.eye(8)[1]
    found = [
        anchor_loss(a, b, b, kappa=kappa, tau=0.3, method=method, random_state=4)
        for a, b, kappa in ((c_x, c_y, 5.0), (c_y, c_x, 9.0))
    ]
    limit = float(cone_limit(gap, n_features=8, tau=0.3, kappa_x=9.0, kappa_y=5.0))
    error = np.hypot(found[0].standard_error, found[1].standard_error)
    assert 0 < error < 0.02
    assert abs(found[0].value + found[1].value - limit) < 4 * error
    assert found[0].method == method


@pytest.mark.parametrize("method", ["plain", "tilted"])
def test_pair_away_from_the_centre_and_the_printed_theorem(method):
    found = anchor_loss(**pair_at(0.9, 0.7, 8), kappa=5, tau=0.3, method=method)
    exact = pair_limit(0.9, 0.7, n_features=8, tau=0.3, kappa=5)
    assert abs(found.value - exact) < 4 * found.standard_error < 0.02
    printed = theorem4_printed(0.9, 0.7, n_features=8, tau=0.3, kappa=5)
    assert abs(found.value - printed) > 40 * found.standard_error


@pytest.mark.parametrize(
    ("n_features", "tau", "kappa"), [(8, 0.3, 5), (3, 0.02, 0), (512, 0.01, 500), (4096, 0.01, 50)]
)
def test_quadrature_agrees_to_rounding(n_features, tau, kappa):
    found = anchor_loss(**pair_at(0.9, 0.7, n_features), kappa=kappa, tau=tau, method="quadrature")
    exact = float(pair_limit(0.9, 0.7, n_features=n_features, tau=tau, kappa=kappa))
    assert found.value == pytest.approx(exact, rel=1e-10)
    assert (found.standard_error, found.n_samples, found.method) == (0.0, 0, "quadrature")


@pytest.mark.parametrize("method", ["plain", "tilted"])
def test_standard_error_covers_the_truth(method):
    """Over 60 seeds the deviations in units of the stated error have about unit variance."""
    exact = float(pair_limit(0.9, 0.7, n_features=8, tau=0.3, kappa=5))
    at = {**pair_at(0.9, 0.7, 8), "kappa": 5, "tau": 0.3, "n_samples": 2000, "method": method}
    runs = [anchor_loss(**at, random_state=seed) for seed in range(60)]
    scaled = [(run.value - exact) / run.standard_error for run in runs]
    assert 0.7 < np.std(scaled) < 1.4
    assert abs(np.mean(scaled)) < 0.6


def test_seed_and_blocks(monkeypatch):
    at = {**pair_at(0.9, 0.7, 8), "kappa": 5, "tau": 0.3, "n_samples": 1000}
    whole = anchor_loss(**at)
    assert whole == anchor_loss(**at)
    monkeypatch.setattr("fillgap.papers.theory.monte_carlo._BLOCK", 300)
    blocked = anchor_loss(**at)
    assert blocked.n_samples == whole.n_samples == 1000
    assert abs(blocked.value - whole.value) < 6 * whole.standard_error


AT = {**pair_at(0.9, 0.7, 8), "kappa": 5, "tau": 0.3}
PHI = "phi must be an angle in radians between 0 and π/2"


@pytest.mark.parametrize(
    ("function", "arguments", "options", "sentence"),
    [
        (unconstrained_limit, (), {"n_features": 8, "tau": 0}, "tau must be greater than 0, got 0"),
        (unconstrained_limit, (), {**POINT, "n_features": 2}, "n_features must be at least 3"),
        (j, (1.0,), {"kappa": -1, "tau": 0.3, "order": 3}, "kappa must be at least 0, got -1"),
        (j, (1.5,), {"kappa": 1, "tau": 0.3, "order": 3}, "partner must be between -1 and 1"),
        (j_tilde, (0, 0, -0.1), {"kappa": 1, "tau": 0.3, "order": 3},
         "length of the projected anchor must be between 0 and 1"),
        (cone_limit, (4.0,), {**POINT, **CLOUDS}, "gap angle must be between 0 and 3.14159, got 4"),
        *((subspace_limit, (phi,), {**POINT, **CLOUDS}, PHI)
          for phi in (0.0, np.pi / 2, -0.3, np.nan, 40.0)),
        (pair_limit, (0.2, np.pi / 2), {**POINT, "kappa": 5.0}, PHI),
        (subspace_limit, (0.7, 2.0), {**POINT, **CLOUDS}, "tilt must be between 0 and 1.5708"),
        (theorem4_printed, (-1.0, 0.7), {**POINT, "kappa": 5.0}, "theta must be between 0 and 1.5"),
        (anchor_loss, (), {**AT, "tau": -1}, "tau must be greater than 0, got -1"),
        (anchor_loss, (), {**AT, "kappa": -5}, "kappa must be at least 0"),
        (anchor_loss, (), {**AT, "anchor": 2 * AT["anchor"]}, "anchor must be of length 1, got le"),
        (anchor_loss, (), {**AT, "centre": np.eye(8)[6]}, "centre must be in the subspace of its"),
        (anchor_loss, (), {**AT, "method": "magic"}, "method must be one of 'auto', 'plain'"),
        (anchor_loss, (), {**AT, "n_samples": 5}, "n_samples must be at least 100, got 5"),
    ],
)  # fmt: skip
def test_refusals(function, arguments, options, sentence):
    with pytest.raises(InputError, match=sentence):
        function(*arguments, **options)
