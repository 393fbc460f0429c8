"""One method on one split: fitted on one part of the images, judged on the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from fillgap.aligners.base import Aligner
from fillgap.errors import CANNOT_RUN
from fillgap.metrics import retrieval
from fillgap.metrics.neighbours import ilisi_values, kept_neighbours
from fillgap.metrics.pool import PoolScan, QueryScan, Values
from fillgap.metrics.scan import scan_pool, scan_queries
from fillgap.metrics.structure import cluster_mixing
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress

#: Images with two texts that are enough, however many have one.
_ENOUGH: Final = 200

Rows = NDArray[np.intp]

#: Share of the items that are in the pool as images.
IMAGE_SHARES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)


class TwoSidedPool:
    """One draw: which items are images, and which captions are queries and documents.

    `share` names the share of images. `images` and `documents` are rows of the images and texts in
    the pool, `items` the image that each query is about, `queries` the row of the text that asks
    for it (never in the pool), `answer` that item's number in the pool: documents, then images.
    """

    def __init__(
        self, share: float, items: Rows, queries: Rows, documents: Rows, as_image: Any
    ) -> None:
        self.share, self.items, self.queries = f"{share:.0%} images", items, queries
        self.images, self.documents = items[as_image], documents[~as_image]
        self.answer = np.where(
            as_image, len(self.documents) + np.cumsum(as_image) - 1, np.cumsum(~as_image) - 1
        )


def images_with_two_texts(index: Rows, shuffled: Rows) -> tuple[Rows, Rows, Rows]:
    """Return the images with two texts or more, and the two that come first in a random order."""
    order = shuffled[np.argsort(index[shuffled], kind="stable")]
    images, first, count = np.unique(index[order], return_index=True, return_counts=True)
    several = count >= 2
    return images[several], order[first[several]], order[first[several] + 1]


def draw_two_sided(pair: EmbeddingPair, rng: np.random.Generator) -> list[TwoSidedPool] | None:
    """Draw a pool for each share of images, of those that have two texts.

    None where they are fewer than 10, or so few (fewer than 200 and than half of all) that they and
    their small pool should not decide for the rest.
    """
    index = np.asarray(pair.image_index)
    items, queries, documents = images_with_two_texts(index, rng.permutation(len(index)))
    if len(items) < 10 or len(items) < min(_ENOUGH, pair.n_images / 2):
        return None
    pools = []
    for share in IMAGE_SHARES:
        as_image = np.zeros(len(items), dtype=bool)
        as_image[rng.permutation(len(items))[: round(share * len(items))]] = True
        pools.append(TwoSidedPool(share, items, queries, documents, as_image))
    return pools


def two_sided_ndcg(images: Any, texts: Any, pool: TwoSidedPool) -> Values:
    """Return the NDCG at 10 of each query of a pool that was drawn from these images and texts."""
    scan = scan_queries(
        texts[pool.queries],
        texts[pool.documents],
        images[pool.images],
        pair_query=np.arange(len(pool.queries)),
        pair_item=pool.answer,
        n_neighbors=1,
        n_own=1,
    )
    return retrieval.ndcg(scan, 10, mixed=True)


DIRECTIONS: Final = ("image_to_text", "text_to_image")

#: Measures with one value a query, by the name of the function that computes their mean.
PER_QUERY: Final[Mapping[str, Callable[[QueryScan], Values]]] = {
    "mixed_ndcg_at_10": partial(retrieval.ndcg, k=10, mixed=True),
    "mixed_recall_at_1": partial(retrieval.recall, k=1, mixed=True),
    "mixed_recall_at_5": partial(retrieval.recall, k=5, mixed=True),
    "mixed_recall_at_10": partial(retrieval.recall, k=10, mixed=True),
    "mixed_recall_at_20": partial(retrieval.recall, k=20, mixed=True),
    "mixed_mrr": partial(retrieval.reciprocal_rank, mixed=True),
    "ndcg_at_10": partial(retrieval.ndcg, k=10, mixed=False),
    "recall_at_1": partial(retrieval.recall, k=1, mixed=False),
    "recall_at_5": partial(retrieval.recall, k=5, mixed=False),
    "recall_at_10": partial(retrieval.recall, k=10, mixed=False),
    "mrr": partial(retrieval.reciprocal_rank, mixed=False),
    "exposure_at_10": partial(retrieval.exposure, k=10),
    "ilisi": ilisi_values,
}


class QueryValues:
    """Sums over splits of one measure in one direction, one for each query."""

    def __init__(self, n_queries: int) -> None:
        self.total = np.zeros(n_queries)
        self.count = np.zeros(n_queries)

    def add(self, rows: NDArray[np.intp], values: Values) -> None:
        """Add the values of one split; NaN where a query has none."""
        present = np.isfinite(values)
        self.total[rows[present]] += values[present]
        self.count[rows[present]] += 1

    def mean(self) -> Values:
        """Return the mean over splits of each query, NaN where it never had a value."""
        return np.divide(
            self.total, self.count, out=np.full(len(self.total), np.nan), where=self.count > 0
        )


def scan_test_pair(test: EmbeddingPair) -> PoolScan:
    """Scan a held-out pair with as many neighbours as the measures here need."""
    n_pool = test.n_images + test.n_texts
    return scan_pool(test, n_neighbors=min(90, n_pool - 1), n_own=10, max_queries=None)


def values_of(scan: PoolScan, raw: PoolScan) -> dict[tuple[str, str], Values]:
    """Return the value of every query, by (measure, direction).

    `raw` is of the same rows as they were, for how many neighbours within a modality are kept.
    """
    values = {}
    for direction, queries, before in (
        (DIRECTIONS[0], scan.image_queries, raw.image_queries),
        (DIRECTIONS[1], scan.text_queries, raw.text_queries),
    ):
        for name, function in PER_QUERY.items():
            values[name, direction] = function(queries)
        kept = kept_neighbours(before, queries, k=queries.own_items.shape[1])
        values["neighbourhood_preservation", direction] = kept
    return values


def fit_clone(aligner: Aligner, train: EmbeddingPair) -> Aligner:
    """Return a clone fitted to a pair."""
    sides = train.matched() if aligner.needs_pairs else (train.images, train.texts)
    return clone(aligner).fit(*sides)


def aligned(aligner: Aligner, test: EmbeddingPair) -> EmbeddingPair:
    """Return a pair as a fitted aligner maps it, though it be unlike the rows fitted on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return test.with_vectors(*aligner.transform_pair(test.images, test.texts))


class Mapper(Protocol):
    """What runs one function over many items: an executor of `fillgap.distributed`."""

    def map(
        self, function: Callable[[Any], Any], items: Iterable[Any], *, progress: Progress | None
    ) -> Iterator[Any]:
        """Yield function(item) for each item, in the order of the items."""
        ...


@dataclass(frozen=True, eq=False)
class Cell:
    """What one call of a worker judges: a method, or None for the rows as they are, on a split."""

    name: str
    aligner: Aligner | None
    number: int  # of the split
    train: Rows
    test: Rows
    pools: list[TwoSidedPool] | None  # for search on both sides


@dataclass
class Judged:
    """What a representation of the test rows reached."""

    #: ((measure, direction), rows, their values).
    values: list[tuple[tuple[str, str], Rows, Any]] = field(default_factory=list)
    scalars: dict[str, float] = field(default_factory=dict)  # of clustering, on the first split


@dataclass
class Result:
    """What a cell gave, or why the method cannot run."""

    name: str
    plain: Judged = field(default_factory=Judged)
    notes: tuple[str, ...] = ()
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """What is at hand, where workers would open it: it travels to them with each piece of work."""

    value: Any

    def __call__(self) -> Any:
        """Return it."""
        return self.value


@dataclass(frozen=True)
class JudgeCell:
    """A function of a cell; `source` returns the same pair each time, or it is scanned anew."""

    source: Callable[[], EmbeddingPair]

    def __call__(self, cell: Cell) -> Result:
        """Fit on the one part, and judge the other."""
        split = Split.of(self.source(), cell)
        result = Result(cell.name)
        try:
            test = split.test
            if cell.aligner is not None:
                fitted = fit_clone(cell.aligner, split.train)
                test, result.notes = aligned(fitted, test), fitted.notes_
            result.plain = split.judge(test, clusters=cell.number == 0)
        except CANNOT_RUN as error:
            if cell.aligner is None:
                raise
            result.failure = str(error)
        return result


class Split:
    """One split: the part to fit on, the part to judge, and what the raw part looks like."""

    #: The last one of this process: its cells come one after the other.
    last: Split | None = None

    def __init__(self, pair: EmbeddingPair, cell: Cell) -> None:
        self.pair, self.image_rows, self.pools = pair, cell.test, cell.pools
        self.train, self.test = pair.take_images(cell.train), pair.take_images(cell.test)
        self.text_rows = np.flatnonzero(np.isin(np.asarray(pair.image_index), cell.test))
        self.raw_scan = scan_test_pair(self.test)

    @classmethod
    def of(cls, pair: EmbeddingPair, cell: Cell) -> Split:
        """Return the split of a cell."""
        last = cls.last
        if (
            last is None
            or last.pair is not pair
            or not np.array_equal(last.image_rows, cell.test)
            or last.train.n_images != len(cell.train)
        ):
            cls.last = last = None  # two of them at a time may not fit
            cls.last = last = cls(pair, cell)
        return last

    def judge(self, test: EmbeddingPair, *, clusters: bool = False) -> Judged:
        """Measure a representation of the test part."""
        judged = Judged()
        scan = self.raw_scan if test is self.test else scan_test_pair(test)
        for (measure, direction), values in values_of(scan, self.raw_scan).items():
            rows = self.image_rows if direction == "image_to_text" else self.text_rows
            judged.values.append(((measure, direction), rows, values))
        if clusters:  # k-means takes longer than all else: one split is enough
            mixing = cluster_mixing(test)
            scores = (("mixing", mixing.value), ("nmi", mixing.nmi), ("ari", mixing.ari))
            judged.scalars = {f"cluster_{name}": one for name, one in scores if one is not None}
        for pool in self.pools or ():
            values = two_sided_ndcg(test.images, test.texts, pool)
            key = ("two_sided_ndcg_at_10", pool.share)
            judged.values.append((key, self.text_rows[pool.queries], values))
        return judged


def forget() -> None:
    """Let go of the last split of this process, and with it of the pair."""
    Split.last = None
