"""Lemma 12, lemma 15, and the integral over zones of the sphere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from fillgap.errors import InputError
from fillgap.papers.theory import (
    HyperplanePair,
    half_space_probability,
    log_bessel_over_power,
    reach,
    sample_vmf,
)
from fillgap.papers.theory.vmf import log_sphere_integral

TABLE = {
    128: {1: 0.5353, 5: 0.6710, 10: 0.8117, 20: 0.9609, 30: 0.9956, 50: 1.0},
    512: {1: 0.5176, 5: 0.5875, 10: 0.6708, 20: 0.8116, 30: 0.9075, 50: 0.9863},
    1024: {1: 0.5125, 5: 0.5621, 10: 0.6227, 20: 0.7340, 30: 0.8258, 50: 0.9409, 100: 0.9991},
}


@pytest.mark.parametrize("n_features", TABLE)
def test_half_space_probability_table(n_features):
    for kappa, printed in TABLE[n_features].items():
        assert half_space_probability(kappa, n_features) == pytest.approx(printed, abs=1e-4)


@pytest.mark.parametrize("n_features", [2, 3, 8, 512, 4096])
@pytest.mark.parametrize("kappa", [0.0, 1e-3, 1.0, 10.0, 300.0])
def test_half_space_probability_against_the_struve_function(n_features, kappa):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        order = mpmath.mpf(n_features) / 2 - 1
        ratio = mpmath.struvel(order, kappa) / mpmath.besseli(order, kappa) if kappa else 0
        exact = float((1 + ratio) / 2)
    assert half_space_probability(kappa, n_features) == pytest.approx(exact, abs=1e-12)


def test_half_space_probability_by_counting():
    X = sample_vmf(np.eye(1, 8)[0], 2.0, 40000, random_state=2)
    share = (X[:, 0] >= 0).mean()
    assert share == pytest.approx(half_space_probability(2.0, 8), abs=4 * 0.5 / 200)


@pytest.mark.parametrize("n_features", [2, 3, 9, 300, 4096])
@pytest.mark.parametrize("kappa", [0.0, 0.4, 25.0, 4e3, 1e8])
def test_whole_sphere_integral_is_the_bessel_function(n_features, kappa):
    from scipy.special import gammaln

    order = n_features / 2 - 1
    exact = log_bessel_over_power(order, kappa) + order * np.log(2)
    exact += gammaln((n_features - 1) / 2) + np.log(np.pi) / 2
    assert log_sphere_integral(kappa, n_features) == pytest.approx(exact, rel=1e-12, abs=1e-11)


@given(st.integers(3, 400), st.floats(0, 200), st.floats(-0.95, 0.9))
def test_zones_add_up(n_features, kappa, cut):
    parts = [log_sphere_integral(kappa, n_features, *z) for z in ((-1, cut), (cut, 1))]
    assert np.logaddexp(*parts) == pytest.approx(log_sphere_integral(kappa, n_features), abs=1e-10)


def test_zone_integral_by_scipy():
    exact = quad(lambda u: np.exp(3 * u) * (1 - u**2) ** 2.5, -0.3, 0.6)[0]
    assert log_sphere_integral(3.0, 8, -0.3, 0.6) == pytest.approx(np.log(exact), rel=1e-11)


@given(st.integers(3, 20), st.floats(0.05, 1.5), st.integers(0, 2**32 - 1))
def test_no_unit_vector_of_b_exceeds_the_reach(n_features, phi, seed):
    pair, rng = HyperplanePair(n_features, phi), np.random.default_rng(seed)
    X, Y = (rng.normal(size=(30, n_features - 1)) for _ in range(2))
    X = X / np.linalg.norm(X, axis=1)[:, None] @ pair.basis_x.T
    Y = Y / np.linalg.norm(Y, axis=1)[:, None] @ pair.basis_y.T
    bound = reach(X, pair.basis_y)
    assert np.all(np.abs(X @ Y.T) <= bound[:, None] + 1e-12)
    best = X @ pair.basis_y @ pair.basis_y.T
    best /= np.linalg.norm(best, axis=1)[:, None]
    np.testing.assert_allclose((X * best).sum(axis=1), bound, atol=1e-12)


def test_bad_input():
    with pytest.raises(InputError, match="kappa must be at least 0, got -2"):
        half_space_probability(-2, 8)
    with pytest.raises(InputError, match="n_features must be at least 2, got 1"):
        half_space_probability(2, 1)
    with pytest.raises(InputError, match="high must be greater than 0.5 and at most 1"):
        log_sphere_integral(1, 8, 0.5, 0.5)
    with pytest.raises(InputError, match="basis must be of orthonormal columns"):
        reach(np.eye(3), np.ones((3, 2)))
    for basis in (np.eye(4), np.zeros((3, 0)), np.ones(3)):
        with pytest.raises(InputError, match=r"basis must be of shape \(3, dimension\)"):
            reach(np.eye(3), basis)
