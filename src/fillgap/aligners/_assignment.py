"""Assignments of least cost, for a sequence of costs that resemble each other.

A cost matrix is first reduced by prices: those of the last problem, then a few entropic steps. The
reduced costs are so near to optimal ones that the few cheapest entries of each row hold an optimal
assignment. It is found among those entries alone, and its prices prove on the whole matrix that it
is optimal, or name the entries that were missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

__all__ = ["AssignmentSolver"]

Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]

#: Cheapest entries for each row, on average, that the assignment is first looked for among.
CANDIDATES_PER_ROW = 16
#: Entropic steps, and their temperature in standard deviations of the reduced costs.
ENTROPIC_STEPS, TEMPERATURE = 10, 0.05
#: With more candidates than this share of all entries (many ties), the dense solver is faster.
DENSE_SHARE = 0.25
#: Times that missing candidates are added before the dense solver takes over.
MAX_ROUNDS = 10
#: Bytes of reduced costs that are looked at together.
BLOCK_BYTES = 16 * 2**20


@dataclass(frozen=True, eq=False)
class _Edges:
    """Entries of a cost matrix: sorted by column, each once."""

    rows: Indices
    columns: Indices
    costs: Matrix

    @classmethod
    def take(cls, cost: Matrix, flat: Indices) -> _Edges:
        """Return the entries with these numbers in the flattened transpose."""
        columns, rows = np.divmod(np.unique(flat), len(cost))
        return cls(rows, columns, cost[rows, columns])


class AssignmentSolver:
    """Solver for n × n assignment problems, one after the other, each starting from the last.

    Parameters
    ----------
    n : int
        Rows and columns. The solver holds 12 n² bytes.
    """

    def __init__(self, n: int) -> None:
        self._cost = np.empty((n, n))
        self._kernel = np.empty((n, n), dtype=np.float32)
        self._prices = np.zeros(n)
        self._last = np.arange(n)

    def solve(self, left: Matrix, right: Matrix) -> Indices:
        """Return the column of each row in an assignment of least cost.

        Parameters
        ----------
        left, right : array of shape (n, r)
            Factors of the cost matrix, left · rightᵀ.

        Returns
        -------
        array of int of shape (n,)
        """
        cost = np.matmul(left, right.T, out=self._cost)
        slack = 1e-12 * float(_longest(left) * _longest(right))
        cost -= self._prices
        self._reduce(cost)
        self._entropic_start(cost)
        columns, prices = _solve_reduced(cost, self._last, slack)
        self._prices += prices
        self._prices -= self._prices.mean()
        self._last = columns
        return columns

    def _reduce(self, cost: Matrix) -> None:
        """Subtract the least entry of each row, then of each column."""
        cost -= cost.min(axis=1)[:, None]
        least = cost.min(axis=0)
        cost -= least
        self._prices += least

    def _entropic_start(self, cost: Matrix) -> None:
        """Subtract the potentials of a few Sinkhorn steps; they need no accuracy."""
        temperature = TEMPERATURE * float(cost[:: 1 + len(cost) // 256].std())
        if temperature < np.finfo(np.float32).tiny:
            return
        np.multiply(cost, -1 / temperature, out=self._kernel, casting="same_kind")
        kernel = np.exp(self._kernel, out=self._kernel)
        right = np.ones(len(cost), dtype=np.float32)
        for _ in range(ENTROPIC_STEPS):
            left = 1 / (kernel @ right)
            right = 1 / (left @ kernel)
        potentials = temperature * np.log(right.astype(np.float64))
        if np.isfinite(potentials).all():
            cost -= potentials
            self._prices += potentials
            self._reduce(cost)


def _longest(rows: Matrix) -> Any:
    """Return the length of the longest row."""
    return np.sqrt(np.einsum("ij,ij->i", rows, rows).max())


def _solve_reduced(cost: Matrix, feasible: Indices, slack: float) -> tuple[Indices, Matrix]:
    """Return an optimal assignment of reduced costs (not negative), and its prices.

    Parameters
    ----------
    cost : array of shape (n, n)
    feasible : array of int of shape (n,)
        Any assignment: it is among the candidates, so that there always is one.
    slack : float
        Rounding of an entry.
    """
    n = len(cost)
    order = np.arange(n)
    candidates = np.append(_cheap(cost), feasible * n + order)
    for _ in range(MAX_ROUNDS):
        if len(candidates) > max(DENSE_SHARE * n * n, n * CANDIDATES_PER_ROW):
            break
        edges = _Edges.take(cost, candidates)
        columns = _match(edges, n)
        prices = _prices(edges, columns, cost[order, columns], slack)
        missing = _too_cheap(cost, cost[order, columns] - prices[columns] - slack, prices)
        if len(missing) == 0:
            return columns, prices
        candidates = np.append(edges.columns * n + edges.rows, missing)
    return linear_sum_assignment(cost)[1], np.zeros(n)


def _cheap(cost: Matrix) -> Indices:
    """Return about the cheapest `CANDIDATES_PER_ROW` entries a row; the bound is from a sample."""
    sample = cost[:: 1 + len(cost) // 128]
    rank = min(CANDIDATES_PER_ROW * len(sample), sample.size - 1)
    bound = np.partition(sample, rank, axis=None)[rank]
    return _too_cheap(cost, np.full(len(cost), np.nextafter(bound, np.inf)), np.zeros(len(cost)))


def _too_cheap(cost: Matrix, bounds: Matrix, prices: Matrix) -> Indices:
    """Return the entries, as in `_Edges`, whose cost minus the price is below the row's bound."""
    n, found = len(cost), []
    step = max(1, BLOCK_BYTES // (8 * n))
    for start in range(0, n, step):
        part = slice(start, start + step)
        rows, columns = np.divmod(np.flatnonzero(cost[part] - prices < bounds[part, None]), n)
        found.append(columns * n + rows + start)
    return np.concatenate(found)


def _match(edges: _Edges, n: int) -> Indices:
    """Return an assignment of least cost among the edges."""
    # The solver drops entries that are zero, and a constant changes no assignment.
    graph = csr_array((edges.costs + 1.0, (edges.rows, edges.columns)), shape=(n, n))
    return min_weight_full_bipartite_matching(graph)[1].astype(np.intp)


def _prices(edges: _Edges, columns: Indices, own: Matrix, slack: float) -> Matrix:
    """Return prices under which no edge is cheaper than the assignment: shortest paths.

    A row pays `own` and no edge may cost less after prices are subtracted; each sweep lowers the
    prices that still break this (Bellman and Ford).
    """
    starts = np.searchsorted(edges.columns, np.arange(len(columns)))
    prices = np.zeros(len(columns))
    for _ in range(len(columns)):
        paid = own - prices[columns]
        lower = np.minimum(prices, np.minimum.reduceat(edges.costs - paid[edges.rows], starts))
        if np.max(prices - lower) <= slack:
            break
        prices = lower
    return prices
