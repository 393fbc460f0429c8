"""Slow, plain calibrations: loops over single scores, for comparison with the fast ones."""

from __future__ import annotations

import numpy as np


def cosines(Q: np.ndarray, D: np.ndarray) -> np.ndarray:
    """Return all cosines, one by one, in float64."""
    return np.array(
        [[q @ d / (np.linalg.norm(q) * np.linalg.norm(d)) for d in D] for q in np.asarray(Q)]
    )


def allowed(scores: np.ndarray, *, same: bool) -> list[list[float]]:
    """Return the scores of each query without its copies."""
    return [[s for s in row if not (same and s >= 1 - 1e-5)] for row in scores.tolist()]


def z_score(scores: np.ndarray, sample: np.ndarray, on: str, *, same: bool) -> np.ndarray:
    rows = allowed(sample, same=same)
    values = (
        [max(row) for row in rows] if on == "pseudo-positives" else [s for row in rows for s in row]
    )
    return (scores - np.mean(values)) / np.std(values)


def nnn(scores: np.ndarray, bank: np.ndarray, k: int, alpha: float, *, same: bool) -> np.ndarray:
    columns = allowed(bank.T, same=same)
    return scores - [alpha * np.mean(sorted(column)[-k:]) for column in columns]


def csls(scores: np.ndarray, bank: np.ndarray, k: int, *, same: bool) -> np.ndarray:
    of_documents = [np.mean(sorted(column)[-k:]) for column in allowed(bank.T, same=same)]
    return 2 * scores - of_documents - of_queries(scores, scores, k, same=same)


def of_queries(values: np.ndarray, scores: np.ndarray, k: int, *, same: bool) -> np.ndarray:
    """Return the mean of each query's k best values, of documents that are no copy of it."""
    means = []
    for row, cosine in zip(values.tolist(), scores.tolist(), strict=True):
        kept = [v for v, s in zip(row, cosine, strict=True) if not (same and s >= 1 - 1e-5)]
        means.append([np.mean(sorted(kept)[-k:])])
    return np.array(means)


def own_list_z(
    values: np.ndarray, scores: np.ndarray, depth: int, leave_out: int, *, same: bool
) -> np.ndarray:
    """Standardise each row of values by its best `depth` without the very best of them."""
    out = []
    for row, cosine in zip(values.tolist(), scores.tolist(), strict=True):
        kept = [v for v, s in zip(row, cosine, strict=True) if not (same and s >= 1 - 1e-5)]
        best = sorted(kept, reverse=True)[:depth]
        rest = best[min(leave_out, len(best) // 2) :]
        out.append([(v - np.mean(rest)) / np.std(rest) for v in row])
    return np.array(out)


def qb_norm(scores: np.ndarray, bank: np.ndarray, beta: float, *, same: bool) -> np.ndarray:
    """The inverted softmax of the paper, up to its factor, on the scale of a cosine."""
    sums = [np.mean(np.exp(beta * np.array(column))) for column in allowed(bank.T, same=same)]
    return np.log(np.exp(beta * scores) / sums) / beta


def logistic(scores: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """Minimise the cross entropy with Platt's targets by a general optimiser."""
    from scipy.optimize import minimize

    s, y = scores.ravel(), relevant.ravel().astype(float)
    n, m = y.sum(), (1 - y).sum()
    t = np.where(y > 0, (n + 1) / (n + 2), 1 / (m + 2))

    def loss(beta: np.ndarray) -> float:
        z = beta[0] * (s - s.mean()) + beta[1]
        return float(np.mean(np.logaddexp(0, z) - t * z))

    found = minimize(loss, np.array([1.0, -3.0]), method="BFGS", options={"gtol": 1e-10}).x
    return float(found[0]), float(found[1] - found[0] * s.mean())
