"""Whether a probability of relevance means what it says, and what a threshold lets through."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_integer, check_real

__all__ = ["expected_calibration_error", "precision_at_threshold"]


def expected_calibration_error(probabilities: Any, relevant: Any, *, n_bins: int = 15) -> float:
    """Compute the mean distance between what was promised and what came, over equal-count bins.

    Parameters
    ----------
    probabilities : array of any shape
        Promised probabilities of relevance, between 0 and 1.
    relevant : array of bool of the same shape
        What is relevant.
    n_bins : int
        Bins of equally many probabilities; level ones stay together.

    Returns
    -------
    float
        Between 0 and 1; 0 is perfect. Where few documents are relevant it is small anyway: leave
        out those that nobody would be shown.

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015), "Obtaining well calibrated probabilities using Bayesian
    binning"; equal-count bins: Nixon et al. (2019), "Measuring calibration in deep learning".

    Examples
    --------
    >>> expected_calibration_error([0.0, 0.0, 1.0, 1.0], [False, False, True, True])
    0.0
    """
    p, y = _checked(probabilities, relevant)
    check_integer(n_bins, "n_bins", low=1)
    if p.min() < 0 or p.max() > 1:
        raise InputError(
            f"probabilities must be between 0 and 1, got {p.min():g} to {p.max():g}. "
            "Pass probabilities, not scores or log-odds."
        )
    edges = np.unique(np.quantile(p, np.linspace(0, 1, n_bins + 1)[1:-1]))
    bins = np.searchsorted(edges, p, side="left")
    count = np.bincount(bins)
    gap = np.abs(np.bincount(bins, p) - np.bincount(bins, y))[count > 0]
    return float(gap.sum() / len(p))


def precision_at_threshold(scores: Any, relevant: Any, *, threshold: float) -> float:
    """Compute the share of relevant documents among those at or above a threshold.

    Parameters
    ----------
    scores : array of any shape
        Scores or probabilities.
    relevant : array of bool of the same shape
        What is relevant.
    threshold : float
        In the unit of the scores.

    Returns
    -------
    float
        NaN where no score reaches the threshold.

    Examples
    --------
    >>> precision_at_threshold([0.2, 0.6, 0.9], [False, False, True], threshold=0.5)
    0.5
    """
    s, y = _checked(scores, relevant)
    shown = s >= check_real(threshold, "threshold")
    return float(y[shown].mean()) if shown.any() else float("nan")


def _checked(scores: Any, relevant: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(relevant)
    if s.shape != y.shape or s.size == 0:
        raise InputError(
            f"scores and relevant must be of one shape and not empty, got {s.shape} and {y.shape}. "
            "Pass a mark for every score."
        )
    if not np.isfinite(s).all():
        raise InputError("scores must be finite numbers, got NaN or infinity. Leave those out.")
    return s.ravel(), y.ravel().astype(np.float64)
