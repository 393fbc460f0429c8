"""Oracles: the transport plan of least linear cost, which is a vertex of the polytope."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fillgap.aligners._assignment import AssignmentSolver, Terms, cost_blocks

__all__ = ["AssignmentOracle", "FlowOracle", "Oracle"]

Matrix = NDArray[np.float64]


class Oracle(Protocol):
    """Finds the plan of least linear cost."""

    def __call__(self, terms: Terms, /) -> csr_array:
        """Return a vertex, of shape (n, m), that minimises ⟨Σ left · rightᵀ, plan⟩."""
        ...


class AssignmentOracle:
    """Plans between equally many rows of equal weight: assignments, scaled by 1/n."""

    def __init__(self, n: int) -> None:
        self._solver, self._n = AssignmentSolver(n), n

    def __call__(self, terms: Terms) -> csr_array:
        """Return the best assignment as a plan."""
        n, columns = self._n, self._solver.solve(terms)
        return csr_array((np.full(n, 1 / n), columns, np.arange(n + 1)), shape=(n, n))


class FlowOracle:
    """Plans between weighted rows, by the network simplex of the POT library.

    Parameters
    ----------
    ot : module
        POT.
    a, b : array of shape (n,) and (m,)
        Weights of the rows.
    """

    #: Pivots are cheap; this many are never needed for sizes that fit in memory.
    MAX_PIVOTS = 10**9

    def __init__(self, ot: Any, a: Matrix, b: Matrix) -> None:
        self._ot, self._a, self._b = ot, a, b

    def __call__(self, terms: Terms) -> csr_array:
        """Return the best plan."""
        cost = np.empty((len(self._a), len(self._b)))
        for part, block in cost_blocks(terms):
            cost[part] = block
        return csr_array(self._ot.emd(self._a, self._b, cost, numItermax=self.MAX_PIVOTS))
