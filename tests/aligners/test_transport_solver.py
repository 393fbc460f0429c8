"""The solver of regularised transport against POT, and each of its parts against plain formulas."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from fillgap.aligners.transport import solver
from fillgap.aligners.transport.assignment import AssignmentSolver, flow_oracle
from fillgap.aligners.transport.solver import (
    GaussLaplacian,
    Mixture,
    TransportPlan,
    TransportProblem,
    best_weights,
    default_bandwidth,
    neighbour_laplacian,
    solve_transport,
)
from fillgap.runtime import silent

ot = pytest.importorskip("ot")


def units(n: int, d: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d)) + 0.3
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_problem(
    X: np.ndarray,
    Y: np.ndarray,
    *,
    eta: float = 30.0,
    alpha: float = 0.5,
    disp: bool = False,
    similarity: str = "knn",
    a: np.ndarray | None = None,
    b: np.ndarray | None = None,
) -> TransportProblem:
    if similarity == "knn":
        L_x, L_y = neighbour_laplacian(X, 3), neighbour_laplacian(Y, 3)
    else:
        sigma = default_bandwidth(X)
        L_x, L_y = GaussLaplacian(X, sigma), GaussLaplacian(Y, sigma)
    a = np.full(len(X), 1 / len(X)) if a is None else a
    b = np.full(len(Y), 1 / len(Y)) if b is None else b
    return TransportProblem(X, Y, a, b, L_x, L_y, eta * alpha, eta * (1 - alpha), disp)


def solve(problem: TransportProblem, *, max_iter: int = 100, tol: float = 0.0) -> TransportPlan:
    oracle = AssignmentSolver(len(problem.X))
    return solve_transport(problem, oracle, max_iter=max_iter, tol=tol, progress=silent)


def dense_plan(plan: TransportPlan, problem: TransportProblem) -> np.ndarray:
    return plan.vertices.toarray() + plan.independent * np.outer(problem.a, problem.b)


def dense_objective(plan: np.ndarray, problem: TransportProblem) -> float:
    """The formula of the docstring, with everything written out."""
    X, Y = problem.X, problem.Y
    distances = ((X[:, None] - Y[None]) ** 2).sum(axis=2)
    L_x, L_y = (L @ np.eye(len(side)) for L, side in ((problem.L_x, X), (problem.L_y, Y)))
    forward, backward = plan @ Y, plan.T @ X
    value = (plan * distances).sum()
    value += problem.p * np.trace(forward.T @ L_x @ forward)
    value += problem.q * np.trace(backward.T @ L_y @ backward)
    if problem.displacement:
        value -= 2 * problem.p / len(X) * np.trace(X.T @ L_x @ forward)
        value -= 2 * problem.q / len(Y) * np.trace(Y.T @ L_y @ backward)
    return float(value)


def pot(
    problem: TransportProblem, similarity: str, eta: float, alpha: float, max_iter: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return POT's plan and its objective after each iteration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan, log = ot.da.emd_laplace(
            problem.a,
            problem.b,
            problem.X,
            problem.Y,
            ot.dist(problem.X, problem.Y),
            sim=similarity,
            reg="disp" if problem.displacement else "pos",
            eta=eta,
            alpha=alpha,
            numItermax=max_iter,
            stopThr=1e-12,
            stopInnerThr=1e-12,
            log=True,
        )
    return plan, np.array(log["loss"])


@pytest.mark.parametrize("disp", [False, True], ids=["pos", "disp"])
@pytest.mark.parametrize("similarity", ["knn", "gauss"])
@pytest.mark.parametrize(
    ("eta", "alpha"), [(1.0, 0.5), (30.0, 0.0), (30.0, 1.0), (30.0, 0.3), (3000.0, 0.5)]
)
def test_the_objective_is_at_most_that_of_pot(
    coco: tuple[np.ndarray, np.ndarray], similarity: str, disp: bool, eta: float, alpha: float
) -> None:
    X, Y = (side[:50] for side in coco)
    problem = make_problem(X, Y, eta=eta, alpha=alpha, disp=disp, similarity=similarity)
    plan = solve(problem, max_iter=25)
    reference, losses = pot(problem, similarity, eta, alpha, 25)
    assert dense_objective(reference, problem) == pytest.approx(losses[-1], rel=1e-9)
    assert dense_objective(dense_plan(plan, problem), problem) == pytest.approx(
        plan.objective[-1], rel=1e-9
    )
    for step in (5, 15, 25):
        ours = plan.objective[min(step, len(plan.objective) - 1)]
        assert ours <= losses[min(step, len(losses) - 1)] + 1e-6 * abs(losses[-1])


@pytest.mark.parametrize("seed", range(3))
def test_on_random_data_too(seed: int) -> None:
    problem = make_problem(units(50, 6, seed), units(50, 6, seed + 99), eta=20.0)
    losses = pot(problem, "knn", 20.0, 0.5, 100)[1]
    assert solve(problem).objective[-1] <= losses[-1] * (1 + 1e-6)


def test_where_the_optimum_is_a_vertex_the_plan_is_that_of_pot(
    coco: tuple[np.ndarray, np.ndarray],
) -> None:
    X, Y = (side[:60] for side in coco)
    problem = make_problem(X, Y, eta=0.01)
    plan = solve(problem)
    assert plan.converged
    np.testing.assert_allclose(
        dense_plan(plan, problem), pot(problem, "knn", 0.01, 0.5, 100)[0], atol=1e-8
    )


def test_converged_plans_agree_in_objective(coco: tuple[np.ndarray, np.ndarray]) -> None:
    X, Y = (side[:40] for side in coco)
    problem = make_problem(X, Y, eta=0.3)
    plan = solve(problem, tol=1e-10)
    losses = pot(problem, "knn", 0.3, 0.5, 300)[1]
    assert plan.converged
    assert plan.objective[-1] <= losses[-1]
    assert plan.objective[-1] == pytest.approx(losses[-1], rel=1e-6)


def test_unequal_sizes_and_weights(coco: tuple[np.ndarray, np.ndarray]) -> None:
    X, Y = coco[0][:50], coco[1][:35]
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 1.5, size=50), rng.uniform(0.5, 1.5, size=35)
    problem = make_problem(X, Y, a=a / a.sum(), b=b / b.sum())
    plan = solve_transport(
        problem,
        flow_oracle(ot, problem.a, problem.b),
        max_iter=60,
        tol=0.0,
        progress=silent,
    )
    gamma = dense_plan(plan, problem)
    np.testing.assert_allclose(gamma.sum(axis=1), problem.a, atol=1e-12)
    np.testing.assert_allclose(gamma.sum(axis=0), problem.b, atol=1e-12)
    np.testing.assert_allclose(plan.mean_images, gamma @ Y, atol=1e-12)
    assert dense_objective(gamma, problem) == pytest.approx(plan.objective[-1], rel=1e-9)
    assert plan.objective[-1] <= pot(problem, "knn", 30.0, 0.5, 60)[1][-1] * (1 + 1e-6)


def test_both_oracles_find_the_same_optimum() -> None:
    problem = make_problem(units(40, 5, 0), units(40, 5, 1), eta=5.0)
    flow = solve_transport(
        problem, flow_oracle(ot, problem.a, problem.b), max_iter=100, tol=1e-8, progress=silent
    )
    ours = solve(problem, tol=1e-8)
    assert ours.converged
    assert flow.converged
    assert ours.objective[-1] == pytest.approx(flow.objective[-1], rel=2e-8)


@given(seed=st.integers(0, 10**6), eta=st.sampled_from([0.0, 1.0, 100.0, 1e4]))
@settings(max_examples=8, deadline=None)
def test_what_a_plan_promises(seed: int, eta: float) -> None:
    problem = make_problem(units(24, 4, seed), units(24, 4, seed + 1), eta=eta)
    plan = solve(problem, max_iter=12)
    gamma = dense_plan(plan, problem)
    assert gamma.min() >= 0
    np.testing.assert_allclose(gamma.sum(axis=0), 1 / 24, atol=1e-12)
    np.testing.assert_allclose(gamma.sum(axis=1), 1 / 24, atol=1e-12)
    assert (np.diff(plan.objective) <= 1e-12).all()
    better = solve(problem, max_iter=40).objective[-1]
    assert plan.objective[-1] - better <= plan.gap + 1e-9
    if eta == 0:
        assert plan.converged
        assert plan.independent == 0


def test_the_gap_is_left_where_iterations_end() -> None:
    problem = make_problem(units(60, 5, 0), units(60, 5, 1), eta=1000.0)
    short, long = solve(problem, max_iter=5), solve(problem, max_iter=50)
    assert (short.n_iter, short.converged) == (5, False)
    assert 0 < long.gap < short.gap


def test_the_gap_is_that_of_the_linear_problem_less_what_was_gained_since() -> None:
    from scipy.optimize import linear_sum_assignment

    problem = make_problem(units(30, 4, 0), units(30, 4, 1), eta=100.0)
    plan = solve(problem, max_iter=1)
    # The Laplacians vanish on the independent plan, so that its gradient is the cost alone.
    cost = ((problem.X[:, None] - problem.Y[None]) ** 2).sum(axis=2)
    best = cost[linear_sum_assignment(cost)].mean()
    gained = plan.objective[0] - plan.objective[1]
    assert 0 < gained < cost.mean() - best
    assert plan.gap == pytest.approx(cost.mean() - best - gained)


def test_progress_counts_iterations() -> None:
    seen = []
    problem = make_problem(units(30, 4, 0), units(30, 4, 1), eta=100.0)
    solve_transport(
        problem, AssignmentSolver(30), max_iter=3, tol=0.0, progress=lambda *a: seen.append(a)
    )
    assert seen == [(1, 3, "transport"), (2, 3, "transport"), (3, 3, "transport")]


def test_laplacian_of_neighbours_by_hand() -> None:
    rows = np.array([[0.0, 0], [1, 0], [3, 0], [3.5, 0]])
    expected = np.array([[1, -1, 0, 0], [-1, 1.5, -0.5, 0], [0, -0.5, 1.5, -1], [0, 0, -1, 1]])
    # 0 and 1 name each other, 2 and 3 name each other; nobody else is named.
    expected[1, 1], expected[1, 2], expected[2, 1], expected[2, 2] = 1, 0, 0, 1
    np.testing.assert_allclose(neighbour_laplacian(rows, 1).toarray(), expected)
    one_sided = neighbour_laplacian(rows[:3], 1).toarray()
    assert one_sided[1, 2] == one_sided[2, 1] == -0.5


def test_laplacians_are_those_of_pot(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.neighbors import kneighbors_graph

    X = units(40, 5, 0)
    K = kneighbors_graph(X, 3).toarray()
    expected = ot.utils.laplacian((K + K.T) / 2)
    np.testing.assert_allclose(neighbour_laplacian(X, 3).toarray(), expected, atol=1e-12)
    assert default_bandwidth(X) == pytest.approx(1 / (2 * np.mean(ot.dist(X, X)) ** 2))
    expected = ot.utils.laplacian(ot.utils.kernel(X, X, method="gauss", sigma=0.6))
    monkeypatch.setattr(solver, "BLOCK_BYTES", 8 * 40 * 7)
    np.testing.assert_allclose(GaussLaplacian(X, 0.6) @ np.eye(40), expected, atol=1e-12)


def test_products_with_few_and_with_many_plans_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for alpha in (0.4, 1.0):
        problem = make_problem(units(30, 4, 0), units(30, 4, 1), alpha=alpha)
        oracle = AssignmentSolver(30)
        plans = [oracle([(rng.normal(size=(30, 2)), rng.normal(size=(30, 2)))]) for _ in range(5)]
        slope = problem.curvature(problem.images(plans[0]))
        monkeypatch.setattr(solver, "ROWS_PER_PLAN", 1)
        few = problem.products(slope, plans)
        monkeypatch.setattr(solver, "ROWS_PER_PLAN", 32)
        np.testing.assert_allclose(problem.products(slope, plans), few, atol=1e-14)


def test_the_mixture_knows_its_objective_and_drops_what_has_no_weight() -> None:
    problem = make_problem(units(30, 4, 0), units(30, 4, 1), eta=0.3)
    mixture = Mixture(problem)
    independent = np.outer(problem.a, problem.b)
    assert mixture.value() == pytest.approx(dense_objective(independent, problem))
    oracle = AssignmentSolver(30)
    for _ in range(6):
        vertex = oracle(problem.terms(problem.gradient(mixture.images())))
        mixture.add(vertex, problem.images(vertex), 1e-6)
        gamma = mixture.vertices().toarray() + mixture.weights[0] * independent
        assert mixture.value() == pytest.approx(dense_objective(gamma, problem), rel=1e-12)
        np.testing.assert_allclose(mixture.images()[1], gamma.T @ problem.X, atol=1e-12)
        slope = mixture._gram @ mixture.weights + mixture._linear
        assert slope @ mixture.weights - slope.min() <= 1e-9
    assert (mixture.weights[1:] > 0).all()
    assert len(mixture.weights) < 7


@given(seed=st.integers(0, 10**6), k=st.integers(2, 8))
@settings(max_examples=40, deadline=None)
def test_weights_minimise_the_parabola(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(k, k + 1))
    gram, linear = root @ root.T, rng.normal(size=k)
    start = np.append(rng.dirichlet(np.ones(k - 1)), 0.0)
    weights = best_weights(gram, linear, start, 1e-10)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)

    def value(w: np.ndarray) -> float:
        return float(0.5 * w @ gram @ w + linear @ w)

    found = minimize(
        lambda v: value(v**2 / (v @ v)), np.sqrt(weights) + 0.1, options={"gtol": 1e-10}
    )
    assert value(weights) <= found.fun + 1e-8


def test_the_solver_is_deterministic() -> None:
    problem = make_problem(units(50, 5, 0), units(50, 5, 1))
    first, second = solve(problem, max_iter=10), solve(problem, max_iter=10)
    assert np.array_equal(first.mean_images, second.mean_images)
    assert np.array_equal(first.objective, second.objective)
