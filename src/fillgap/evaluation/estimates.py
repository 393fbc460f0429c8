"""Means over queries with bootstrap intervals over images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fillgap.metrics.intervals import bootstrap_interval, bounds_around

__all__ = ["Estimate", "estimates", "mean_of_directions", "per_image"]

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval.

    Attributes
    ----------
    value : float
        The mean.
    low, high : float
        Bounds of the 95 % percentile bootstrap interval over images.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, low: float, high: float) -> Estimate:
        """Return a mean with the bounds that resamples have, which hold it."""
        return cls(value, *bounds_around(value, low, high))

    def to_dict(self) -> dict[str, float]:
        """Return it as JSON can hold it."""
        return asdict(self)


def estimates(
    values: Mapping[str, Values],
    groups: NDArray[np.intp],
    *,
    n_resamples: int,
    random_state: int,
) -> dict[str, Estimate]:
    """Return the mean of each measure with its interval.

    Parameters
    ----------
    values : mapping from measure to array of shape (n_queries,)
        NaN where a query has no value.
    groups : array of int of shape (n_queries,)
        The image of each query: queries of one image are drawn together.
    n_resamples, random_state
        As for `bootstrap_interval`.
    """
    columns = np.column_stack(list(values.values()))
    seen = np.isfinite(columns).any(axis=1)
    bounds = bootstrap_interval(
        columns[seen], groups[seen], n_resamples=n_resamples, random_state=random_state
    )
    return {
        name: Estimate.of(float(np.nanmean(column)), float(low), float(high))
        for (name, column), low, high in zip(values.items(), bounds.low, bounds.high, strict=True)
    }


def per_image(values: Values, groups: NDArray[np.intp], n_images: int) -> Values:
    """Return the mean over each image's queries, NaN for an image without any."""
    present = np.isfinite(values)
    total = np.bincount(groups[present], values[present], n_images)
    count = np.bincount(groups[present], minlength=n_images)
    return np.divide(total, count, out=np.full(n_images, np.nan), where=count > 0)


def mean_of_directions(
    directions: Mapping[str, Values], groups: Mapping[str, NDArray[np.intp]], n_images: int
) -> Values:
    """Return, for each image, the mean of a measure over its directions, all of equal weight."""
    parts = [per_image(values, groups[name], n_images) for name, values in directions.items()]
    return np.mean(parts, axis=0)
