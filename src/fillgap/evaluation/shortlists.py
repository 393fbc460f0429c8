"""Measures of mixed search from scores of any kind, where a cosine is not all that ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fillgap.calibration.base import Calibration, Modality, others
from fillgap.calibration.query_list import OwnListCalibration
from fillgap.evaluation.judge import TwoSidedPool
from fillgap.kernel import level_columns
from fillgap.metrics.pool import Array, Values

#: From the cosines of queries of one modality with images and with texts, and those rows, to the
#: scores that are sorted together.
Scorer: TypeAlias = Callable[[Modality, Mapping[Modality, Array], Mapping[Modality, Array]], Any]
Rows = NDArray[np.intp]
#: Of queries of one modality with documents of another.
Scores: TypeAlias = Mapping[Modality, Mapping[Modality, Array]]


def calibrated(calibration: Calibration | None) -> Scorer:
    """Return the scorer of a fitted calibration; None leaves cosines as they are."""

    def score(
        query: Modality, cosines: Mapping[Modality, Array], rows: Mapping[Modality, Array]
    ) -> Mapping[Modality, Array]:
        return {
            document: values
            if calibration is None or not values.shape[1]
            else calibration.calibrate(
                values, query=query, document=document, documents=rows[document]
            )
            for document, values in cosines.items()
        }

    return score


def all_cosines(rows: Mapping[Modality, Array]) -> Scores:
    """Return the cosines of all aligned unit rows with all of them, -inf with themselves.

    Scorers get them so: a list that a query heads itself is not the list that is searched.
    """
    cosines = {}
    for query in rows:
        cosines[query] = {
            document: level_columns(rows[query] @ side.T, side) for document, side in rows.items()
        }
        np.fill_diagonal(cosines[query][query], -np.inf)
    return cosines


def scored(cosines: Scores, rows: Mapping[Modality, Array], scorer: Scorer) -> Scores:
    """Return what a scorer makes of cosines, which stay as they are."""
    return {query: scorer(query, sides, rows) for query, sides in cosines.items()}


def levelled(fit: OwnListCalibration, scores: Scores, cosines: Scores) -> Scores:
    """Return the scores of a calibration by the query's own list, from those it is applied to."""
    return {
        query: {
            document: fit.level(values, others(cosines[query][document], same=query == document))
            for document, values in sides.items()
        }
        for query, sides in scores.items()
    }


def ndcg_of_lists(
    ranks: Values, of_query: Rows, n_queries: int, k: int = 10, grades: Values | None = None
) -> Values:
    """Return the NDCG at k of each query; the ideal list begins with all relevant items.

    Each relevant item has a rank, the query that it is relevant to, and a grade above 0 (1 where
    grades are left out). NaN where nothing is relevant.
    """
    gains = np.ones(len(ranks)) if grades is None else grades
    found = np.bincount(
        of_query, np.where(ranks <= k, gains / np.log2(1.0 + ranks), 0.0), minlength=n_queries
    )
    order = np.lexsort((-gains, of_query))
    counts = np.bincount(of_query, minlength=n_queries)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    best = np.where(place < k, gains[order] / np.log2(2.0 + place), 0.0)
    ideal = np.bincount(of_query[order], best, minlength=n_queries)
    return np.divide(found, ideal, out=np.full(n_queries, np.nan), where=counts > 0)


def ranks_among(lists: tuple[Array, ...], of_query: Array, at: Array) -> Values:
    """Return the rank of each relevant score in the lists together; level ones share a rank.

    Relevant items of one query that are level take consecutive ranks around their mean.
    """
    ranks = np.empty(len(at))
    step = max(1, 4_000_000 // max(sum(part.shape[1] for part in lists), 1))
    for start in range(0, len(at), step):
        rows, own = of_query[start : start + step], at[start : start + step, None]
        above = sum(((part[rows] > own).sum(axis=1) for part in lists), np.zeros(len(rows)))
        level = sum(((part[rows] == own).sum(axis=1) for part in lists), np.zeros(len(rows)))
        ranks[start : start + step] = 1 + above + 0.5 * (level - 1)
    return ranks


def recall_of_ranks(ranks: Values, of_query: Rows, n_queries: int) -> Values:
    """Return whether something relevant comes first, NaN where nothing is relevant."""
    best = np.full(n_queries, np.inf)
    np.minimum.at(best, of_query, ranks)
    return np.where(np.isfinite(best), best <= 1, np.nan)


#: From scores of queries of one modality with documents of another to what they are mapped to.
ScoreMap: TypeAlias = Callable[[Array, Modality, Modality], Array]

#: Length of the lists that are measured.
_K: Final = 10
#: Best scores kept of each list. A relevant score that is not above the last of these, of twice as
#: many as are measured or more, is beyond what is measured, though all of them be level with it.
_KEPT: Final = 24


class _List:
    """The documents of one modality, asked by queries of one modality: the best scores of each."""

    def __init__(self, scores: Array, query: Modality, document: Modality) -> None:
        self.query, self.document = query, document
        self.n_queries, self.n_documents = scores.shape
        kept = min(_KEPT, self.n_documents)
        if kept < self.n_documents:
            scores = np.partition(scores, self.n_documents - kept, axis=1)
        self.best = scores[:, self.n_documents - kept :].copy()  # in no order, without the others

    def mapped(self, scores: Array, change: ScoreMap) -> Array:
        """Return scores of this list as they are mapped."""
        return change(scores, self.query, self.document) if scores.size else scores


def _ranks(
    lists: tuple[_List, ...], of_query: Array, relevant: Array, own: _List, change: ScoreMap
) -> Values:
    """Return the rank in the lists together of scores of the list `own`; beyond `_K` only that."""
    best = tuple(part.mapped(part.best, change) for part in lists)
    return ranks_among(best, of_query, own.mapped(relevant, change))


class SideLists:
    """What queries of one modality find where all items are on both sides."""

    def __init__(
        self, direction: str, lists: tuple[_List, _List], of_query: Array, relevant: Array
    ) -> None:
        self.direction, self.of_query, self.relevant = direction, of_query, relevant
        self.own, self.across = lists

    def values(self, change: ScoreMap) -> dict[str, Values]:
        """Return the value of each query by measure."""
        own, across, n = self.own, self.across, self.own.n_queries
        mixed = _ranks((own, across), self.of_query, self.relevant, across, change)
        cross = _ranks((across,), self.of_query, self.relevant, across, change)
        return {
            "mixed_ndcg_at_10": ndcg_of_lists(mixed, self.of_query, n, _K),
            "ndcg_at_10": ndcg_of_lists(cross, self.of_query, n, _K),
            "recall_at_1": recall_of_ranks(cross, self.of_query, n),
            "exposure_at_10": self._exposure(change),
        }

    def _exposure(self, change: ScoreMap) -> Values:
        """Return the other modality's part of the first k, relative to its part of the pool."""
        best = [part.mapped(part.best, change) for part in (self.own, self.across)]
        n_pool = self.own.n_documents + self.across.n_documents
        together = np.concatenate(best, axis=1)
        k = min(_K, n_pool - 1)
        first = np.argpartition(-together, k - 1, axis=1)[:, :k]
        share = self.across.n_documents / (n_pool - 1)
        return np.asarray((first >= best[0].shape[1]).mean(axis=1) / share)


class PoolLists:
    """What the queries of one two-sided pool find."""

    def __init__(self, pool: TwoSidedPool, texts: Array, images: Array) -> None:
        self.share, self.queries = pool.share, pool.queries
        self.lists = _List(texts, "text", "text"), _List(images, "text", "image")
        n = texts.shape[1]
        self.of_text = np.flatnonzero(pool.answer < n)
        self.of_image = np.flatnonzero(pool.answer >= n)
        self.relevant = (
            texts[self.of_text, pool.answer[self.of_text]],
            images[self.of_image, pool.answer[self.of_image] - n],
        )

    def values(self, change: ScoreMap) -> Values:
        """Return the NDCG@10 of each query."""
        ranks = np.empty(len(self.queries))
        parts = zip((self.of_text, self.of_image), self.relevant, self.lists, strict=True)
        for rows, relevant, own in parts:
            ranks[rows] = _ranks(self.lists, rows, relevant, own, change)
        each = np.arange(len(ranks))
        return ndcg_of_lists(ranks, each, len(each), _K)


def lists_of_sides(scores: Scores, index: Rows) -> list[SideLists]:
    """Return the lists of both directions, by the row of each text's image."""
    texts = np.arange(len(index))
    sides: tuple[tuple[Modality, Modality, Array, Array], ...] = (
        ("image", "text", index, texts),
        ("text", "image", texts, index),
    )
    both = []
    for query, other, asking, answers in sides:
        own, across = (_List(scores[query][side], query, side) for side in (query, other))
        order = np.argsort(asking, kind="stable")
        relevant = scores[query][other][asking[order], answers[order]]
        both.append(SideLists(f"{query}_to_{other}", (own, across), asking[order], relevant))
    return both


def _parts(pool: TwoSidedPool, scores: Scores) -> tuple[Array, Array]:
    """Return the scores of a pool's queries with its texts, and with its images."""
    of_text = scores["text"]
    return (
        of_text["text"][np.ix_(pool.queries, pool.documents)],
        of_text["image"][np.ix_(pool.queries, pool.images)],
    )


def lists_of_pools(scores: Scores, pools: Sequence[TwoSidedPool]) -> list[PoolLists]:
    """Return the lists of each two-sided pool, from the scores of all rows with all rows."""
    return [PoolLists(pool, *_parts(pool, scores)) for pool in pools]


def levelled_pools(
    fit: OwnListCalibration, scores: Scores, cosines: Scores, pools: Sequence[TwoSidedPool]
) -> list[PoolLists]:
    """Return the same by a calibration that levels lists, from the scores it is applied to."""
    lists = []
    for pool in pools:
        (texts, images), (of_texts, of_images) = _parts(pool, scores), _parts(pool, cosines)
        texts = fit.level(texts, others(of_texts, same=True))
        images = fit.level(images, others(of_images, same=False))
        lists.append(PoolLists(pool, texts, images))
    return lists


def lists_within_pools(
    rows: Mapping[Modality, Array], pools: Sequence[TwoSidedPool], scorer: Scorer
) -> list[PoolLists]:
    """Return the same where a score depends on the rest of the pool, from aligned unit rows."""
    lists = []
    for pool in pools:
        documents: dict[Modality, Array] = {
            "text": rows["text"][pool.documents],
            "image": rows["image"][pool.images],
        }
        queries = rows["text"][pool.queries]
        cosines: dict[Modality, Array] = {
            side: level_columns(queries @ part.T, part) for side, part in documents.items()
        }
        scores = scorer("text", cosines, documents)
        lists.append(PoolLists(pool, scores["text"], scores["image"]))
    return lists
