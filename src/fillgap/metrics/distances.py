"""Distances between images and texts: of pairs, and of all combinations.

Source: "Fill the Gap" (arXiv:2505.03703) 2.2.1 and its figure 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fillgap.errors import InputError, unit_rows
from fillgap.metrics.pool import Sides, Values, as_pair
from fillgap.moments import PairMoments, to_numpy
from fillgap.pair import BLOCK_ROWS, iter_blocks


def pair_distances(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, unit: bool = True
) -> Values:
    """Return ‖x − y‖ of every pair, read block by block. Parameters as for `mean_distance`."""
    pair = as_pair(X, Y, image_index)
    if pair.image_index is None:
        raise InputError(
            "images and texts must be paired for distances of pairs, got unpaired sets. "
            "Pass image_index, the row of each text's image."
        )
    index, distances = np.asarray(pair.image_index), []
    for start in range(0, pair.n_texts, BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        x, y = to_numpy(pair.images[index[part]]), to_numpy(pair.texts[part])
        if unit:
            x = unit_rows(x, "images of the pairs", first_row=start)
            y = unit_rows(y, "texts of the pairs", first_row=start)
        distances.append(np.linalg.norm(x - y, axis=1))
    return np.concatenate(distances)


def mean_distance(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, unit: bool = True
) -> float:
    """Compute the mean of ‖x − y‖ over pairs.

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
    """
    return float(pair_distances(X, Y, image_index, unit=unit).mean())


def mean_squared_distance(
    X: Any, Y: Any = None, image_index: ArrayLike | None = None, *, unit: bool = True
) -> float:
    """Compute the mean of ‖x − y‖² over pairs. Parameters as for `mean_distance`."""
    return float((pair_distances(X, Y, image_index, unit=unit) ** 2).mean())


def pair_cosine_distance(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute the mean of 1 − cos(x, y) over pairs. Parameters as for `mean_distance`."""
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
    means = []
    for side, what in ((pair.images, "images"), (pair.texts, "texts")):
        total = np.zeros(pair.n_features)
        for start, block in iter_blocks(side, what):
            total += unit_rows(to_numpy(block), what, first_row=start).sum(axis=0)
        means.append((len(side), total / len(side)))
    return means


def relative_modality_gap(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute the relative modality gap p / (p + (m_x + m_y) / 2).

    p is the mean of (1 − cos) / 2 over pairs, m that over two different items of one modality.
    About .5 says that a pair is as far apart as two random items of one modality; 0 that pairs
    coincide. Source: Schrodi et al., "Two effects, one trigger" (arXiv:2404.07983).

    Parameters as for `mean_distance`.
    """
    pair = as_pair(X, Y, image_index)
    apart = pair_cosine_distance(pair)
    cosines = within_cosine(pair)
    within = 1.0 - (cosines.images + cosines.texts) / 2
    return float(apart / (apart + within)) if apart + within > 0 else 0.0


@dataclass(frozen=True)
class PairedChange:
    """How the distances of the same pairs differ; both tests are paired and two-sided."""

    mean_change: float  # mean distance after less mean distance before
    t_statistic: float
    t_pvalue: float
    wilcoxon_statistic: float
    wilcoxon_pvalue: float


def paired_change(before: ArrayLike, after: ArrayLike) -> PairedChange:
    """Test whether two representations of the same pairs differ in their `pair_distances`."""
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
