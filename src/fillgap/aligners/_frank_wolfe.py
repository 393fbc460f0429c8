"""Optimal transport with a quadratic regulariser, by fully corrective conditional gradients.

Each iteration finds the vertex of the transport polytope that the gradient favours, and then mixes
all vertices found so far anew: the objective is quadratic, so that the best mixture needs only the
few inner products between them. A plan is kept as its vertices and never as a dense matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fillgap._progress import Progress
from fillgap.aligners._mixture import Mixture
from fillgap.aligners._transport_problem import TransportProblem, dot
from fillgap.aligners._vertices import Oracle

__all__ = ["TransportPlan", "solve_transport"]

Matrix = NDArray[np.float64]

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
