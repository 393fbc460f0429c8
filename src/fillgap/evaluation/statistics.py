"""Means over images with their intervals, paired tests of a change, and Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import check_random_state
from fillgap.metrics.intervals import bootstrap_interval, bounds_around
from fillgap.metrics.pool import Values


def paired_permutation_test(
    differences: ArrayLike, *, n_permutations: int = 10_000, random_state: int = 0
) -> float:
    """Return the two-sided p-value of a mean difference, by flipping signs at random.

    Parameters
    ----------
    differences : array of shape (n_images,)
        One value for each independent unit: here the mean change over all queries of an image.
    n_permutations : int
        Random sign vectors; the smallest possible value is 1 / (n_permutations + 1).
    random_state : int
        Seed.

    References
    ----------
    Fisher (1935), "The Design of Experiments"; the added one: Phipson and Smyth (2010).
    """
    values = np.asarray(differences, dtype=np.float64)
    return float(paired_permutation_tests(values[:, None], n_permutations, random_state)[0])


def paired_permutation_tests(
    differences: ArrayLike, n_permutations: int, random_state: int = 0
) -> Values:
    """Return the p-value of each column of differences; all see the same random signs.

    A unit without a value is 0 there, which no sign changes.
    """
    values = np.asarray(differences, dtype=np.float64)
    rng = check_random_state(random_state)
    observed = np.abs(values.sum(axis=0)) * (1 - 1e-12)  # rounding must not turn a tie into a loss
    as_far, done = np.zeros(values.shape[1], dtype=np.int64), 0
    while done < n_permutations:
        count = min(n_permutations - done, max(1, 4_000_000 // max(len(values), 1)))
        signs = rng.integers(0, 2, size=(count, len(values)), dtype=np.int8) * 2.0 - 1.0
        as_far += np.sum(np.abs(signs @ values) >= observed, axis=0)
        done += count
    return (1.0 + as_far) / (1 + n_permutations)


def holm(p_values: ArrayLike) -> Values:
    """Return p-values corrected for their number by Holm's step-down method (Holm 1979)."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


@dataclass(frozen=True)
class Estimate:
    """A mean and the bounds of its 95 % percentile bootstrap interval over images."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, low: float, high: float) -> Estimate:
        """Return a mean with the bounds that resamples have, which hold it."""
        return cls(value, *bounds_around(value, low, high))

    @property
    def signed(self) -> str:
        """A change in words."""
        return f"{self.value:+.3f}, 95 % interval {self.low:+.3f} to {self.high:+.3f}"

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
    """Return the mean over queries of each measure, NaN left out, with its interval.

    Queries of one group, which is an image, are drawn together.
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
