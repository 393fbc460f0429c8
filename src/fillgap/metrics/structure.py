"""Alignment of pairs, uniformity of each modality, and the structure that both share."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from fillgap._checks import check_integer, check_random_state, check_real, unit_rows
from fillgap._similarity import MEMORY_BYTES, block_rows
from fillgap.metrics.distances import mean_squared_distance
from fillgap.metrics.pool import as_pair
from fillgap.metrics.results import Sides
from fillgap.metrics.sums import check_spread, paired_moments

__all__ = ["MAX_ROWS", "alignment", "choose_rows", "linear_cka", "uniformity"]

#: Rows of each modality that measures with a cost beyond one pass look at; more are sampled.
MAX_ROWS = 5000


def alignment(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute the mean of ‖x − y‖² over pairs of unit rows: 0 where pairs coincide.

    Source: Wang and Isola 2020. It is `mean_squared_distance` on unit rows.

    Parameters
    ----------
    X : array of shape (n_images, n_features) or EmbeddingPair
        Image embeddings, or both.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    image_index : array of int of shape (n_texts,), optional
        Row of each text's image.
    """
    return mean_squared_distance(X, Y, image_index)


def uniformity(
    X: Any,
    Y: Any = None,
    *,
    t: float = 2.0,
    max_rows: int = MAX_ROWS,
    random_state: int | None = 0,
) -> Sides:
    """Compute log mean exp(−t ‖z − z'‖²) over two different rows of one modality.

    0 where all rows are equal; the lower, the more evenly they fill the sphere. Source: Wang and
    Isola 2020.

    Parameters
    ----------
    X, Y
        As for `alignment`.
    t : float
        Sharpness of the kernel.
    max_rows : int
        Rows of each modality that are compared at most; more are sampled.
    random_state : int or None
        Seed of the sample.
    """
    check_real(t, "t", low=0.0, open_low=True)
    pair = as_pair(X, Y)
    rng = check_random_state(random_state)
    return Sides(
        *(
            _uniformity(unit_rows(side[choose_rows(len(side), max_rows, rng)], what), t)
            for side, what in ((pair.images, "images"), (pair.texts, "texts"))
        )
    )


def choose_rows(n: int, max_rows: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return all of n rows, or a sorted sample of `max_rows` of them."""
    check_integer(max_rows, "max_rows", low=2)
    return np.arange(n) if n <= max_rows else np.sort(rng.choice(n, max_rows, replace=False))


def _uniformity(rows: Any, t: float) -> float:
    """Sum the kernel over all ordered pairs block by block; a row with itself adds 1."""
    n, xp = len(rows), array_namespace(rows)
    step = block_rows(n, 8, MEMORY_BYTES)
    total = 0.0
    for start in range(0, n, step):
        kernel = xp.exp((rows[start : start + step] @ rows.T - 1.0) * (2.0 * t))
        total += float(xp.sum(xp.astype(kernel, xp.float64)))
    return float(np.log((total - n) / (n * (n - 1))))


def linear_cka(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> float:
    """Compute linear CKA: ‖S_xy‖² / (‖S_xx‖ ‖S_yy‖), with centred scatters in Frobenius norm.

    1 where one modality is the other up to rotation, shift and scale; about 0 where they share no
    structure. Biased upwards where rows are few for the dimensions. Source: Kornblith et al. 2019.

    Parameters
    ----------
    X : array, EmbeddingPair or PairMoments
        As for `alignment`; moments must hold the cross scatter.
    Y, image_index
        As for `alignment`.
    """
    moments = check_spread(paired_moments(X, Y, image_index), "to share structure")
    cross = 0.0 if moments.cross is None else np.linalg.norm(moments.cross)
    return float(cross**2 / np.linalg.norm(moments.x.scatter) / np.linalg.norm(moments.y.scatter))
