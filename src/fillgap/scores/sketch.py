"""Histograms of scores that merge: what distributions are fitted from."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["ScoreHistogram"]

Array = NDArray[Any]

#: Corrected cosines lie within ± 4: twice a cosine, less two mean scores.
_LIMIT: Final = 4.0
_BINS: Final = 2**16
#: Scores counted at a time, so that what is made of them stays in the cache.
_CHUNK: Final = 2**18


class ScoreHistogram:
    """Counts of scores in bins of 1.2e-4; histograms of parts add up to that of the whole.

    The bins get twice as wide as often as it takes to count a score beyond them.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS, dtype=np.int64)
        self.limit = _LIMIT

    def add(self, scores: Array) -> None:
        """Add scores of any shape."""
        flat = scores.ravel()
        for start in range(0, len(flat), _CHUNK):
            chunk = flat[start : start + _CHUNK]
            self._reach(float(max(-chunk.min(), chunk.max())))
            places = chunk + self.limit
            places *= _BINS / (2 * self.limit)
            np.clip(places, 0, _BINS - 1, out=places)
            self.counts += np.bincount(places.astype(np.int32), minlength=_BINS)

    def with_others(self, other: ScoreHistogram) -> tuple[Array, Array, Array]:
        """Return the middles of the bins not empty in both, and the counts of each in them."""
        self._reach(other.limit)
        other._reach(self.limit)
        filled = np.flatnonzero(self.counts + other.counts)
        return self._middles(filled), self.counts[filled], other.counts[filled]

    @property
    def total(self) -> int:
        """Number of scores."""
        return int(self.counts.sum())

    def points(self) -> tuple[Array, Array]:
        """Return the middles of the bins that are not empty, and their counts."""
        filled = np.flatnonzero(self.counts)
        return self._middles(filled), self.counts[filled]

    def quantiles(self, levels: Array) -> Array:
        """Return the scores below which these shares of all scores lie."""
        middles, counts = self.points()
        upper = np.cumsum(counts)
        return np.interp(levels * upper[-1], upper - 0.5 * counts, middles)

    def _middles(self, bins: Array) -> Array:
        return (bins + 0.5) * (2 * self.limit / _BINS) - self.limit

    def _reach(self, score: float) -> None:
        """Make the bins twice as wide until a score of this size lies in one."""
        while self.limit < score < np.inf:
            counts = np.zeros_like(self.counts)
            counts[_BINS // 4 : -_BINS // 4] = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts, self.limit = counts, 2 * self.limit
