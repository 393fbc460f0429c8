"""The rule for items of equal similarity: no measure depends on the order of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._similarity import Scores, level_within

__all__ = ["pair_ranks", "share_of_other"]

Array = NDArray[Any]


def share_of_other(scores: Scores, n_same: int) -> Array:
    """Return whether each neighbour is of the other modality; a share where items are level."""
    values, flags = scores.values, (scores.items >= n_same).astype(np.float32)
    starts = np.ones(values.shape, dtype=bool)
    starts[:, 1:] = values[:, 1:] < values[:, :-1] - level_within(values.dtype)
    if not starts.all():
        run = np.cumsum(starts) - 1
        share = np.bincount(run, flags.ravel()) / np.bincount(run)
        flags = share[run].reshape(flags.shape).astype(np.float32)
    tied = scores.tied_other / (scores.tied_same + scores.tied_other)
    return np.where(values == values[:, -1:], tied[:, None], flags).astype(np.float32)


def pair_ranks(scores: Scores, query: Array, is_other: Array) -> tuple[Array, Array]:
    """Return the rank of each relevant item in the pool and among its own modality."""
    order = np.lexsort((-scores.pair_score, query))
    score, of = scores.pair_score[order], query[order]
    starts = np.ones(len(order), dtype=bool)
    within = level_within(score.dtype)
    starts[1:] = (score[1:] < score[:-1] - within) | (of[1:] != of[:-1])
    run = np.cumsum(starts) - 1
    turn, level = np.empty(len(order)), np.empty(len(order))
    turn[order] = np.arange(len(order)) - np.flatnonzero(starts)[run]
    level[order] = np.bincount(run)[run]

    def rank(above: Array, at: Array) -> Array:
        return 1 + above + 0.5 * (at - level) + turn

    column = is_other.astype(np.intp)[:, None]
    one_side = (
        np.take_along_axis(counts, column, axis=1)[:, 0]
        for counts in (scores.pair_above, scores.pair_level)
    )
    return rank(scores.pair_above.sum(axis=1), scores.pair_level.sum(axis=1)), rank(*one_side)
