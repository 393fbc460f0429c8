"""The contrastive loss against a slow form, and every gradient against finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fillgap.errors import InputError
from fillgap.papers.theory import (
    Cone,
    ConePoints,
    HyperplanePair,
    Subspace,
    SubspacePoints,
    Unconstrained,
    batch_loss,
)
from fillgap.papers.theory.loss import batch_loss_gradient, centre_loss_gradient
from fillgap.papers.theory.settings import State, carry, unit
from fillgap.papers.theory.simulator import embed, free_gradients


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
def test_batch_loss_is_the_definition(tau):
    X, Y = unit_rows(9, 4, 0), unit_rows(9, 4, 1)
    exact = slow_loss(X, Y, tau)
    assert batch_loss(3 * X, 0.1 * Y, tau=tau) == pytest.approx(exact, rel=1e-12)
    assert batch_loss_gradient(X, Y, 1.0, tau, np.float32).loss == pytest.approx(exact, rel=1e-5)


def test_loss_in_hyperplanes_is_the_loss_in_the_whole_space():
    X, Y, planes = unit_rows(9, 4, 0), unit_rows(9, 4, 1), HyperplanePair(5, 0.7)
    inside = batch_loss_gradient(X, Y, np.cos(0.7), 0.3).loss
    whole = batch_loss(X @ planes.basis_x.T, Y @ planes.basis_y.T, tau=0.3)
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


def test_one_exponential_or_two_give_the_same():
    from fillgap.papers.theory.loss import _softmax, _softmax_both_ways

    scores = np.random.default_rng(0).normal(size=(7, 7))
    sums, weights = _softmax_both_ways(scores.copy())
    by_row, by_column = _softmax(scores), _softmax(scores.T)
    np.testing.assert_allclose(sums, by_row[0] + by_column[0], rtol=1e-13)
    np.testing.assert_allclose(weights, by_row[1] + by_column[1].T, rtol=1e-12)


SETTINGS = [
    Unconstrained(),
    Cone(kappa_x=4, kappa_y=9),
    ConePoints(half_angle=1.2),
    Subspace(kappa_x=4, kappa_y=9, condition="none"),
    Subspace(condition="perpendicular"),
    SubspacePoints(),
]


def loss_at(state: State, objective: str, tau: float = 0.4) -> float:
    X, Y = state.points
    if objective == "centre":
        return centre_loss_gradient(X, Y, state.centres, np.cos(state.phi), tau).loss
    return batch_loss(*embed(state), tau=tau)


CASES = [(setting, "batch") for setting in SETTINGS]
CASES += [(setting, "centre") for setting in SETTINGS if "reference" not in setting.free]


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
    np.testing.assert_allclose(
        carry(carry(np.eye(5), start, end), end, start), np.eye(5), atol=1e-12
    )


def test_bad_input():
    X = unit_rows(4, 3, 0)
    with pytest.raises(InputError, match="tau must be greater than 0"):
        batch_loss(X, X, tau=0)
    with pytest.raises(InputError, match="X must be at least 2 rows, got 1"):
        batch_loss(X[:1], X[:1], tau=0.3)
    with pytest.raises(InputError, match="row i belongs to row i"):
        batch_loss(X, X[:3], tau=0.3)
    with pytest.raises(InputError, match="X and Y must be of one dimension, got 3 and 2"):
        batch_loss(X, X[:, :2], tau=0.3)
