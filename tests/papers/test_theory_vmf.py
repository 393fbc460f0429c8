"""The von Mises-Fisher distribution: density, sampler, concentration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fillgap.errors import InputError, InputTypeError
from fillgap.papers.theory import estimate_concentration, sample_vmf
from fillgap.papers.theory.vmf import (
    concentration_from_length,
    expected_length,
    log_density,
    mean_resultant_length,
)

DIMENSIONS = [2, 3, 8, 64, 512, 4096]


def axis(n_features: int) -> np.ndarray:
    return np.eye(1, n_features, n_features - 1)[0]


def test_density_in_three_dimensions_is_the_textbook_form():
    X = sample_vmf(axis(3), 4.0, 20, random_state=1)
    exact = 4.0 * X[:, -1] + np.log(4.0 / (4 * np.pi * np.sinh(4.0)))
    np.testing.assert_allclose(log_density(X, axis(3), 4.0), exact, rtol=1e-13)
    np.testing.assert_allclose(log_density(7 * X, axis(3), 0.0), -np.log(4 * np.pi), rtol=1e-13)


@pytest.mark.parametrize("n_features", [2, 3, 5, 40])
@pytest.mark.parametrize("kappa", [0.0, 0.7, 9.0, 120.0])
def test_density_integrates_to_one(n_features, kappa):
    """Zones of the sphere: their area per angle is area(S^{h−2}) sin^{h−2}."""
    from scipy.special import gammaln

    angle = np.linspace(0, np.pi, 20001)
    X = np.zeros((angle.size, n_features))
    X[:, 0], X[:, -1] = np.sin(angle), np.cos(angle)
    half = (n_features - 1) / 2
    log_area = np.log(2) + half * np.log(np.pi) - gammaln(half)
    heights = np.exp(log_density(X, axis(n_features), kappa) + log_area)
    heights = heights * np.sin(angle) ** (n_features - 2)
    assert np.trapezoid(heights, angle) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("n_features", DIMENSIONS)
@pytest.mark.parametrize("relative", [0.0, 0.05, 1.0, 30.0])
def test_sample_moments(n_features, relative):
    """Mean and variance of c·z, and nothing but noise elsewhere, within 5 standard errors."""
    kappa, n = relative * n_features, 3000
    X = sample_vmf(axis(n_features), kappa, n, random_state=3)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1, rtol=1e-12)
    length = float(expected_length(kappa, n_features))
    variance = 1 - length**2 - (n_features - 1) * (length / kappa if kappa else 1 / n_features)
    cosine = X[:, -1]
    assert abs(cosine.mean() - length) < 5 * np.sqrt(variance / n)
    assert cosine.var() == pytest.approx(variance, rel=0.2)
    across = np.sqrt((1 - (length**2 + variance)) / (n_features - 1) / n)
    assert np.all(np.abs(X[:, :-1].mean(axis=0)) < 5.5 * across)


@pytest.mark.parametrize("n_features", DIMENSIONS)
def test_concentration_is_recovered_from_a_sample(n_features):
    kappa = 2.0 * n_features
    X = sample_vmf(axis(n_features), kappa, 4000, random_state=5)
    assert estimate_concentration(X) == pytest.approx(kappa, rel=0.06)


@given(st.integers(2, 4096), st.floats(-3, 6))
def test_concentration_inverts_the_expected_length(n_features, exponent):
    kappa = 10.0**exponent
    length = float(expected_length(kappa, n_features))
    # 1 − A_h(κ) ≈ (h − 1)/2κ holds that many digits fewer
    tolerance = 1e-9 * max(1.0, kappa / n_features)
    assert concentration_from_length(length, n_features) == pytest.approx(kappa, rel=tolerance)


def test_expected_length_in_three_dimensions_is_langevin():
    kappa = np.array([0.5, 3.0, 40.0])
    np.testing.assert_allclose(
        expected_length(kappa, 3), 1 / np.tanh(kappa) - 1 / kappa, rtol=1e-12
    )
    assert concentration_from_length(0.0, 3) == 0


def test_mean_resultant_length_of_known_rows():
    X = np.array([[2.0, 0.0], [0.0, 5.0]])
    assert mean_resultant_length(X) == pytest.approx(np.sqrt(0.5))
    assert mean_resultant_length(np.array([[1.0, 0.0], [-1.0, 0.0]])) == 0


def test_the_seed_decides_and_directions_do_not_depend_on_kappa():
    loose, tight = (sample_vmf(axis(5), kappa, 50, random_state=8) for kappa in (1.0, 80.0))
    np.testing.assert_array_equal(loose, sample_vmf(axis(5), 1.0, 50, random_state=8))
    around = [
        part[:, :-1] / np.linalg.norm(part[:, :-1], axis=1)[:, None] for part in (loose, tight)
    ]
    np.testing.assert_allclose(*around, atol=1e-12)


@pytest.mark.parametrize("kappa", [-1.0, np.nan, np.inf])
def test_refuses_a_wrong_concentration(kappa):
    with pytest.raises(InputError, match="kappa must be (finite and )?at least 0"):
        sample_vmf(axis(3), kappa, 10)
    with pytest.raises(InputError, match="kappa must be (finite and )?at least 0"):
        log_density(np.eye(3), axis(3), kappa)
    with pytest.raises(InputError, match="must be finite and at least 0"):
        expected_length(kappa, 3)


def test_refuses_other_wrong_input():
    with pytest.raises(InputError, match="centre must be of length 1, got length 2"):
        sample_vmf(2 * axis(3), 1.0, 10)
    with pytest.raises(InputError, match="centre must be a vector of at least 2 entries"):
        sample_vmf(np.eye(3), 1.0, 10)
    with pytest.raises(InputError, match="n_samples must be at least 1, got 0"):
        sample_vmf(axis(3), 1.0, 0)
    with pytest.raises(InputTypeError, match="n_samples must be an integer"):
        sample_vmf(axis(3), 1.0, 2.5)
    with pytest.raises(InputError, match="centre must be of the dimension of X, 3, got 4"):
        log_density(np.eye(3), axis(4), 1.0)
    with pytest.raises(InputError, match="n_features must be at least 2"):
        expected_length(1.0, 1)
    for length in (1.0, -0.1):
        with pytest.raises(InputError, match="mean resultant length must be at least 0 and less"):
            concentration_from_length(length, 3)
    with pytest.raises(InputError, match="mean resultant length"):
        estimate_concentration(np.ones((4, 3)))
