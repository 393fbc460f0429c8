"""Centroids and spectra of the two clouds, from merged sums.

Every function takes both arrays, an `EmbeddingPair`, or `PairMoments`; rows of arrays are scaled to
length one. Angles are in degrees. Source: "Decipher the Modality Gap" (arXiv:2510.03268).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_real
from fillgap._subspaces import energy_rank, spectrum
from fillgap.metrics.results import Sides
from fillgap.metrics.sums import both_moments, check_spread

__all__ = [
    "centroid_distance",
    "effective_rank",
    "energy_dimension",
    "explained_variance",
    "gap_angle",
    "gap_vector",
]

Vector = NDArray[np.float64]


def gap_vector(X: Any, Y: Any = None) -> Vector:
    """Return μ_x − μ_y, of shape (n_features,).

    Parameters
    ----------
    X : array of shape (n_images, n_features), EmbeddingPair or PairMoments
        Image embeddings, or all that is needed.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    """
    moments = both_moments(X, Y)
    return moments.x.mean - moments.y.mean


def centroid_distance(X: Any, Y: Any = None) -> float:
    """Compute the length of the gap vector. Parameters as for `gap_vector`."""
    return float(np.linalg.norm(gap_vector(X, Y)))


def gap_angle(X: Any, Y: Any = None) -> float:
    """Compute the angle between the two centroids, in degrees. Parameters as for `gap_vector`.

    Raises
    ------
    InputError
        If a centroid is zero, as after centring: it then has no direction.
    """
    moments = both_moments(X, Y)
    directions = []
    for side, what in ((moments.x, "images"), (moments.y, "texts")):
        length = float(np.linalg.norm(side.mean))
        if length < 1e-12:
            raise InputError(
                f"the centroid of the {what} must be non-zero for an angle, got length "
                f"{length:.1e}. Use centroid_distance for centred embeddings."
            )
        directions.append(side.mean / length)
    a, b = directions
    # Exact for small angles too, where arccos of a rounded cosine is not.
    angle = 2.0 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))
    return float(np.degrees(angle))


def explained_variance(X: Any, Y: Any = None) -> tuple[Vector, Vector]:
    """Return the share of the variance that each principal axis holds, of images and of texts.

    Parameters as for `gap_vector`.

    Returns
    -------
    images, texts : array of shape (n_features,)
        σ² / Σ σ² with σ the singular values of the centred rows, largest first.
    """
    moments = check_spread(both_moments(X, Y), "to have a spectrum")
    images, texts = (spectrum(side.scatter)[0] for side in (moments.x, moments.y))
    return images / images.sum(), texts / texts.sum()


def effective_rank(X: Any, Y: Any = None) -> Sides:
    """Compute exp(−Σ p log p), p = σ / Σ σ, with σ the singular values of the centred rows.

    Between 1 and n_features. Source: Roy and Vetterli 2007. Parameters as for `gap_vector`.
    """
    moments = check_spread(both_moments(X, Y), "to have a rank")
    ranks = []
    for side in (moments.x, moments.y):
        sigma = np.sqrt(spectrum(side.scatter)[0])
        p = sigma[sigma > 0] / sigma.sum()
        ranks.append(float(np.exp(-np.sum(p * np.log(p)))))
    return Sides(*ranks)


def energy_dimension(X: Any, Y: Any = None, *, energy: float = 0.99) -> Sides:
    """Compute how many directions through the origin hold that share of the energy Σ ‖x‖².

    Parameters
    ----------
    X, Y
        As for `gap_vector`.
    energy : float
        Share, in (0, 1].
    """
    check_real(energy, "energy", low=0.0, high=1.0, open_low=True)
    moments = both_moments(X, Y)
    sizes = (
        energy_rank(spectrum(side.second_moment())[0], energy) for side in (moments.x, moments.y)
    )
    return Sides(*(float(size) for size in sizes))
