"""The contrastive loss of a batch and of the pair of its centres, with their derivatives.

In two hyperplanes points have the coordinates of `HyperplanePair`, so that x·y is a product with
the diagonal D = (1, …, 1, cos φ); `scale` is its last entry, 1 in the whole space.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import (
    check_matrix,
    check_real,
    check_same_count,
    check_same_features,
    unit_rows,
)

Array = NDArray[np.floating[Any]]


class LossGradient(NamedTuple):
    """A loss and its derivatives."""

    loss: float  # both directions together, less 2 log N
    points: Array  # with respect to X and Y, shape (2, n_pairs, n_coordinates)
    centres: Array  # with respect to the two centres where they are the anchors
    scale: float  # with respect to the last entry of D


def batch_loss(X: Any, Y: Any, *, tau: float) -> float:
    """Return the contrastive loss over all pairs of the batch, less 2 log N.

    L = −(1/N) Σ_i [log softmax_j(x_i·y_j/τ)_i + log softmax_j(x_j·y_i/τ)_i].

    Parameters
    ----------
    X, Y : array of shape (n_pairs, n_features)
        Embeddings; row i of X belongs to row i of Y. Only their directions count.
    tau : float
        Temperature τ > 0.

    Raises
    ------
    InputError
        If the shapes differ, there are fewer than 2 pairs, or τ ≤ 0.
    """
    X = check_matrix(X, "X", min_rows=2)
    Y = check_matrix(Y, "Y", min_rows=2)
    check_same_features(X, Y, "X", "Y")
    check_same_count(X, Y, "to be told apart")
    tau = check_real(tau, "tau", low=0, open_low=True)
    rows_x = np.asarray(unit_rows(X, "X"), dtype=np.float64)
    rows_y = np.asarray(unit_rows(Y, "Y"), dtype=np.float64)
    return batch_loss_gradient(rows_x, rows_y, 1.0, tau).loss


def batch_loss_gradient(
    X: Array,
    Y: Array,
    scale: float,
    tau: float,
    dtype: type[np.floating[Any]] = np.float64,
    *,
    device: Any = None,
) -> LossGradient:
    """Return the contrastive loss over all pairs of the batch, with its derivatives.

    The three products with an n_pairs × n_pairs matrix are computed in `dtype`: in NumPy, or with
    PyTorch on `device`.
    """
    scaled = _scaled(X, scale)
    left, right = scaled.astype(dtype), Y.astype(dtype)
    own = np.einsum("ij,ij->i", scaled, Y) / tau
    if device is None:
        log_sums, weights = _softmax_both_ways((left / dtype(tau)) @ right.T)
        to_right, to_left = weights @ right, weights.T @ left
    else:
        log_sums, to_right, to_left = _on_device(left, right, tau, device)
    loss = float(np.mean(log_sums - 2 * own)) - 2 * np.log(len(X))
    by_x = (to_right - 2 * Y) / (len(X) * tau)
    by_y = (to_left - 2 * scaled) / (len(X) * tau)
    points = np.stack([_scaled(by_x, scale), by_y])
    return LossGradient(loss, points, np.zeros((2, X.shape[1])), float(by_x[:, -1] @ X[:, -1]))


def _on_device(left: Array, right: Array, tau: float, device: Any) -> tuple[Array, Array, Array]:
    """Return log-sums, W · right and Wᵀ · left, with W the sum of both softmaxes."""
    import torch

    a, b = (torch.from_numpy(np.ascontiguousarray(rows)).to(device) for rows in (left, right))
    scores = (a / tau) @ b.T
    by_row, by_column = torch.logsumexp(scores, 1), torch.logsumexp(scores, 0)
    weights = torch.exp(scores - by_row[:, None]).add_(torch.exp(scores - by_column[None, :]))
    products = (by_row + by_column, weights @ b, weights.T @ a)
    log_sums, by_left, by_right = (tensor.cpu().numpy() for tensor in products)
    return log_sums, by_left, by_right


def _softmax_both_ways(S: Array) -> tuple[Array, Array]:
    """Return log-sums over rows plus over columns, and the two softmaxes added up; S is spent.

    One exponential serves both directions unless a row or a column lies so far below the largest
    score that it would lose digits.
    """
    top = S.max()
    highest = np.minimum(S.max(axis=1), S.max(axis=0)).min()
    if top - highest > (40 if S.dtype == np.float32 else 600):
        by_row, by_column = _softmax(S), _softmax(S.T)
        return by_row[0] + by_column[0], by_row[1] + by_column[1].T
    S -= top
    np.exp(S, out=S)
    rows, columns = S.sum(axis=1), S.sum(axis=0)
    S *= (1 / rows)[:, None] + 1 / columns
    return np.log(rows) + np.log(columns) + 2 * top, S


def _softmax(S: Array) -> tuple[Array, Array]:
    """Return the log-sum and the softmax of each row."""
    top = S.max(axis=1, keepdims=True)
    weights = np.exp(S - top)
    sums = weights.sum(axis=1, keepdims=True)
    return (np.log(sums) + top)[:, 0], weights / sums


def centre_loss_gradient(
    X: Array, Y: Array, centres: Array, scale: float, tau: float
) -> LossGradient:
    """Return the loss of the pair of centres against both clouds, less 2 log N.

    L^c = −2 c_x·D c_y/τ + log mean_j e^{c_x·D y_j/τ} + log mean_j e^{x_j·D c_y/τ}: what DG's
    theorems 2 and 3 are about.
    """
    c_x, c_y = centres
    d_x, d_y = _scaled(c_x, scale), _scaled(c_y, scale)
    to_y, to_x = Y @ d_x / tau, X @ d_y / tau
    sum_y, weight_y = _softmax(to_y[None])
    sum_x, weight_x = _softmax(to_x[None])
    loss = float(sum_y[0] + sum_x[0] - 2 * (c_x @ d_y) / tau) - 2 * np.log(len(X))
    mean_y, mean_x = weight_y[0] @ Y, weight_x[0] @ X
    by_centres = np.stack([_scaled(mean_y - 2 * c_y, scale), _scaled(mean_x - 2 * c_x, scale)])
    points = np.stack([np.outer(weight_x[0], d_y), np.outer(weight_y[0], d_x)])
    last = c_x[-1] * mean_y[-1] + c_y[-1] * mean_x[-1] - 2 * c_x[-1] * c_y[-1]
    return LossGradient(loss, points / tau, by_centres / tau, float(last / tau))


def _scaled(rows: Array, scale: float) -> Array:
    """Return the rows with their last coordinate multiplied by `scale`."""
    result = rows.copy()
    result[..., -1] *= scale
    return result
