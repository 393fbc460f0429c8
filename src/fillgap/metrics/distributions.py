"""Distance of the two clouds as distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fillgap._linalg import symmetric_power
from fillgap.metrics.sums import both_moments
from fillgap.moments import Moments

__all__ = ["Frechet", "frechet_distance"]


@dataclass(frozen=True)
class Frechet:
    """A Fréchet distance and its two terms.

    Attributes
    ----------
    mean_term : float
        ‖μ_x − μ_y‖²: what centring removes.
    covariance_term : float
        tr(Σ_x + Σ_y − 2(Σ_x Σ_y)^½): what it does not.
    """

    mean_term: float
    covariance_term: float

    @property
    def value(self) -> float:
        """Return the distance, not square-rooted."""
        return self.mean_term + self.covariance_term


def frechet_distance(X: Any, Y: Any = None, *, unit: bool = True) -> Frechet:
    """Compute the Fréchet distance (FID) of the images and the texts as Gaussians.

    Source: Heusel et al. 2017; "Fill the Gap" (arXiv:2505.03703) 2.2.3 uses it on embeddings as
    the model gives them, which `unit=False` does.

    Parameters
    ----------
    X : array of shape (n_images, n_features), EmbeddingPair or PairMoments
        Image embeddings, or all that is needed.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    unit : bool
        Whether rows are scaled to length one first. Moments are taken as they are.

    Returns
    -------
    Frechet
        Covariances have the denominator n − 1. With fewer rows than dimensions the covariance
        term is too large.
    """
    moments = both_moments(X, Y, unit=unit)
    return Frechet(_mean_term(moments.x, moments.y), _covariance_term(moments.x, moments.y))


def _mean_term(x: Moments, y: Moments) -> float:
    return float(np.sum((x.mean - y.mean) ** 2))


def _covariance_term(x: Moments, y: Moments) -> float:
    """Return the trace term; tr (AB)^½ is the sum of singular values of A^½ B^½."""
    A, B = x.covariance(), y.covariance()
    common = np.linalg.svd(symmetric_power(A, 0.5) @ symmetric_power(B, 0.5), compute_uv=False)
    return max(0.0, float(np.trace(A) + np.trace(B) - 2.0 * common.sum()))
