"""Bootstrap intervals over images: what belongs to one image is drawn together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import InputError, check_integer, check_random_state, check_real

#: Bytes of the counts of one batch of resamples.
BATCH_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Interval:
    """A percentile interval of a mean, for each column.

    Attributes
    ----------
    low, high : array of shape (n_measures,)
        Ends of the interval.
    standard_error : array of shape (n_measures,)
        Standard deviation of the mean over resamples.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    standard_error: NDArray[np.float64]


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
        Arrays of one entry for each measure. All measures see the same resamples.
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
    sums, counts = _by_group(table, groups, weights)
    means = _resampled_means(sums, counts, n_resamples, check_random_state(random_state))
    tail = (1.0 - confidence) / 2.0
    low, high = np.nanquantile(means, [tail, 1.0 - tail], axis=0)
    return Interval(low, high, np.nanstd(means, axis=0))


def bounds_around(value: float, low: float, high: float) -> tuple[float, float]:
    """Return bounds that hold the value: where all resamples have it, it may miss them by rounding.

    Parameters
    ----------
    value : float
        The mean of all rows.
    low, high : float
        As `bootstrap_interval` gives them.
    """
    rounding = 16 * np.finfo(float).eps * abs(value)
    level = high - low <= rounding
    return (min(low, value), max(high, value)) if level else (low, high)


def _by_group(
    table: NDArray[np.float64], groups: ArrayLike | None, weights: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
    return tuple(  # type: ignore[return-value]
        np.column_stack([np.bincount(group, column) for column in part.T])
        for part in (weighted, present)
    )


def _resampled_means(
    sums: NDArray[np.float64],
    counts: NDArray[np.float64],
    n_resamples: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    n = len(sums)
    both = np.concatenate([sums, counts], axis=1)
    batch = max(1, BATCH_BYTES // (8 * n))
    means = []
    for start in range(0, n_resamples, batch):
        size = min(batch, n_resamples - start)
        drawn = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        total, count = np.split(times.astype(np.float64) @ both, 2, axis=1)
        # A resample may hold no row that has a value; it then has no mean.
        means.append(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0))
    return np.concatenate(means)
