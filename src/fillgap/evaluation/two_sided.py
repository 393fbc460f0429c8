"""Search where each item is in the pool once, as an image or as a text.

With every item on both sides, a method that always shows the other modality first looks perfect.
Here it cannot: the item that a query is about may be of either kind.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap.embeddings import EmbeddingPair
from fillgap.metrics import per_query
from fillgap.metrics.scan import scan_queries

__all__ = ["IMAGE_SHARES", "TwoSidedPool", "draw_two_sided", "two_sided_ndcg"]

#: Images with two texts that are enough, however many have one.
_ENOUGH: Final = 200

Rows = NDArray[np.intp]

#: Share of the items that are in the pool as images.
IMAGE_SHARES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)


class TwoSidedPool:
    """One draw: which items are images, and which captions are queries and documents.

    Attributes
    ----------
    images : array of int
        Rows of the images that are in the pool.
    documents : array of int
        Rows of the texts that are in the pool.
    queries : array of int of shape (n_items,)
        Row of the text that asks for each item; never in the pool.
    answer : array of int of shape (n_items,)
        Number of that item in the pool: documents first, then images.
    items : array of int of shape (n_items,)
        Row of the image that each query is about.
    """

    def __init__(self, items: Rows, queries: Rows, documents: Rows, as_image: Any) -> None:
        self.items, self.queries = items, queries
        self.images, self.documents = items[as_image], documents[~as_image]
        self.answer = np.where(
            as_image, len(self.documents) + np.cumsum(as_image) - 1, np.cumsum(~as_image) - 1
        )


def draw_two_sided(pair: EmbeddingPair, rng: np.random.Generator) -> list[TwoSidedPool] | None:
    """Draw a pool for each share of images, of those that have two texts.

    None where they are fewer than 10, or so few (fewer than 200 and than half of all) that they and
    their small pool should not decide for the rest.
    """
    index = np.asarray(pair.image_index)
    shuffled = rng.permutation(len(index))
    order = shuffled[np.argsort(index[shuffled], kind="stable")]
    image, first, count = np.unique(index[order], return_index=True, return_counts=True)
    several = count >= 2
    items = image[several]
    if len(items) < 10 or len(items) < min(_ENOUGH, pair.n_images / 2):
        return None
    queries, documents = order[first[several]], order[first[several] + 1]
    pools = []
    for share in IMAGE_SHARES:
        as_image = np.zeros(len(items), dtype=bool)
        as_image[rng.permutation(len(items))[: round(share * len(items))]] = True
        pools.append(TwoSidedPool(items, queries, documents, as_image))
    return pools


def two_sided_ndcg(images: Any, texts: Any, pool: TwoSidedPool) -> NDArray[np.float64]:
    """Return the NDCG at 10 of each query of a pool.

    Parameters
    ----------
    images, texts : array
        The representation of all images and of all texts of the pair that the pool was drawn from.
    pool : TwoSidedPool
    """
    scan = scan_queries(
        texts[pool.queries],
        texts[pool.documents],
        images[pool.images],
        pair_query=np.arange(len(pool.queries)),
        pair_item=pool.answer,
        n_neighbors=1,
        n_own=1,
    )
    return per_query.ndcg(scan, 10, mixed=True)
