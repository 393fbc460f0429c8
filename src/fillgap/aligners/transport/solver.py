"""Mixtures of transport plans: the best weights need only inner products between the plans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fillgap.aligners.transport.assignment import Oracle
from fillgap.aligners.transport.problem import Sides, TransportProblem, dot
from fillgap.runtime import Progress

Matrix = NDArray[np.float64]


class Mixture:
    """Vertices with weights that sum to one, and the objective as a function of the weights.

    The first "vertex" is the independent plan, which smooths more than many vertices could.
    """

    def __init__(self, problem: TransportProblem) -> None:
        self._problem = problem
        self._plans: list[csr_array | None] = []
        self.weights = np.zeros(0)
        self._linear = np.zeros(0)
        self._gram = np.zeros((0, 0))
        self._append(None, problem.images(None))
        self.weights[0] = 1.0

    def value(self) -> float:
        """Return the objective."""
        w = self.weights
        return self._problem.constant + float(self._linear @ w + 0.5 * w @ self._gram @ w)

    def vertices(self) -> csr_array:
        """Return the plan as one sparse array, less the independent part."""
        shape = len(self._problem.X), len(self._problem.Y)
        parts = [(plan.tocoo(), w) for plan, w in self._weighted()]
        if not parts:
            return csr_array(shape)
        data = np.concatenate([w * part.data for part, w in parts])
        rows, columns = (np.concatenate([part.coords[i] for part, _ in parts]) for i in (0, 1))
        return csr_array((data, (rows, columns)), shape=shape)

    def images(self) -> Sides:
        """Return γY and γᵀX."""
        x, y = self._problem.images(self.vertices())
        if self.weights[0]:
            independent = self._problem.images(None)
            x, y = x + self.weights[0] * independent[0], y + self.weights[0] * independent[1]
        return x, y

    def add(self, vertex: csr_array, images: Sides, gap: float) -> None:
        """Take in a vertex, find the best weights, and drop vertices that get none."""
        self._append(vertex, images)
        self.weights = _best_weights(self._gram, self._linear, self.weights, 1e-3 * gap)
        kept = self.weights > 0
        kept[0] = True
        self._plans = [plan for plan, keep in zip(self._plans, kept, strict=True) if keep]
        self.weights, self._linear = self.weights[kept], self._linear[kept]
        self._gram = self._gram[np.ix_(kept, kept)]

    def _append(self, plan: csr_array | None, images: Sides) -> None:
        """Take in a plan with weight zero."""
        problem = self._problem
        slope = problem.curvature(images)
        earlier = [other for other in self._plans if other is not None]
        column = np.append(problem.products(slope, earlier), dot(slope, images))
        if plan is not None:
            column = np.insert(column, 0, dot(slope, problem.images(None)))
        self._plans.append(plan)
        self._gram = np.pad(self._gram, (0, 1))
        self._gram[-1, :] = self._gram[:, -1] = column
        self._linear = np.append(self._linear, problem.linear(images))
        self.weights = np.append(self.weights, 0.0)

    def _weighted(self) -> list[tuple[csr_array, float]]:
        pairs = zip(self._plans, self.weights, strict=True)
        return [(plan, float(w)) for plan, w in pairs if plan is not None]


def _best_weights(gram: Matrix, linear: Matrix, weights: Matrix, tolerance: float) -> Matrix:
    """Minimise ½ wᵀ gram w + linear · w over the simplex, from `weights` with the last one zero.

    First the best step towards the last vertex, which is the plain conditional gradient. Then an
    active set: the vertex with the least slope joins those that have weight, and the weights move
    to the minimum over their span, dropping whichever would turn negative, until no slope is below
    the mean one by more than `tolerance`.
    """
    towards = -weights
    towards[-1] += 1.0
    slope = gram @ weights + linear
    weights = weights + _step(float(slope @ towards), float(towards @ gram @ towards)) * towards
    for _ in range(2 * len(weights)):
        slope = gram @ weights + linear
        low = int(np.argmin(slope))
        if slope @ weights - slope[low] <= tolerance or not gram.any():
            break
        weights = _to_the_minimum(gram, linear, weights, low)
    return weights


def _to_the_minimum(gram: Matrix, linear: Matrix, weights: Matrix, joining: int) -> Matrix:
    """Return the minimum over the span of the vertices with weight and the one joining them."""
    weights = weights.copy()
    active = weights > 0
    active[joining] = True
    while True:
        kept = np.flatnonzero(active)
        here, there = weights[kept], _stationary(gram[np.ix_(kept, kept)], linear[kept])
        if there.min() >= 0:
            weights[kept] = there / there.sum()
            return weights
        reach = np.full(len(kept), np.inf)
        negative = there < 0
        reach[negative] = here[negative] / (here - there)[negative]
        blocking = int(np.argmin(reach))
        weights[kept] = np.maximum(here + reach[blocking] * (there - here), 0.0)
        weights[kept[blocking]] = 0.0
        active[kept[blocking]] = False


def _stationary(gram: Matrix, linear: Matrix) -> Matrix:
    """Return the stationary point among weights with sum one, of whatever sign."""
    k = len(linear)
    system = np.ones((k + 1, k + 1))
    system[:k, :k] = gram
    system[np.arange(k), np.arange(k)] += 1e-13 * np.trace(gram)  # vertices may be dependent
    system[k, k] = 0.0
    return np.linalg.solve(system, np.append(-linear, 1.0))[:k]


def _step(slope: float, bend: float) -> float:
    """Return the best step along a parabola, between 0 and 1."""
    if slope >= 0:
        return 0.0
    return 1.0 if -slope >= bend else -slope / bend


#: A gap below this share of the objective is rounding.
ROUNDING = 1e-14


@dataclass(frozen=True, eq=False)
class TransportPlan:
    """What the iterations reached.

    Attributes
    ----------
    vertices : array of shape (n, m), sparse
        The plan, less the part below.
    independent : float
        Weight of the plan a bᵀ in it.
    mean_images : array of shape (n, d)
        γY.
    objective : array of shape (n_iter + 1,)
        At the independent plan, and after each iteration.
    gap : float
        By how much at most the objective is above its minimum.
    n_iter : int
        Linear problems solved.
    converged : bool
        Whether the gap is within the tolerance.
    """

    vertices: csr_array
    independent: float
    mean_images: Matrix
    objective: Matrix
    gap: float
    n_iter: int
    converged: bool


def solve_transport(
    problem: TransportProblem, oracle: Oracle, *, max_iter: int, tol: float, progress: Progress
) -> TransportPlan:
    """Minimise the objective over all plans with the given marginals.

    Parameters
    ----------
    problem : TransportProblem
    oracle : Oracle
        For its marginals.
    max_iter : int
        Linear problems to solve at most.
    tol : float
        Stop where the duality gap is at most this share of the objective.
    progress : callable
        Called as progress(iterations done, max_iter, "transport").

    References
    ----------
    Jaggi (2013), "Revisiting Frank-Wolfe: projection-free sparse convex optimization", for the gap
    and the fully corrective variant.
    """
    mixture = Mixture(problem)
    objective, gap, done, allowed = [mixture.value()], np.inf, 0, 0.0
    while done < max_iter:
        images = mixture.images()
        gradient = problem.gradient(images)
        here = dot(gradient, images)
        del images  # the oracle needs the memory, and so below
        vertex = oracle(problem.terms(gradient))
        done += 1
        progress(done, max_iter, "transport")
        corner = problem.images(vertex)
        gap = here - dot(gradient, corner)
        del gradient
        allowed = max(tol, ROUNDING) * abs(objective[-1])
        if gap <= allowed:
            break
        mixture.add(vertex, corner, gap)
        del corner
        objective.append(mixture.value())
        gap -= objective[-2] - objective[-1]
    return TransportPlan(
        vertices=mixture.vertices(),
        independent=float(mixture.weights[0]),
        mean_images=mixture.images()[0],
        objective=np.array(objective),
        gap=max(float(gap), 0.0),
        n_iter=done,
        converged=bool(gap <= allowed),
    )
