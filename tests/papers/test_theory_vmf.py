"""Von Mises-Fisher distributions, zones of the sphere, Bessel functions: by mpmath and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gammaln, ive

from fillgap.errors import InputError, InputTypeError
from fillgap.papers.theory import (
    estimate_concentration,
    half_space_probability,
    log_bessel_over_power,
    sample_vmf,
)
from fillgap.papers.theory.vmf import (
    bessel_ratio,
    concentration_from_length,
    expected_length,
    log_bessel,
    log_density,
    log_sphere_integral,
    mean_resultant_length,
)

mpmath = pytest.importorskip("mpmath")

DIMENSIONS = [2, 3, 8, 64, 512, 4096]
ORDERS = [0.0, 0.5, 1.0, 3.0, 7.5, 20.0, 29.99, 30.0, 31.0, 63.0, 255.5, 511.0, 2047.0, 6000.0]
ARGUMENTS = [1e-9, 1e-3, 0.5, 5.0, 20.0, 29.99, 30.01, 50.0, 300.0, 2e3, 2e4]


def axis(n_features: int) -> np.ndarray:
    return np.eye(1, n_features, n_features - 1)[0]


@pytest.mark.parametrize("order", ORDERS)
def test_bessel_functions_agree_with_mpmath(order):
    for x in ARGUMENTS:
        with mpmath.workdps(40):
            value, above = (mpmath.besseli(order + i, x, maxterms=10**6) for i in (0, 1))
            log = float(mpmath.log(value))
            over_power = float(mpmath.log(value) - order * mpmath.log(x))
            ratio = float(above / value)
        assert float(log_bessel(order, x)) == pytest.approx(log, rel=1e-12, abs=1e-12), x
        found = float(log_bessel_over_power(order, x))
        assert found == pytest.approx(over_power, rel=1e-12, abs=1e-12), x
        assert float(bessel_ratio(order, x)) == pytest.approx(ratio, rel=1e-12), x


def test_bessel_functions_where_scipy_works_and_where_it_underflows():
    order, x = np.meshgrid([0.0, 1.0, 3.0, 31.0], np.geomspace(0.5, 1e5, 40), indexing="ij")
    np.testing.assert_allclose(log_bessel(order, x), np.log(ive(order, x)) + x, rtol=1e-12)
    assert ive(2047, 50) == 0
    exact = float(mpmath.log(mpmath.besseli(2047, 50)))
    assert float(log_bessel(2047, 50)) == pytest.approx(exact, rel=1e-13)


def test_bessel_functions_neither_overflow_nor_jump_where_the_two_expansions_meet():
    x = np.linspace(29.999, 30.001, 201)
    for order in (0.0, 5.0):
        steps = np.diff(log_bessel(order, x))
        np.testing.assert_allclose(steps, steps.mean(), rtol=1e-3)
    assert np.isfinite(log_bessel(2047, np.array([1e-300, 1e12, 1e300]))).all()
    assert np.all(bessel_ratio(2047, np.array([1e12, 1e300])) <= 1)


def test_bessel_functions_at_zero():
    assert float(log_bessel(0, 0)) == 0
    assert float(log_bessel(3, 0)) == -np.inf
    for order in (0.0, 3.0, 2047.0):
        exact = -order * np.log(2) - float(mpmath.loggamma(order + 1))
        assert float(log_bessel_over_power(order, 0)) == pytest.approx(exact, rel=1e-14)
        assert float(bessel_ratio(order, 0)) == 0


@given(st.floats(0, 4000), st.floats(1e-3, 1e6))
def test_ratio_obeys_the_three_term_recurrence(order, x):
    below, above = float(bessel_ratio(order, x)), float(bessel_ratio(order + 1, x))
    assert 0 < above <= below < 1
    assert 1 / below == pytest.approx(above + 2 * (order + 1) / x, rel=1e-11)


@pytest.mark.parametrize("function", [log_bessel, log_bessel_over_power, bessel_ratio])
@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bessel_functions_refuse_what_is_not_covered(function, bad):
    with pytest.raises(InputError, match="order must be finite and at least 0"):
        function(bad, 1.0)
    with pytest.raises(InputError, match="x must be finite and at least 0"):
        function(1.0, np.array([1.0, bad]))


def test_density_in_three_dimensions_is_the_textbook_form():
    X = sample_vmf(axis(3), 4.0, 20, random_state=1)
    exact = 4.0 * X[:, -1] + np.log(4.0 / (4 * np.pi * np.sinh(4.0)))
    np.testing.assert_allclose(log_density(X, axis(3), 4.0), exact, rtol=1e-13)
    np.testing.assert_allclose(log_density(7 * X, axis(3), 0.0), -np.log(4 * np.pi), rtol=1e-13)


@pytest.mark.parametrize("n_features", [2, 3, 5, 40])
@pytest.mark.parametrize("kappa", [0.0, 0.7, 9.0, 120.0])
def test_density_integrates_to_one(n_features, kappa):
    """Zones of the sphere: their area per angle is area(S^{h−2}) sin^{h−2}."""
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
    if relative == 1.0:
        assert estimate_concentration(X) == pytest.approx(kappa, rel=0.06)


@given(st.integers(2, 4096), st.floats(-3, 6))
def test_concentration_inverts_the_expected_length(n_features, exponent):
    kappa = 10.0**exponent
    length = float(expected_length(kappa, n_features))
    # 1 − A_h(κ) ≈ (h − 1)/2κ holds that many digits fewer
    tolerance = 1e-9 * max(1.0, kappa / n_features)
    assert concentration_from_length(length, n_features) == pytest.approx(kappa, rel=tolerance)


def test_lengths_that_are_known():
    kappa = np.array([0.5, 3.0, 40.0])
    langevin = 1 / np.tanh(kappa) - 1 / kappa
    np.testing.assert_allclose(expected_length(kappa, 3), langevin, rtol=1e-12)
    assert concentration_from_length(0.0, 3) == 0
    X = np.array([[2.0, 0.0], [0.0, 5.0]])
    assert mean_resultant_length(X) == pytest.approx(np.sqrt(0.5))


def test_the_seed_decides_and_directions_do_not_depend_on_kappa():
    loose, tight = (sample_vmf(axis(5), kappa, 50, random_state=8) for kappa in (1.0, 80.0))
    np.testing.assert_array_equal(loose, sample_vmf(axis(5), 1.0, 50, random_state=8))
    around = [
        part[:, :-1] / np.linalg.norm(part[:, :-1], axis=1)[:, None] for part in (loose, tight)
    ]
    np.testing.assert_allclose(*around, atol=1e-12)


# Lemma 15's table is checked by `fillgap theory`, value by value (test_theory_page).
@pytest.mark.parametrize("n_features", [2, 3, 8, 512, 4096])
@pytest.mark.parametrize("kappa", [0.0, 1e-3, 1.0, 10.0, 300.0])
def test_half_space_probability_against_the_struve_function(n_features, kappa):
    with mpmath.workdps(40):
        order = mpmath.mpf(n_features) / 2 - 1
        ratio = mpmath.struvel(order, kappa) / mpmath.besseli(order, kappa) if kappa else 0
        exact = float((1 + ratio) / 2)
    assert half_space_probability(kappa, n_features) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("n_features", [2, 3, 9, 300, 4096])
@pytest.mark.parametrize("kappa", [0.0, 0.4, 25.0, 4e3, 1e8])
def test_whole_sphere_integral_is_the_bessel_function(n_features, kappa):
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


KAPPA = "kappa must be (finite and )?at least 0"


@pytest.mark.parametrize(
    ("function", "arguments", "sentence"),
    [
        *((sample_vmf, (axis(3), kappa, 10), KAPPA) for kappa in (-1.0, np.nan, np.inf)),
        (log_density, (np.eye(3), axis(3), -1.0), KAPPA),
        (half_space_probability, (-2, 8), KAPPA),
        (expected_length, (-1.0, 3), "must be finite and at least 0"),
        (sample_vmf, (2 * axis(3), 1.0, 10), "centre must be of length 1, got length 2"),
        (sample_vmf, (np.eye(3), 1.0, 10), "centre must be a vector of at least 2 entries"),
        (sample_vmf, (axis(3), 1.0, 0), "n_samples must be at least 1, got 0"),
        (sample_vmf, (axis(3), 1.0, 2.5), "n_samples must be an integer"),
        (log_density, (np.eye(3), axis(4), 1.0), "centre must be of the dimension of X, 3, got 4"),
        (expected_length, (1.0, 1), "n_features must be at least 2"),
        (half_space_probability, (2, 1), "n_features must be at least 2, got 1"),
        (concentration_from_length, (1.0, 3), "mean resultant length must be at least 0 and less"),
        (concentration_from_length, (-0.1, 3), "mean resultant length must be at least 0 and less"),
        (estimate_concentration, (np.ones((4, 3)),), "mean resultant length"),
        (log_sphere_integral, (1, 8, 0.5, 0.5), "high must be greater than 0.5 and at most 1"),
    ],
)
def test_refusals(function, arguments, sentence):
    with pytest.raises((InputError, InputTypeError), match=sentence):
        function(*arguments)
