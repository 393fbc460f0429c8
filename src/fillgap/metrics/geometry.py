"""Means, covariances and subspaces of the modalities, all from sums that merge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import subspace_angles

from fillgap.errors import InputError, check_integer, check_real, check_same_features, unit_rows
from fillgap.linalg import (
    TOLERANCE,
    energy_basis,
    energy_rank,
    principal_vectors,
    random_cosines,
    random_overlap,
    shared_dimensions,
    spectrum,
    symmetric_power,
)
from fillgap.metrics.pool import Sides, Values, as_pair
from fillgap.moments import Moments, PairMoments, precise
from fillgap.pair import BLOCK_ROWS, EmbeddingPair, iter_blocks

#: A spread below this share of the norm is rounding.
ROUNDING = 1e-10
#: With fewer rows for each dimension than this, a sample spans less than its population.
FEW_ROWS = 5
#: Standard deviations by which subspaces must be closer than random ones to be called so, and the
#: least share of the way from random ones to one subspace: with many directions, tiny shares are
#: beyond chance.
BEYOND_CHANCE, NOTABLE = 3.0, 0.1
#: Least singular values closer than this, relative to the larger, leave the normal undetermined.
TIED = 1e-6


def moments_of(X: Any, what: str, *, unit: bool = True) -> Moments:
    """Return the moments of the rows of an array or a `RowSource`, read block by block."""
    total = Moments.empty(int(X.shape[1]))
    for start, block in iter_blocks(X, what):
        rows = unit_rows(block, what, first_row=start)  # refuses what has no direction
        total.absorb(Moments.from_rows(precise(rows if unit else block, start)))
    return total


def both_moments(X: Any, Y: Any = None, *, unit: bool = True) -> PairMoments:
    """Return the moments of both sides; those that are given as they are."""
    if isinstance(X, PairMoments):
        return X
    if isinstance(X, EmbeddingPair) or Y is None:
        pair = as_pair(X, Y)
        X, Y = pair.images, pair.texts
    check_same_features(X, Y)
    return PairMoments(moments_of(X, "images", unit=unit), moments_of(Y, "texts", unit=unit))


def paired_moments(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> PairMoments:
    """Return the moments of the pairs with their cross scatter; an image counts for each text."""
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


@dataclass(frozen=True)
class Frechet:
    """A Fréchet distance and its two terms."""

    mean_term: float  # ‖μ_x − μ_y‖²: what centring removes
    covariance_term: float  # tr(Σ_x + Σ_y − 2(Σ_x Σ_y)^½): what it does not

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
    X, Y
        As for `centroid_distance`.
    unit : bool
        Whether rows are scaled to length one first. Moments are taken as they are.

    Returns
    -------
    Frechet
        Covariances have the denominator n − 1. With fewer rows than dimensions the covariance
        term is too large.
    """
    moments = both_moments(X, Y, unit=unit)
    mean_term = float(np.sum((moments.x.mean - moments.y.mean) ** 2))
    A, B = moments.x.covariance(), moments.y.covariance()
    # tr (AB)^½ is the sum of the singular values of A^½ B^½.
    common = np.linalg.svd(symmetric_power(A, 0.5) @ symmetric_power(B, 0.5), compute_uv=False)
    return Frechet(mean_term, max(0.0, float(np.trace(A) + np.trace(B) - 2.0 * common.sum())))


def gap_vector(X: Any, Y: Any = None) -> Values:
    """Return μ_x − μ_y, of shape (n_features,). Parameters as for `centroid_distance`."""
    moments = both_moments(X, Y)
    return moments.x.mean - moments.y.mean


def centroid_distance(X: Any, Y: Any = None) -> float:
    """Compute the length of μ_x − μ_y, with μ the mean of the unit rows.

    Parameters
    ----------
    X : array of shape (n_images, n_features), EmbeddingPair or PairMoments
        Image embeddings, or all that is needed.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    """
    return float(np.linalg.norm(gap_vector(X, Y)))


def gap_angle(X: Any, Y: Any = None) -> float:
    """Compute the angle between the two centroids, in degrees.

    Parameters as for `centroid_distance`. An `InputError` is raised where a centroid is zero, as
    after centring: it then has no direction.
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


def explained_variance(X: Any, Y: Any = None) -> tuple[Values, Values]:
    """Return the share of the variance, σ² / Σ σ², that each principal axis of a side holds.

    σ are the singular values of the centred rows, largest first.
    """
    moments = check_spread(both_moments(X, Y), "to have a spectrum")
    images, texts = (spectrum(side.scatter)[0] for side in (moments.x, moments.y))
    return images / images.sum(), texts / texts.sum()


def effective_rank(X: Any, Y: Any = None) -> Sides:
    """Compute exp(−Σ p log p), p = σ / Σ σ, with σ the singular values of the centred rows.

    Between 1 and n_features. Source: Roy and Vetterli 2007. Parameters as for
    `centroid_distance`.
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

    Parameters as for `centroid_distance`; `energy` is a share in (0, 1].
    """
    check_real(energy, "energy", low=0.0, high=1.0, open_low=True)
    moments = both_moments(X, Y)
    sizes = (
        energy_rank(spectrum(side.second_moment())[0], energy) for side in (moments.x, moments.y)
    )
    return Sides(*(float(size) for size in sizes))


@dataclass(frozen=True)
class Overlap:
    """How many dimensions the two subspaces share and how near they lie, beside what chance gives.

    `random` is max(0, images_dimension + texts_dimension − n_features): what any two subspaces of
    these sizes in general position share.
    """

    value: int  # principal angles with a cosine above 1 − tolerance
    images_dimension: int
    texts_dimension: int
    random: int
    random_mean: float  # the same count as `value` over simulated pairs of random subspaces
    random_deviation: float
    closeness: float  # mean squared cosine: 1 if one subspace holds the other, 0 if perpendicular
    median_angle: float  # in degrees, without the `random` smallest, which are 0 in any case
    random_median_angle: float  # its mean over the simulation
    n_samples: int  # the smaller number of rows
    n_features: int

    @property
    def warning(self) -> str | None:
        """Return why the sizes are not to be trusted, or None."""
        if self.n_samples >= FEW_ROWS * self.n_features:
            return None
        return (
            f"{self.n_samples} rows are few for {self.n_features} dimensions: the subspaces are "
            f"those of the sample, and {FEW_ROWS * self.n_features} rows would tell more."
        )

    @property
    def random_closeness(self) -> tuple[float, float]:
        """Return mean and standard deviation of the closeness of random subspaces (exact)."""
        d, a, b = self.n_features, self.images_dimension, self.texts_dimension
        variance = 2 * a * b * (d - a) * (d - b) / (d**2 * (d - 1) * (d + 2))
        return max(a, b) / d, float(np.sqrt(variance)) / min(a, b)

    @property
    def excess(self) -> float | None:
        """Return how far they are from random (0) to one within the other (1); None if all are."""
        expected, _ = self.random_closeness
        return None if expected == 1.0 else (self.closeness - expected) / (1.0 - expected)

    @property
    def sentence(self) -> str:
        """Say whether the modalities collapsed into different subspaces."""
        sizes = f"of {self.images_dimension} and {self.texts_dimension} dimensions"
        if self.excess is None:
            return f"The modalities fill the space, so that angles say nothing: subspaces {sizes}."
        return (
            f"{self._judgement(self.excess)}: subspaces {sizes} share {self.value}, where random "
            f"ones share {self.random}; the median angle {'of the others ' * (self.random > 0)}"
            f"is {self.median_angle:.0f}°, of random ones {self.random_median_angle:.0f}°."
        )

    def _judgement(self, excess: float) -> str:
        expected, deviation = self.random_closeness
        if self.n_samples <= self.n_features:
            return "Too few rows to say whether the modalities collapsed into different subspaces"
        if self.value == min(self.images_dimension, self.texts_dimension):
            return "The modalities share a subspace"
        if excess < NOTABLE or self.closeness < expected + BEYOND_CHANCE * deviation:
            return "The modalities collapsed into different subspaces"
        if self.value > self.random:
            return "The modalities share a part of their subspaces"
        return "The modalities lie in different subspaces, but nearer to each other than random"


def principal_angles(X: Any, Y: Any = None, *, energy: float = 0.99) -> Values:
    """Return the principal angles between the modalities' subspaces, smallest first, in degrees.

    Parameters as for `subspace_overlap`.
    """
    return np.degrees(np.sort(subspace_angles(*_bases(both_moments(X, Y), energy))))


def _bases(moments: PairMoments, energy: float) -> tuple[Values, Values]:
    check_real(energy, "energy", low=0.0, high=1.0, open_low=True)
    x, y = (energy_basis(side.second_moment(), energy) for side in (moments.x, moments.y))
    return x, y


def subspace_overlap(
    X: Any,
    Y: Any = None,
    *,
    energy: float = 0.99,
    tolerance: float = TOLERANCE,
    n_draws: int = 5,
    random_state: int | None = 0,
) -> Overlap:
    """Count the dimensions that the two modalities' subspaces share, and judge their angles.

    Angles are judged against those of random subspaces of the same sizes, whose mean squared cosine
    is max(d_x, d_y) / n_features, with variance 2 d_x d_y (d − d_x)(d − d_y) / (d² (d − 1)(d + 2))
    of the sum: the trace of the product of a fixed and a uniformly random projection.

    Parameters
    ----------
    X, Y
        As for `centroid_distance`.
    energy : float
        Share of Σ ‖x‖² that each subspace holds (uncentred).
    tolerance : float
        A principal vector is shared if its cosine exceeds 1 − tolerance.
    n_draws : int
        Simulated pairs of random subspaces.
    random_state : int or None
        Seed of the simulation.
    """
    check_real(tolerance, "tolerance", low=0.0, high=1.0)
    check_integer(n_draws, "n_draws", low=1)
    moments = both_moments(X, Y)
    d = moments.n_features
    bases = _bases(moments, energy)
    cosines, (size_x, size_y) = principal_vectors(*bases)[0], (side.shape[1] for side in bases)
    chance = random_cosines(d, size_x, size_y, n_draws=n_draws, random_state=random_state)
    counts = np.count_nonzero(chance > 1.0 - tolerance, axis=1)
    forced = random_overlap(d, size_x, size_y)
    return Overlap(
        value=shared_dimensions(cosines, tolerance),
        images_dimension=size_x,
        texts_dimension=size_y,
        random=forced,
        random_mean=float(counts.mean()),
        random_deviation=float(counts.std()),
        closeness=float(np.mean(cosines**2)),
        median_angle=_median_angle(cosines[forced:]),
        random_median_angle=_median_angle(chance[:, forced:]),
        n_samples=min(moments.x.count, moments.y.count),
        n_features=d,
    )


def _median_angle(cosines: Values) -> float:
    """Return the median angle of each row, averaged; 0 if all directions are shared anyway."""
    if cosines.shape[-1] == 0:
        return 0.0
    return float(np.mean(np.median(np.degrees(np.arccos(cosines)), axis=-1)))


def hyperplane_angle(X: Any, Y: Any = None) -> float:
    """Compute the angle between the hyperplanes through the origin that fit each modality best.

    The normal n of such a hyperplane is the right singular vector of least energy of the rows.
    Parameters as for `centroid_distance`.

    Returns
    -------
    float
        arccos |n_x · n_y|, in degrees, between 0 and 90.

    Raises
    ------
    InputError
        If there are not more rows than dimensions, or the two least singular values tie: many
        hyperplanes then fit equally well.
    """
    moments = both_moments(X, Y)
    d, normals = moments.n_features, []
    for side, what in ((moments.x, "images"), (moments.y, "texts")):
        if side.count <= d:
            raise InputError(
                f"{what} must be more than the {d} dimensions for one hyperplane to fit best, got "
                f"{side.count}. Use more rows."
            )
        values, vectors = spectrum(side.second_moment())
        least, next_least = np.sqrt(values[-1]), np.sqrt(values[-2])
        if next_least - least <= max(TIED * next_least, 1e-7 * np.sqrt(values[0])):
            raise InputError(
                f"{what} must be of one direction with least energy, got two least singular values "
                f"that tie ({least:.3g}, {next_least:.3g}). Many hyperplanes fit equally well here."
            )
        normals.append(vectors[:, -1])
    cosine = abs(float(normals[0] @ normals[1]))
    return float(np.degrees(np.arccos(min(1.0, cosine))))
