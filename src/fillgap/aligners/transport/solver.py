"""The transport objective, and the mixtures of plans that minimise it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_array, diags_array, hstack

from fillgap.aligners.transport.assignment import Oracle, Terms, cost_blocks
from fillgap.linalg import Matrix
from fillgap.runtime import Progress

#: Bytes of similarities that are computed together.
BLOCK_BYTES = 32 * 2**20
#: From this many plans for so many rows on, a product of dense blocks is faster than sparse ones.
ROWS_PER_PLAN = 32
#: A gap below this share of the objective is rounding.
ROUNDING = 1e-14

#: γY and γᵀX, or a gradient with respect to them.
Sides: TypeAlias = tuple[Matrix, Matrix]


def neighbour_laplacian(rows: Matrix, n_neighbors: int) -> csr_array:
    """Return the Laplacian of the graph of neighbours: an edge weighs 1 if mutual, ½ otherwise."""
    from sklearn.neighbors import kneighbors_graph

    named = csr_array(kneighbors_graph(rows, n_neighbors))
    similarity = (named + named.T) / 2
    return csr_array(diags_array(similarity.sum(axis=0)) - similarity)


def default_bandwidth(rows: Matrix) -> float:
    """Return 1 / (2 m²), m the mean squared distance between unit rows (each with itself too)."""
    mean = rows.mean(axis=0)
    spread = 2 - 2 * float(mean @ mean)
    return 1 / (2 * spread**2)


class GaussLaplacian:
    """The Laplacian of similarities exp(−‖x − x'‖² / 2σ²) of unit rows, in blocks, never stored."""

    def __init__(self, rows: Matrix, bandwidth: float) -> None:
        self._rows, self._scale = rows, bandwidth**-2
        self._degrees = self._similarities_times(np.ones((len(rows), 1)))

    def __matmul__(self, values: Matrix) -> Matrix:
        """Return the product with an array of shape (n, r)."""
        return self._degrees * values - self._similarities_times(values)

    def _similarities_times(self, values: Matrix) -> Matrix:
        out = np.empty_like(values)
        step = max(1, BLOCK_BYTES // (8 * len(self._rows)))
        for start in range(0, len(self._rows), step):
            part = slice(start, start + step)
            block = self._rows[part] @ self._rows.T
            block -= 1
            block *= self._scale
            np.matmul(np.exp(block, out=block), values, out=out[part])
        return out


@dataclass(frozen=True, eq=False)
class TransportProblem:
    """Squared distances plus two quadratic regularisers, for marginals a and b with sum one.

    f(γ) = Σ_ij γ_ij ‖x_i − y_j‖² + p tr((γY)ᵀ L_x γY) + q tr((γᵀX)ᵀ L_y γᵀX)
    """

    X: Matrix
    Y: Matrix
    a: Matrix
    b: Matrix
    L_x: csr_array | GaussLaplacian
    L_y: csr_array | GaussLaplacian
    p: float
    q: float
    displacement: bool = False  # regularise γY − X/n and γᵀX − Y/m instead (less a constant)

    @cached_property
    def slope(self) -> Sides:
        """The part of the gradient, as a function of γY and γᵀX, that no plan changes."""
        x, y = -2 * self.X, np.zeros_like(self.Y)
        if self.displacement:
            pull = self.curvature((self.X, self.Y))
            x, y = x - pull[0] / len(x), y - pull[1] / len(y)
        return x, y

    def images(self, plan: csr_array | None) -> Sides:
        """Return γY and γᵀX; None is the independent plan a bᵀ."""
        if plan is None:
            return np.outer(self.a, self.b @ self.Y), np.outer(self.b, self.a @ self.X)
        return plan @ self.Y, plan.T @ self.X

    def curvature(self, images: Sides) -> Sides:
        """Return 2p L_x γY and 2q L_y γᵀX."""
        x, y = (
            2 * strength * (L @ side) if strength else np.zeros_like(side)
            for strength, L, side in ((self.p, self.L_x, images[0]), (self.q, self.L_y, images[1]))
        )
        return x, y

    def gradient(self, images: Sides) -> Sides:
        """Return the gradient of f as a function of γY and γᵀX."""
        x, y = self.curvature(images)
        x += self.slope[0]
        y += self.slope[1]
        return x, y

    def terms(self, gradient: Sides) -> Terms:
        """Return the factors of the gradient with respect to γ, for one as above."""
        x, y = gradient
        return [(x, self.Y), (self.X, y)] if self.q else [(x, self.Y)]

    def products(self, slope: Sides, plans: list[csr_array]) -> Matrix:
        """Return ⟨slope, (γY, γᵀX)⟩ for each of several plans γ."""
        if len(plans) < len(self.X) / ROWS_PER_PLAN:
            return np.array([dot(slope, self.images(plan)) for plan in plans])
        stacked, sums = csr_array(hstack(plans, format="csr")), np.zeros(len(plans))
        for part, block in cost_blocks(self.terms(slope)):
            entries = stacked[part]
            rows = np.repeat(np.arange(len(block)), np.diff(entries.indptr))
            number, columns = np.divmod(entries.indices, len(self.Y))
            sums += np.bincount(number, entries.data * block[rows, columns], minlength=len(plans))
        return sums


def dot(A: Sides, B: Sides) -> float:
    """Return the sum of the products of all entries."""
    return float(sum(np.einsum("ij,ij->", a, b) for a, b in zip(A, B, strict=True)))


class Mixture:
    """Plans with weights that sum to one, and the objective as a function of the weights.

    The first plan is the independent one, which smooths more than many vertices could.
    """

    def __init__(self, problem: TransportProblem) -> None:
        self._problem = problem
        x, y = (np.sum(side**2, axis=1) for side in (problem.X, problem.Y))
        self._constant = float(problem.a @ x + problem.b @ y)  # which no plan changes
        self._plans: list[csr_array | None] = []
        self.weights = np.zeros(0)
        self._linear = np.zeros(0)
        self._gram = np.zeros((0, 0))
        self._append(None, problem.images(None))
        self.weights[0] = 1.0

    def value(self) -> float:
        """Return the objective."""
        w = self.weights
        return self._constant + float(self._linear @ w + 0.5 * w @ self._gram @ w)

    def vertices(self) -> csr_array:
        """Return the plan as one sparse array, less the independent part."""
        shape = len(self._problem.X), len(self._problem.Y)
        weighted = zip(self.weights, self._plans, strict=True)
        parts = [(w * plan).tocoo() for w, plan in weighted if plan is not None]
        if not parts:
            return csr_array(shape)
        coords = np.concatenate([part.coords for part in parts], axis=1)
        return csr_array((np.concatenate([part.data for part in parts]), coords), shape=shape)

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
        self.weights = best_weights(self._gram, self._linear, self.weights, 1e-3 * gap)
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
        self._linear = np.append(self._linear, dot(problem.slope, images))
        self.weights = np.append(self.weights, 0.0)


def best_weights(gram: Matrix, linear: Matrix, weights: Matrix, tolerance: float) -> Matrix:
    """Minimise ½ wᵀ gram w + linear · w over the simplex, from `weights` with the last one zero.

    First the best step towards the last vertex. Then an active set: the vertex with the least slope
    joins those that have weight, and the weights move to the minimum over their span, dropping
    whichever would turn negative, until no slope is below the mean by more than `tolerance`.
    """
    towards = -weights
    towards[-1] += 1.0
    slope = float((gram @ weights + linear) @ towards)
    bend = float(towards @ gram @ towards)
    if slope < 0:
        weights = weights + (1.0 if -slope >= bend else -slope / bend) * towards
    for _ in range(2 * len(weights)):
        slopes = gram @ weights + linear
        low = int(np.argmin(slopes))
        if slopes @ weights - slopes[low] <= tolerance or not gram.any():
            break
        weights = weights.copy()
        active = weights > 0
        active[low] = True
        while True:
            kept = np.flatnonzero(active)
            here, k = weights[kept], len(kept)
            # Stationary among weights with sum one, of whatever sign; vertices may be dependent.
            system = np.pad(gram[np.ix_(kept, kept)], (0, 1), constant_values=1.0)
            system[np.arange(k), np.arange(k)] += 1e-13 * np.trace(system[:k, :k])
            system[k, k] = 0.0
            there = np.linalg.solve(system, np.append(-linear[kept], 1.0))[:k]
            if there.min() >= 0:
                weights[kept] = there / there.sum()
                break
            reach = np.full(k, np.inf)
            negative = there < 0
            reach[negative] = here[negative] / (here - there)[negative]
            blocking = int(np.argmin(reach))
            weights[kept] = np.maximum(here + reach[blocking] * (there - here), 0.0)
            weights[kept[blocking]] = 0.0
            active[kept[blocking]] = False
    return weights


def solve_transport(
    problem: TransportProblem, oracle: Oracle, *, max_iter: int, tol: float, progress: Progress
) -> tuple[Mixture, Matrix, float, int, bool]:
    """Minimise the objective over all plans; stop where the gap is at most `tol` times it.

    Returns the plan, the objective at the independent one and after each iteration, by how much at
    most it is above its minimum, the linear problems solved, and whether that is enough.

    Jaggi (2013), "Revisiting Frank-Wolfe: projection-free sparse convex optimization".
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
    return mixture, np.array(objective), max(float(gap), 0.0), done, bool(gap <= allowed)
