"""Bootstrap intervals over images: what belongs to one image is drawn together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fillgap.errors import InputError, check_integer, check_random_state, check_real
from fillgap.metrics.pool import Values

#: Bytes of the counts of one batch of resamples.
BATCH_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Interval:
    """Ends of a percentile interval of a mean, and its standard deviation, for each column."""

    low: Values
    high: Values
    standard_error: Values


def bootstrap_interval(
    values: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | None = 0,
) -> Interval:
    """Compute percentile intervals of means over rows, from resamples of groups of rows.

    Parameters
    ----------
    values : array of shape (n_rows,) or (n_rows, n_measures)
        One value for each row and measure; NaN where a row has none.
    groups : array of int of shape (n_rows,), optional
        Which rows are drawn together: the image of each query. Left out, each row by itself.
    weights : array of shape (n_rows,), optional
        Weight of each row in the mean.
    confidence : float
        Share of resamples inside the interval.
    n_resamples : int
        Resamples with replacement, of as many groups as there are.
    random_state : int or None
        Seed of the resamples.

    Returns
    -------
    Interval
        Its `low`, `high` and `standard_error` are arrays of one entry for each measure. All
        measures see the same resamples.
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) == 0:
        raise InputError(
            f"values must be of shape (n_rows,) or (n_rows, n_measures), got {table.shape}. "
            "Pass one value for each row."
        )
    check_real(confidence, "confidence", low=0.0, high=1.0, open_low=True, open_high=True)
    check_integer(n_resamples, "n_resamples", low=2)
    rng = check_random_state(random_state)
    sums, counts = _by_group(table, groups, weights)
    n, both = len(sums), np.concatenate([sums, counts], axis=1)
    batch = max(1, BATCH_BYTES // (8 * n))
    batches = []
    for start in range(0, n_resamples, batch):
        size = min(batch, n_resamples - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        total, count = np.split(times.astype(np.float64) @ both, 2, axis=1)
        # A resample may hold no row that has a value; it then has no mean.
        batches.append(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))
    means, tail = np.concatenate(batches), (1.0 - confidence) / 2.0
    low, high = np.nanquantile(means, [tail, 1.0 - tail], axis=0)
    return Interval(low, high, np.nanstd(means, axis=0))


def _by_group(
    table: Values, groups: ArrayLike | None, weights: ArrayLike | None
) -> tuple[Values, Values]:
    """Return weighted sums and weights of each group, each of shape (n_groups, n_measures)."""
    n_rows = len(table)
    labels = np.arange(n_rows) if groups is None else np.asarray(groups)
    weight = np.ones(n_rows) if weights is None else np.asarray(weights, dtype=np.float64)
    for what, array in (("groups", labels), ("weights", weight)):
        if array.shape != (n_rows,):
            raise InputError(
                f"{what} must be of length {n_rows}, one for each row, got shape {array.shape}. "
                "Pass them in the order of the values."
            )
    _, group = np.unique(labels, return_inverse=True)
    present = np.isfinite(table) * weight[:, None]
    weighted = np.where(np.isfinite(table), table, 0.0) * weight[:, None]
    sums, counts = (
        np.column_stack([np.bincount(group, column).astype(float) for column in part.T])
        for part in (weighted, present)
    )
    return sums, counts


def bounds_around(value: float, low: float, high: float) -> tuple[float, float]:
    """Return bounds that hold a mean: where all resamples have it, they may miss it by rounding."""
    rounding = 16 * np.finfo(float).eps * abs(value)
    level = high - low <= rounding
    return (min(low, value), max(high, value)) if level else (low, high)
