"""What one pass over the mixed pool of images and texts finds, and how measures say it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import InputTypeError
from fillgap.pair import EmbeddingPair

Array = NDArray[Any]
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class QueryScan:
    """What the queries of one modality find in the pool of both, the query itself left out.

    Items are numbered images first, then texts (own modality first, then the other one, from
    `scan_queries`). A rank, from 1, is 1 + the number of items above + half the number of items
    level with it. Items that would count as the same hit (other relevant ones; for
    `best_other_rank` all of the other modality) do not push each other back by half places: they
    follow one another.
    """

    rows: Array  # of the queries in their modality
    groups: Array  # the image of each query, by which a bootstrap draws; itself where unpaired
    share: float  # of the other modality in the pool: what a fair list shows of it
    nearest_same: Array  # largest cosine with an item of the own modality
    nearest_other: Array  # and with one of the other modality
    best_other_rank: Array  # of the best item of the other modality
    similarities: Array  # (n_queries, n_neighbors): cosines of the nearest items, best first
    items: Array  # (n_queries, n_neighbors): their numbers
    other: Array  # 1 where such an item is of the other modality; where level, the share that is
    own_items: Array  # (n_queries, n_own): rows of the nearest items of the own modality
    pair_query: Array  # position in `rows` of a query that an item belongs to
    pair_item: Array  # the number of that item
    pair_similarity: Array  # their cosine
    mixed_rank: Array  # of that item in the whole pool
    cross_rank: Array  # and among the items of its own modality

    @property
    def n_neighbors(self) -> int:
        """How many neighbours of each query are kept."""
        return int(self.items.shape[1])


@dataclass(frozen=True, eq=False)
class PoolScan:
    """One pass over the mixed pool of images and texts, with queries of both kinds."""

    image_queries: QueryScan
    text_queries: QueryScan
    n_images: int
    n_texts: int
    image_index: Array | None  # row of each text's image; None where the sets are unpaired

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
    """A measure for images as queries and for texts as queries."""

    image_to_text: float
    text_to_image: float

    @property
    def mean(self) -> float:
        """Return the mean of both."""
        return (self.image_to_text + self.text_to_image) / 2


@dataclass(frozen=True)
class Ratio:
    """Queries whose nearest item is of their own modality, and of the other one.

    A query with nearest items of both counts in part.
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
    """A measure of each modality by itself."""

    images: float
    texts: float
