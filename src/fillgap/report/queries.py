"""Nearest neighbours of a few queries in the mixed pool, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import check_random_state
from fillgap.embeddings import EmbeddingPair
from fillgap.report.data import Hit, Item, Modality, Query
from fillgap.report.drawing import unit
from fillgap.report.pictures import small_png

__all__ = ["ask"]

#: Queries of each modality, and results of each query.
N_QUERIES: Final = 2
N_HITS: Final = 6


def ask(views: Mapping[str, EmbeddingPair], *, random_state: int) -> tuple[Query, ...]:
    """Return queries that are drawn at random, texts first, and what each representation finds.

    Parameters
    ----------
    views : mapping from label to EmbeddingPair
        The same rows in several representations.
    random_state : int
        Seed of the draw.
    """
    some = next(iter(views.values()))
    rng = check_random_state(random_state)
    pools = {
        label: np.vstack([unit(pair.images), unit(pair.texts)]) for label, pair in views.items()
    }
    counts = (some.n_texts, some.n_images)
    texts, images = (rng.permutation(n)[: min(N_QUERIES, n)] for n in counts)
    return tuple(_query(some, pools, row) for row in (*(some.n_images + texts), *images))


def _query(pair: EmbeddingPair, pools: Mapping[str, NDArray[np.float64]], number: int) -> Query:
    """Ask with one item of the pool: images come first in it, then texts."""
    own = _own(pair, number)
    hits = {}
    for label, pool in pools.items():
        cosines = pool @ pool[number]
        cosines[number] = -np.inf
        best = np.argsort(-cosines, kind="stable")[:N_HITS]
        hits[label] = tuple(Hit(_item(pair, k), float(cosines[k]), int(k) in own) for k in best)
    return Query(_item(pair, number), hits)


def _own(pair: EmbeddingPair, number: int) -> set[int]:
    """Return the numbers of the items that belong to an item."""
    if pair.image_index is None:
        return set()
    index = np.asarray(pair.image_index)
    if number >= pair.n_images:
        return {int(index[number - pair.n_images])}
    return {int(row) for row in pair.n_images + np.flatnonzero(index == number)}


def _item(pair: EmbeddingPair, number: Any) -> Item:
    modality: Modality = "image" if number < pair.n_images else "text"
    row = int(number) if modality == "image" else int(number) - pair.n_images
    names = pair.image_ids if modality == "image" else pair.text_ids
    name = f"{modality} {row}" if names is None else str(names[row])
    if modality == "image":
        picture = None if pair.thumbnails is None else small_png(pair.thumbnails[row])
        return Item(modality, name, picture=picture)
    return Item(modality, name, caption=None if pair.captions is None else str(pair.captions[row]))
