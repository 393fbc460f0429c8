"""Get the merged sums that a measure needs from whatever it was given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fillgap._checks import InputError, check_same_features, unit_rows
from fillgap.embeddings import EmbeddingPair
from fillgap.metrics.pool import as_pair
from fillgap.moments import Moments, PairMoments, precise
from fillgap.rows import BLOCK_ROWS, iter_blocks

__all__ = ["both_moments", "check_spread", "moments_of", "paired_moments"]

#: A spread below this share of the norm is rounding.
ROUNDING = 1e-10


def moments_of(X: Any, what: str, *, unit: bool = True) -> Moments:
    """Return the moments of the rows of an array or a `RowSource`, read block by block."""
    total = Moments.empty(int(X.shape[1]))
    for start, block in iter_blocks(X, what):
        rows = unit_rows(block, what, first_row=start)  # refuses what has no direction
        total.absorb(Moments.from_rows(precise(rows if unit else block, start)))
    return total


def both_moments(X: Any, Y: Any = None, *, unit: bool = True) -> PairMoments:
    """Return the moments of both sides.

    Parameters
    ----------
    X : array of shape (n_images, n_features), EmbeddingPair or PairMoments
        Image embeddings, or all that is needed: moments are returned as they are.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    unit : bool
        Whether rows are scaled to length one first.
    """
    if isinstance(X, PairMoments):
        return X
    if isinstance(X, EmbeddingPair) or Y is None:
        pair = as_pair(X, Y)
        X, Y = pair.images, pair.texts
    check_same_features(X, Y)
    return PairMoments(moments_of(X, "images", unit=unit), moments_of(Y, "texts", unit=unit))


def paired_moments(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> PairMoments:
    """Return the moments of the pairs, with their cross scatter: a row for every text.

    An image counts once for each of its texts. Parameters as for `both_moments`.
    """
    if isinstance(X, PairMoments):
        if X.cross is None:
            raise InputError(
                "moments must be with the cross scatter of the pairs, got none. "
                "Collect them with cross=True."
            )
        return X
    pair = as_pair(X, Y, image_index)
    if pair.image_index is None:
        raise InputError(
            "images and texts must be paired to compare their structure, got unpaired sets. "
            "Pass image_index, the row of each text's image."
        )
    index, d = np.asarray(pair.image_index), pair.n_features
    total = PairMoments(Moments.empty(d), Moments.empty(d), np.zeros((d, d)))
    for start in range(0, pair.n_texts, BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        total.absorb(
            PairMoments.from_block(start, pair.images[index[part]], pair.texts[part], cross=True)
        )
    return total


def check_spread(moments: PairMoments, purpose: str) -> PairMoments:
    """Refuse a modality whose rows are one point, up to rounding."""
    for side, what in ((moments.x, "images"), (moments.y, "texts")):
        if np.trace(side.scatter) <= ROUNDING**2 * side.count * np.trace(side.second_moment()):
            raise InputError(
                f"{what} must be more than one point {purpose}, got equal rows. "
                "Look for an encoder that returns the same vector for every input."
            )
    return moments
