"""Sampling and quadrature against the closed forms of theorems 2, 3 and S5."""

from __future__ import annotations

import numpy as np
import pytest

from fillgap.errors import InputError
from fillgap.papers.theory import (
    HyperplanePair,
    anchor_loss,
    cone_limit,
    pair_limit,
    subspace_limit,
    theorem4_printed,
)


def pair_at(theta: float, phi: float, n_features: int) -> dict:
    """A pair at θ from centres perpendicular to C, with the cloud of the other side."""
    planes = HyperplanePair(n_features, phi)
    inside = np.zeros(n_features - 1)
    inside[0], inside[-1] = np.sin(theta), np.cos(theta)
    return {
        "anchor": planes.basis_x @ inside,
        "partner": planes.basis_y @ inside,
        "centre": planes.basis_y[:, -1],
        "basis": planes.basis_y,
    }


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


@pytest.mark.parametrize("tilt", [0.0, 0.6, 1.2, np.pi / 2])
def test_centres_in_hyperplanes(tilt):
    planes, inside = HyperplanePair(8, 0.7), np.zeros(7)
    inside[0], inside[-1] = np.sin(tilt), np.cos(tilt)
    c_x, c_y = planes.basis_x @ inside, planes.basis_y @ inside
    found = anchor_loss(c_x, c_y, c_y, kappa=5, tau=0.3, basis=planes.basis_y, n_samples=400_000)
    limit = subspace_limit(0.7, tilt, n_features=8, tau=0.3, kappa_x=5, kappa_y=5) / 2
    assert found.method == "plain"
    assert abs(found.value - limit) < 4 * found.standard_error < 0.01


@pytest.mark.parametrize("method", ["plain", "tilted"])
def test_pair_away_from_the_centre_and_the_printed_theorem(method):
    found = anchor_loss(**pair_at(0.9, 0.7, 8), kappa=5, tau=0.3, method=method)
    exact = pair_limit(0.9, 0.7, n_features=8, tau=0.3, kappa=5)
    assert abs(found.value - exact) < 4 * found.standard_error < 0.02
    printed = theorem4_printed(0.9, 0.7, n_features=8, tau=0.3, kappa=5)
    assert abs(found.value - printed) > 40 * found.standard_error


@pytest.mark.parametrize("theta", [0.0, 0.9, 1.4])
def test_where_plain_sampling_fails_the_tilted_sampler_does_not(theta):
    """512 dimensions at τ = .01: 1/(hτ²) = 20."""
    found = anchor_loss(**pair_at(theta, 0.7, 512), kappa=500, tau=0.01, n_samples=8000)
    exact = float(pair_limit(theta, 0.7, n_features=512, tau=0.01, kappa=500))
    assert found.method == "tilted"
    assert abs(found.value - exact) < 4 * found.standard_error < 0.2


@pytest.mark.parametrize(
    ("n_features", "tau", "kappa"), [(8, 0.3, 5), (3, 0.02, 0), (512, 0.01, 500), (4096, 0.01, 50)]
)
def test_quadrature_agrees_to_rounding(n_features, tau, kappa):
    found = anchor_loss(**pair_at(0.9, 0.7, n_features), kappa=kappa, tau=tau, method="quadrature")
    exact = float(pair_limit(0.9, 0.7, n_features=n_features, tau=tau, kappa=kappa))
    assert found.value == pytest.approx(exact, rel=1e-10)
    assert (found.standard_error, found.n_samples, found.method) == (0.0, 0, "quadrature")


def test_standard_error_covers_the_truth():
    """Over 60 seeds the deviations in units of the stated error have about unit variance."""
    exact = float(pair_limit(0.9, 0.7, n_features=8, tau=0.3, kappa=5))
    for method in ("plain", "tilted"):
        runs = [
            anchor_loss(
                **pair_at(0.9, 0.7, 8),
                kappa=5,
                tau=0.3,
                method=method,
                n_samples=2000,
                random_state=seed,
            )
            for seed in range(60)
        ]
        scaled = [(run.value - exact) / run.standard_error for run in runs]
        assert 0.7 < np.std(scaled) < 1.4
        assert abs(np.mean(scaled)) < 0.6


def test_seed_and_blocks(monkeypatch):
    whole = anchor_loss(**pair_at(0.9, 0.7, 8), kappa=5, tau=0.3, n_samples=1000)
    assert whole == anchor_loss(**pair_at(0.9, 0.7, 8), kappa=5, tau=0.3, n_samples=1000)
    monkeypatch.setattr("fillgap.papers.theory.monte_carlo._BLOCK", 300)
    blocked = anchor_loss(**pair_at(0.9, 0.7, 8), kappa=5, tau=0.3, n_samples=1000)
    assert blocked.n_samples == whole.n_samples == 1000
    assert abs(blocked.value - whole.value) < 6 * whole.standard_error


def test_bad_input():
    at = pair_at(0.9, 0.7, 8)
    with pytest.raises(InputError, match="tau must be greater than 0, got -1"):
        anchor_loss(**at, kappa=5, tau=-1)
    with pytest.raises(InputError, match="kappa must be at least 0"):
        anchor_loss(**at, kappa=-5, tau=0.3)
    with pytest.raises(InputError, match="anchor must be of length 1, got length 2"):
        anchor_loss(**{**at, "anchor": 2 * at["anchor"]}, kappa=5, tau=0.3)
    with pytest.raises(InputError, match="centre must be in the subspace of its cloud"):
        anchor_loss(**{**at, "centre": np.eye(8)[6]}, kappa=5, tau=0.3)
    with pytest.raises(InputError, match="method must be one of 'auto', 'plain'"):
        anchor_loss(**at, kappa=5, tau=0.3, method="magic")
    with pytest.raises(InputError, match="n_samples must be at least 100, got 5"):
        anchor_loss(**at, kappa=5, tau=0.3, n_samples=5)
