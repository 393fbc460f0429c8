"""Assignments of least cost, for a sequence of costs that resemble each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from fillgap.errors import row_norms
from fillgap.linalg import Matrix
from fillgap.runtime import map_blocks

Costs = NDArray[np.float32]
Indices = NDArray[np.intp]
#: Factors of a matrix: the sum of left · rightᵀ.
Terms: TypeAlias = Sequence[tuple[NDArray[Any], ...]]
#: Finds the plan (n, m) of least cost Σ left · rightᵀ among those with its marginals.
Oracle: TypeAlias = Callable[[Terms], csr_array]
#: Rows, columns and costs of entries of a cost matrix: sorted by column, each once.
Edges: TypeAlias = tuple[Indices, Indices, Matrix]

#: Cheapest entries for each row, on average, that the assignment is first looked for among.
CANDIDATES_PER_ROW = 16
#: Entropic steps, and their temperature in standard deviations of the reduced costs.
ENTROPIC_STEPS, TEMPERATURE = 5, 0.1
#: With more candidates than this share of all entries (many ties), the dense solver is faster.
DENSE_SHARE = 0.25
#: Times that missing candidates are added before the dense solver takes over.
MAX_ROUNDS = 10
#: From this many rows on, costs are multiplied in float32.
SINGLE_ROWS = 2000
#: Bytes of reduced costs that are looked at together.
BLOCK_BYTES = 4 * 2**20


class AssignmentSolver:
    """Solver for n × n assignment problems, one after the other, each starting from the last.

    Costs are first reduced by prices: those of the last problem, then a few entropic steps. The few
    cheapest entries of each row then hold an optimal assignment. It is found among those alone, and
    its prices prove on the whole matrix that it is optimal, or name the entries that were missing.

    Reduced costs are kept in float32: what is near zero, and only that matters, has nine digits or
    more after the point, eight from `SINGLE_ROWS` on. A problem takes 8 n² bytes.
    """

    def __init__(self, n: int) -> None:
        self._prices = np.zeros(n)
        self._last = np.arange(n)

    def __call__(self, terms: Terms) -> csr_array:
        """Return the best assignment as a plan between rows of weight 1/n."""
        n, columns = len(self._last), self.solve(terms)
        return csr_array((np.full(n, 1 / n), columns, np.arange(n + 1)), shape=(n, n))

    def solve(self, terms: Terms) -> Indices:
        """Return the column of each row in an assignment of least cost Σ left · rightᵀ."""
        dtype = np.float32 if len(self._last) >= SINGLE_ROWS else np.float64
        # What a whole row or column shares changes no assignment, and is large.
        terms = [
            tuple((side - side.mean(axis=0)).astype(dtype, copy=False) for side in term)
            for term in terms
        ]
        largest = sum(row_norms(left).max() * row_norms(right).max() for left, right in terms)
        if np.ptp(self._prices) > largest:
            self._prices[:] = 0.0  # from larger costs: they would drown these
        cost = _row_reduced(terms, self._prices)
        self._take_column_minima(cost)
        potentials = _entropic_prices(cost)
        cost -= potentials.astype(np.float32)
        self._prices += potentials
        cost -= cost.min(axis=1)[:, None]
        self._take_column_minima(cost)
        self._last, prices = _solve_reduced(cost, self._last)
        self._prices += prices
        self._prices -= self._prices.mean()
        return self._last

    def _take_column_minima(self, cost: Costs) -> None:
        least = cost.min(axis=0)
        cost -= least
        self._prices += least


def flow_oracle(ot: Any, a: Matrix, b: Matrix) -> Oracle:
    """Return what solves for rows of weights a and b: the network simplex of the POT library."""

    def solve(terms: Terms) -> csr_array:
        cost = np.empty((len(a), len(b)))
        for part, block in cost_blocks(terms):
            cost[part] = block
        # Pivots are cheap; this many are never needed for sizes that fit in memory.
        return csr_array(ot.emd(a, b, cost, numItermax=10**9))

    return solve


def cost_blocks(terms: Terms) -> Iterator[tuple[slice, Matrix]]:
    """Yield the rows of the sum of left · rightᵀ over `terms`, a block at a time."""
    return _over_rows(lambda part: (part, _product(terms, part)), *map(len, terms[0]))


def _over_rows(function: Callable[[slice], Any], n: int, m: int) -> Iterator[Any]:
    """Yield what a function gives for blocks of the rows of an n × m matrix, on several threads."""
    step = max(1, BLOCK_BYTES // (8 * m))
    parts = [slice(start, start + step) for start in range(0, n, step)]
    return map_blocks(function, parts, threads=None if len(parts) > 2 else 1)


def _product(terms: Terms, part: slice) -> Matrix:
    block = terms[0][0][part] @ terms[0][1].T
    for left, right in terms[1:]:
        block += left[part] @ right.T
    return block


def _row_reduced(terms: Terms, prices: Matrix) -> Costs:
    """Return the costs less the prices, and less what is then the least entry of each row."""
    n = len(prices)
    cost = np.empty((n, n), dtype=np.float32)
    prices = prices.astype(terms[0][0].dtype)

    def reduce(part: slice) -> None:
        block = _product(terms, part)
        np.subtract(block, prices, out=block)
        np.subtract(block, block.min(axis=1)[:, None], out=cost[part], casting="same_kind")

    list(_over_rows(reduce, n, n))
    return cost


def _entropic_prices(cost: Costs) -> Matrix:
    """Return the column potentials of a few Sinkhorn steps; they need no accuracy."""
    n = len(cost)
    temperature = TEMPERATURE * float(cost[:: 1 + n // 256].std())
    if temperature < np.finfo(np.float32).tiny:  # all costs are equal
        return np.zeros(n)
    kernel = np.empty_like(cost)

    def fill(part: slice) -> None:
        np.multiply(cost[part], np.float32(-1 / temperature), out=kernel[part])
        np.exp(kernel[part], out=kernel[part])

    list(_over_rows(fill, n, n))
    scale: NDArray[Any] = np.ones(n, dtype=np.float32)
    with np.errstate(all="ignore"):  # looked at below
        for _ in range(ENTROPIC_STEPS):
            scale = 1 / ((1 / (kernel @ scale)) @ kernel)
        potentials = temperature * np.log(scale.astype(np.float64))
    return potentials if np.isfinite(potentials).all() else np.zeros(n)


def _solve_reduced(cost: Costs, feasible: Indices) -> tuple[Indices, Matrix]:
    """Return an optimal assignment of reduced costs (not negative), and its prices."""
    n = len(cost)
    order = np.arange(n)
    # About the cheapest entries of each row; the bound is from a sample.
    sample = cost[:: 1 + n // 128]
    rank = min(CANDIDATES_PER_ROW * len(sample), sample.size - 1)
    bound = np.partition(sample, rank, axis=None)[rank]
    above = float(np.nextafter(bound, np.float32(np.inf), dtype=np.float32))
    cheap = _too_cheap(cost, np.full(n, above), np.zeros(n))
    candidates = np.append(cheap, feasible * n + order)  # so that there is an assignment
    for _ in range(MAX_ROUNDS):
        if len(candidates) > max(DENSE_SHARE * n * n, n * CANDIDATES_PER_ROW):
            break
        columns, rows = np.divmod(np.unique(candidates), n)
        edges = rows, columns, cost[rows, columns].astype(np.float64)
        chosen = _match(edges, n)
        own, slack = cost[order, chosen].astype(np.float64), 1e-12 * edges[2].max()
        prices = _prices(edges, chosen, own, slack)
        missing = _too_cheap(cost, own - prices[chosen] - 2 * slack, prices)
        if len(missing) == 0:
            return chosen, prices
        candidates = np.append(columns * n + rows, missing)
    return linear_sum_assignment(cost)[1], np.zeros(n)


def _too_cheap(cost: Costs, bounds: Matrix, prices: Matrix) -> Indices:
    """Return the entries whose cost minus the price is below the row's bound: column · n + row."""
    n = len(cost)

    def find(part: slice) -> Indices:
        rows, columns = np.divmod(np.flatnonzero(cost[part] - prices < bounds[part, None]), n)
        return columns * n + rows + part.start

    return np.concatenate(list(_over_rows(find, n, n)))


def _match(edges: Edges, n: int) -> Indices:
    """Return an assignment of least cost among the edges."""
    # An unused column more makes the problem rectangular. SciPy then goes by shortest paths; on
    # square problems it bids for prices first, which near ties make last for ever.
    rows, columns, costs = edges
    costs = costs + 1.0  # an entry of zero would be dropped; a constant changes nothing
    data = np.append(costs, (n + 1) * costs.max())
    graph = csr_array((data, (np.append(rows, 0), np.append(columns, n))), shape=(n, n + 1))
    return min_weight_full_bipartite_matching(graph)[1].astype(np.intp)


def _prices(edges: Edges, chosen: Indices, own: Matrix, slack: float) -> Matrix:
    """Return prices, less which no edge costs a row less than `own`: Bellman and Ford's paths."""
    rows, columns, costs = edges
    starts = np.searchsorted(columns, np.arange(len(chosen)))
    prices = np.zeros(len(chosen))
    for _ in range(len(chosen)):
        paid = own - prices[chosen]
        lower = np.minimum(prices, np.minimum.reduceat(costs - paid[rows], starts))
        if np.max(prices - lower) <= slack:
            break
        prices = lower
    return prices
