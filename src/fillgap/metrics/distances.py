"""Distances between images and texts: of pairs, and of all combinations.

Source: "Fill the Gap" (arXiv:2505.03703) 2.2.1 and its figure 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import InputError, unit_rows
from fillgap.metrics.pool import Sides, as_pair
from fillgap.moments import PairMoments, to_numpy
from fillgap.pair import BLOCK_ROWS, EmbeddingPair, iter_blocks

Values = NDArray[np.float64]


def _pair_blocks(pair: EmbeddingPair, *, unit: bool) -> Iterator[tuple[Values, Values]]:
    """Yield blocks of images and of their texts in float64, row by row."""
    if pair.image_index is None:
        raise InputError(
            "images and texts must be paired for distances of pairs, got unpaired sets. "
            "Pass image_index, the row of each text's image."
        )
    index = np.asarray(pair.image_index)
    for start in range(0, pair.n_texts, BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        rows = to_numpy(pair.images[index[part]]), to_numpy(pair.texts[part])
        if unit:
            x, y = (
                unit_rows(side, f"{what} of the pairs", first_row=start)
                for side, what in zip(rows, ("images", "texts"), strict=True)
            )
            yield x, y
        else:
            yield rows


def pair_distances(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, unit: bool = True
) -> Values:
    """Return ‖x − y‖ of every pair.

    Parameters
    ----------
    X : array of shape (n_images, n_features) or EmbeddingPair
        Image embeddings, or both.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    image_index : array of int of shape (n_texts,), optional
        Row of each text's image. Left out, sets of equal size are pairs row by row.
    unit : bool
        Whether rows are scaled to length one first. Only then can representations on different
        scales be compared.

    Returns
    -------
    array of shape (n_texts,)
    """
    blocks = _pair_blocks(as_pair(X, Y, image_index), unit=unit)
    return np.concatenate([np.linalg.norm(x - y, axis=1) for x, y in blocks])


def mean_distance(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, unit: bool = True
) -> float:
    """Compute the mean of ‖x − y‖ over pairs.

    Parameters as for `pair_distances`.
    """
    return float(pair_distances(X, Y, image_index, unit=unit).mean())


def mean_squared_distance(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, unit: bool = True
) -> float:
    """Compute the mean of ‖x − y‖² over pairs.

    Parameters as for `pair_distances`.
    """
    return float((pair_distances(X, Y, image_index, unit=unit) ** 2).mean())


def pair_cosine_distance(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute the mean of 1 − cos(x, y) over pairs.

    Parameters as for `pair_distances`.
    """
    return mean_squared_distance(X, Y, image_index) / 2


def cross_cosine_distance(X: Any, Y: Any = None) -> float:
    """Compute the mean of 1 − cos(x, y) over all combinations of an image and a text.

    Its closed form 1 − μ_x·μ_y, with μ the mean of the unit rows, needs one pass over each side.

    Parameters
    ----------
    X : array of shape (n_images, n_features), EmbeddingPair or PairMoments
        Image embeddings, or all that is needed.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    """
    (_, x), (_, y) = _unit_means(X, Y)
    return float(1.0 - x @ y)


def within_cosine(X: Any, Y: Any = None) -> Sides:
    """Compute the mean cosine of two different rows of one modality.

    Its closed form is (n‖μ‖² − 1) / (n − 1), with μ the mean of the n unit rows.

    Parameters as for `cross_cosine_distance`.
    """
    return Sides(*(float((n * (mean @ mean) - 1.0) / (n - 1.0)) for n, mean in _unit_means(X, Y)))


def _unit_means(X: Any, Y: Any) -> list[tuple[int, Values]]:
    """Return the count and the mean of the unit rows of each side."""
    if isinstance(X, PairMoments):
        return [(side.count, side.mean) for side in (X.x, X.y)]
    pair = as_pair(X, Y)
    found = []
    for side, what in ((pair.images, "images"), (pair.texts, "texts")):
        total = np.zeros(pair.n_features)
        for start, block in iter_blocks(side, what):
            total += unit_rows(to_numpy(block), what, first_row=start).sum(axis=0)
        found.append((len(side), total / len(side)))
    return found


def relative_modality_gap(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute the relative modality gap p / (p + (m_x + m_y) / 2).

    p is the mean of (1 − cos) / 2 over pairs, m that over two different items of one modality.
    About .5 says that a pair is as far apart as two random items of one modality; 0 that pairs
    coincide. Source: Schrodi et al., "Two effects, one trigger" (arXiv:2404.07983).

    Parameters as for `pair_distances`.
    """
    pair = as_pair(X, Y, image_index)
    apart = pair_cosine_distance(pair)
    cosines = within_cosine(pair)
    within = 1.0 - (cosines.images + cosines.texts) / 2
    return float(apart / (apart + within)) if apart + within > 0 else 0.0


@dataclass(frozen=True)
class PairedChange:
    """How the distances of the same pairs differ between two representations.

    Attributes
    ----------
    mean_change : float
        Mean distance after less mean distance before.
    t_statistic, t_pvalue : float
        Of the paired t-test, two-sided.
    wilcoxon_statistic, wilcoxon_pvalue : float
        Of the Wilcoxon signed-rank test, two-sided.
    """

    mean_change: float
    t_statistic: float
    t_pvalue: float
    wilcoxon_statistic: float
    wilcoxon_pvalue: float


def paired_change(before: ArrayLike, after: ArrayLike) -> PairedChange:
    """Test whether two representations of the same pairs differ in the distances of the pairs.

    Parameters
    ----------
    before, after : array of shape (n_pairs,)
        Distances of the same pairs, from `pair_distances`: on unit rows if the scales differ.

    Returns
    -------
    PairedChange
    """
    from scipy.stats import ttest_rel, wilcoxon

    first, second = (np.asarray(values, dtype=np.float64) for values in (before, after))
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise InputError(
            "distances before and after must be of the same pairs, at least 2, got shapes "
            f"{first.shape} and {second.shape}. Pass pair_distances of both representations."
        )
    if np.array_equal(first, second):  # no test is defined, and none is needed
        return PairedChange(0.0, 0.0, 1.0, 0.0, 1.0)
    t, ranks = ttest_rel(second, first), wilcoxon(second, first)
    return PairedChange(
        float((second - first).mean()),
        float(t.statistic),
        float(t.pvalue),
        float(ranks.statistic),
        float(ranks.pvalue),
    )
