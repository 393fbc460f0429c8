"""Means over queries with bootstrap intervals over images, all methods on the same draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "ImageMeans", "bootstrap_weights", "estimates"]

Values = NDArray[np.float64]
K = TypeVar("K")


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

    def to_dict(self) -> dict[str, float]:
        """Return it as JSON can hold it."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, eq=False)
class ImageMeans:
    """Sums and counts of the values of each image's queries.

    Attributes
    ----------
    total, count : array of shape (n_images,)
    """

    total: Values
    count: Values

    def mean(self) -> float:
        """Return the mean over all queries."""
        return float(self.total.sum() / self.count.sum())

    def per_image(self) -> Values:
        """Return the mean of each image that has queries."""
        seen = self.count > 0
        return self.total[seen] / self.count[seen]

    def minus(self, other: ImageMeans) -> ImageMeans:
        """Return the change from `other`, over the same queries."""
        return ImageMeans(self.total - other.total, self.count)

    @staticmethod
    def both(parts: Mapping[Any, ImageMeans]) -> ImageMeans:
        """Return the mean of several measures of equal weight, image by image."""
        seen = np.all([part.count > 0 for part in parts.values()], axis=0)
        total = np.zeros(len(seen))
        for part in parts.values():
            total[seen] += part.total[seen] / part.count[seen] / len(parts)
        return ImageMeans(total, seen.astype(np.float64))


def bootstrap_weights(n_images: int, n_resamples: int, random_state: int) -> Values:
    """Return how often each image is drawn in each resample, of shape (n_resamples, n_images)."""
    rng = np.random.default_rng(random_state)
    weights = np.empty((n_resamples, n_images))
    for row in weights:
        row[:] = np.bincount(rng.integers(n_images, size=n_images), minlength=n_images)
    return weights


def estimates(means: Mapping[K, ImageMeans], weights: Values) -> dict[K, Estimate]:
    """Return each mean with its percentile interval over the resamples in `weights`."""
    totals, counts = (
        weights @ np.column_stack([getattr(item, part) for item in means.values()])
        for part in ("total", "count")
    )
    # A resample may hold no query of some measure; it then has no mean.
    draws = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    bounds = np.nanquantile(draws, [0.025, 0.975], axis=0)
    return {
        name: Estimate(item.mean(), float(low), float(high))
        for (name, item), low, high in zip(means.items(), *bounds, strict=True)
    }
