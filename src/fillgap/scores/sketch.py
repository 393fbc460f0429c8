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
    """Counts of scores in bins of 1.2e-4; histograms of parts add up to that of the whole."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS, dtype=np.int64)

    def add(self, scores: Array) -> None:
        """Add scores of any shape."""
        flat = scores.ravel()
        for start in range(0, len(flat), _CHUNK):
            places = flat[start : start + _CHUNK] + _LIMIT
            places *= _BINS / (2 * _LIMIT)
            np.clip(places, 0, _BINS - 1, out=places)
            self.counts += np.bincount(places.astype(np.int32), minlength=_BINS)

    @property
    def total(self) -> int:
        """Number of scores."""
        return int(self.counts.sum())

    def points(self) -> tuple[Array, Array]:
        """Return the middles of the bins that are not empty, and their counts."""
        filled = np.flatnonzero(self.counts)
        return (filled + 0.5) * (2 * _LIMIT / _BINS) - _LIMIT, self.counts[filled]

    def quantiles(self, levels: Array) -> Array:
        """Return the scores below which these shares of all scores lie."""
        middles, counts = self.points()
        upper = np.cumsum(counts)
        return np.interp(levels * upper[-1], upper - 0.5 * counts, middles)
