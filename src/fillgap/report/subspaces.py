"""Spectra of both modalities, and principal angles beside those of random subspaces.

Source: "Decipher the Modality Gap" (arXiv:2510.03268).
"""

from __future__ import annotations

import numpy as np

from fillgap._subspaces import random_cosines
from fillgap.embeddings import EmbeddingPair
from fillgap.metrics import explained_variance, principal_angles, subspace_overlap
from fillgap.metrics.sums import both_moments
from fillgap.report.data import Subspaces

__all__ = ["N_DRAWS", "compare_subspaces"]

#: Simulated pairs of random subspaces.
N_DRAWS = 5


def compare_subspaces(label: str, pair: EmbeddingPair, *, random_state: int) -> Subspaces:
    """Return what is drawn of the subspaces of a representation, and what it says."""
    moments = both_moments(pair)
    images, texts = explained_variance(moments)
    overlap = subspace_overlap(moments, n_draws=N_DRAWS, random_state=random_state)
    cosines = random_cosines(
        pair.n_features,
        overlap.images_dimension,
        overlap.texts_dimension,
        n_draws=N_DRAWS,
        random_state=random_state,
    )
    chance = np.degrees(np.arccos(cosines))
    return Subspaces(
        label=label,
        n_images=pair.n_images,
        n_texts=pair.n_texts,
        images_spectrum=images,
        texts_spectrum=texts,
        angles=principal_angles(moments),
        random_low=chance.min(axis=0),
        random_mean=chance.mean(axis=0),
        random_high=chance.max(axis=0),
        sentence=overlap.sentence,
        warning=overlap.warning,
    )
