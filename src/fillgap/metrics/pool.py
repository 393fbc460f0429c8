"""What one pass over the mixed pool of images and texts finds."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import InputTypeError
from fillgap.pair import EmbeddingPair

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class QueryScan:
    """What the queries of one modality find in the pool of both, the query itself left out.

    Attributes
    ----------
    rows : array of int of shape (n_queries,)
        Rows of the queries in their modality.
    groups : array of int of shape (n_queries,)
        The image that each query shows or describes: queries of one image are drawn together
        in a bootstrap. In unpaired sets every query is a group of its own.
    share : float
        Share of the other modality in the pool: what a fair list shows of it.
    nearest_same, nearest_other : array of shape (n_queries,)
        Largest cosine with an item of the own modality, and of the other one.
    best_other_rank : array of shape (n_queries,)
        Rank, from 1, of the best item of the other modality.
    similarities, items : array of shape (n_queries, n_neighbors)
        Cosines of the nearest items, best first, and their numbers in the pool: images first, then
        texts (own modality first, then the other one, from `scan_queries`).
    other : array of shape (n_queries, n_neighbors)
        1 where that item is of the other modality, 0 where not; the share of the other modality
        among all items with this cosine where several are level.
    own_items : array of int of shape (n_queries, n_own)
        Rows of the nearest items of the own modality, best first.
    pair_query, pair_item : array of int of shape (n_pairs,)
        Position of a query in `rows`, and the number in the pool of an item that belongs to it.
    pair_similarity : array of shape (n_pairs,)
        Their cosine.
    mixed_rank, cross_rank : array of shape (n_pairs,)
        Rank, from 1, of that item in the whole pool, and among the items of its own modality.

    Notes
    -----
    A rank is 1 + the number of items above + half the number of items level with it. Items that
    would count as the same hit (other relevant ones; for `best_other_rank` all of the other
    modality) do not push each other back by half places: they follow one another.
    """

    rows: Array
    groups: Array
    share: float
    nearest_same: Array
    nearest_other: Array
    best_other_rank: Array
    similarities: Array
    items: Array
    other: Array
    own_items: Array
    pair_query: Array
    pair_item: Array
    pair_similarity: Array
    mixed_rank: Array
    cross_rank: Array

    @property
    def n_neighbors(self) -> int:
        """How many neighbours of each query are kept."""
        return int(self.items.shape[1])


@dataclass(frozen=True, eq=False)
class PoolScan:
    """One pass over the mixed pool of images and texts, with queries of both kinds.

    Attributes
    ----------
    image_queries, text_queries : QueryScan
        What the images find, and what the texts find.
    n_images, n_texts : int
        Size of the pool.
    image_index : array of int of shape (n_texts,) or None
        Row of each text's image; None where the sets are unpaired.
    """

    image_queries: QueryScan
    text_queries: QueryScan
    n_images: int
    n_texts: int
    image_index: Array | None

    @property
    def is_paired(self) -> bool:
        """Whether it is known which text belongs to which image."""
        return self.image_index is not None

    @property
    def one_to_one(self) -> bool:
        """Whether row i of the images belongs to row i of the texts, and to no other."""
        index = self.image_index
        return (
            index is not None
            and self.n_images == self.n_texts
            and bool(np.array_equal(index, np.arange(self.n_texts)))
        )

    @property
    def is_sampled(self) -> bool:
        """Whether only some of the rows were queries."""
        scanned = len(self.image_queries.rows), len(self.text_queries.rows)
        return scanned != (self.n_images, self.n_texts)


def as_pair(X: Any, Y: Any = None, image_index: ArrayLike | None = None) -> EmbeddingPair:
    """Return `X` where it is an `EmbeddingPair`, and one of these arrays otherwise."""
    if isinstance(X, EmbeddingPair):
        return X
    if Y is None:
        raise InputTypeError(
            f"a measure must be given images and texts, got one {type(X).__name__}. "
            "Pass two arrays, an EmbeddingPair, or where the measure takes one a PoolScan."
        )
    return EmbeddingPair(X, Y, image_index=image_index)


@dataclass(frozen=True)
class Directions:
    """A measure for image queries and for text queries.

    Attributes
    ----------
    image_to_text : float
        Of the images, as queries.
    text_to_image : float
        Of the texts, as queries.
    """

    image_to_text: float
    text_to_image: float

    @property
    def mean(self) -> float:
        """Return the mean of both."""
        return (self.image_to_text + self.text_to_image) / 2


@dataclass(frozen=True)
class Ratio:
    """A ratio of two counts of queries.

    Attributes
    ----------
    numerator, denominator : float
        Queries whose nearest item is of their own modality, and of the other one. A query with
        nearest items of both counts in part.
    """

    numerator: float
    denominator: float

    @property
    def value(self) -> float:
        """Return the ratio: infinity where the denominator is 0."""
        return self.numerator / self.denominator if self.denominator else inf

    @property
    def probability(self) -> float:
        """Return the share of the numerator in all queries."""
        return self.numerator / (self.numerator + self.denominator)


@dataclass(frozen=True)
class Sides:
    """A measure of each modality by itself.

    Attributes
    ----------
    images, texts : float
        Of the image embeddings, and of the text embeddings.
    """

    images: float
    texts: float
