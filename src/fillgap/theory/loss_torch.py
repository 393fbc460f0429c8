"""The N × N part of the contrastive loss on a device of PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["softmax_products"]

Array = NDArray[np.floating[Any]]


def softmax_products(
    left: Array, right: Array, tau: float, device: Any
) -> tuple[Array, Array, Array]:
    """Return what the N × N similarities are needed for.

    Parameters
    ----------
    left, right : array of shape (n_pairs, n_coordinates)
        Rows whose products are the similarities, in the precision that is wanted.
    tau : float
        Temperature τ > 0.
    device : str or torch.device
        Where to compute.

    Returns
    -------
    log_sums : array of shape (n_pairs,)
        Log-sums over rows plus over columns.
    by_left, by_right : array of shape (n_pairs, n_coordinates)
        W · right and Wᵀ · left, with W the sum of both softmaxes.
    """
    import torch

    a, b = (torch.from_numpy(np.ascontiguousarray(rows)).to(device) for rows in (left, right))
    scores = (a / tau) @ b.T
    by_row, by_column = torch.logsumexp(scores, 1), torch.logsumexp(scores, 0)
    weights = torch.exp(scores - by_row[:, None]).add_(torch.exp(scores - by_column[None, :]))
    found = (by_row + by_column, weights @ b, weights.T @ a)
    log_sums, by_left, by_right = (tensor.cpu().numpy() for tensor in found)
    return log_sums, by_left, by_right
