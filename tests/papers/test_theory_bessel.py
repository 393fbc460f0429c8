"""log I_ν and its ratio against mpmath, SciPy and the recurrence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ive

from fillgap.errors import InputError
from fillgap.papers.theory import log_bessel_over_power
from fillgap.papers.theory.vmf import bessel_ratio, log_bessel

mpmath = pytest.importorskip("mpmath")

ORDERS = [0.0, 0.5, 1.0, 3.0, 7.5, 20.0, 29.99, 30.0, 31.0, 63.0, 255.5, 511.0, 2047.0, 6000.0]
ARGUMENTS = [1e-9, 1e-3, 0.5, 5.0, 20.0, 29.99, 30.01, 50.0, 300.0, 2e3, 2e4]


def exact_bessel(order: float, x: float):
    return mpmath.besseli(order, x, maxterms=10**6)


def exact_log(order: float, x: float) -> float:
    with mpmath.workdps(40):
        return float(mpmath.log(exact_bessel(order, x)))


def exact_log_over_power(order: float, x: float) -> float:
    with mpmath.workdps(40):
        return float(mpmath.log(exact_bessel(order, x)) - order * mpmath.log(x))


def exact_ratio(order: float, x: float) -> float:
    with mpmath.workdps(40):
        return float(exact_bessel(order + 1, x) / exact_bessel(order, x))


@pytest.mark.parametrize("order", ORDERS)
def test_logarithms_agree_with_mpmath(order):
    for x in ARGUMENTS:
        close = pytest.approx(exact_log(order, x), rel=1e-12, abs=1e-12)
        assert float(log_bessel(order, x)) == close, x
        close = pytest.approx(exact_log_over_power(order, x), rel=1e-12, abs=1e-12)
        assert float(log_bessel_over_power(order, x)) == close, x


@pytest.mark.parametrize("order", ORDERS)
def test_ratio_agrees_with_mpmath(order):
    for x in ARGUMENTS:
        assert float(bessel_ratio(order, x)) == pytest.approx(exact_ratio(order, x), rel=1e-12), x


def test_where_exponential_scaling_underflows_the_logarithm_is_still_exact():
    assert ive(2047, 50) == 0
    assert float(log_bessel(2047, 50)) == pytest.approx(exact_log(2047, 50), rel=1e-13)


def test_agrees_with_scipy_where_scipy_works():
    order, x = np.meshgrid([0.0, 1.0, 3.0, 31.0], np.geomspace(0.5, 1e5, 40), indexing="ij")
    np.testing.assert_allclose(log_bessel(order, x), np.log(ive(order, x)) + x, rtol=1e-12)


def test_nothing_overflows_or_jumps_where_the_two_expansions_meet():
    x = np.linspace(29.999, 30.001, 201)
    for order in (0.0, 5.0):
        steps = np.diff(log_bessel(order, x))
        np.testing.assert_allclose(steps, steps.mean(), rtol=1e-3)
    assert np.isfinite(log_bessel(2047, np.array([1e-300, 1e12, 1e300]))).all()
    assert np.all(bessel_ratio(2047, np.array([1e12, 1e300])) <= 1)


def test_at_zero():
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


@given(st.floats(0, 4000), st.floats(1e-2, 1e5))
def test_ratio_is_the_slope_of_the_logarithm(order, x):
    step = 1e-5 * max(x, 1.0)
    logs = log_bessel_over_power(order, np.array([max(x - step, 0), x + step]))
    slope = float(logs[1] - logs[0]) / (x + step - max(x - step, 0))
    assert slope == pytest.approx(float(bessel_ratio(order, x)), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("function", [log_bessel, log_bessel_over_power, bessel_ratio])
@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_refuses_what_is_not_covered(function, bad):
    with pytest.raises(InputError, match="order must be finite and at least 0"):
        function(bad, 1.0)
    with pytest.raises(InputError, match="x must be finite and at least 0"):
        function(1.0, np.array([1.0, bad]))
