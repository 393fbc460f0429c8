"""Cosines of pairs against those of all combinations.

Source: "Fill the Gap" (arXiv:2505.03703), figure 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import check_random_state
from fillgap.embeddings import EmbeddingPair
from fillgap.report.data import Similarities
from fillgap.report.drawing import draw_rows, unit

__all__ = ["compare_similarities"]

#: Pairs that are compared at most, so that all combinations stay a few million.
MAX_PAIRS: Final = 2000
BINS: Final = 50


def compare_similarities(
    views: Mapping[str, EmbeddingPair], *, random_state: int
) -> tuple[Similarities, ...]:
    """Return the histograms of each representation, over the same bins.

    Parameters
    ----------
    views : mapping from label to EmbeddingPair
        The same pairs in several representations.
    random_state : int
        Seed of the texts that are drawn; each is compared with the images of all of them.
    """
    some = next(iter(views.values()))
    texts = draw_rows(some.n_texts, MAX_PAIRS, check_random_state(random_state))
    images, own = np.unique(np.asarray(some.image_index)[texts], return_inverse=True)
    found = {}
    for label, pair in views.items():
        cosines = unit(pair.texts[texts]) @ unit(pair.images[images]).T
        found[label] = cosines[np.arange(len(texts)), own], np.sort(cosines, axis=None)
    low = min(every[0] for _, every in found.values())
    high = max(every[-1] for _, every in found.values())
    edges = np.linspace(low, high, BINS + 1)
    return tuple(_counted(label, edges, *cosines) for label, cosines in found.items())


def _counted(
    label: str, edges: NDArray[np.float64], pairs: NDArray[np.float64], every: NDArray[np.float64]
) -> Similarities:
    """Count pairs and all combinations; the latter are sorted."""
    below, level = (np.searchsorted(every, pairs, side=side) for side in ("left", "right"))
    shares = [np.histogram(values, edges)[0] / len(values) for values in (pairs, every)]
    return Similarities(
        label=label,
        edges=edges,
        pairs=shares[0],
        combinations=shares[1],
        pairs_mean=float(pairs.mean()),
        combinations_mean=float(every.mean()),
        better=float((below + level).mean() / (2 * len(every))),
    )
