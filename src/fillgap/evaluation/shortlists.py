"""Measures of mixed search from scores of any kind, where a cosine is not all that ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fillgap.calibration.base import Calibration, Modality, others
from fillgap.calibration.query_list import OwnListCalibration
from fillgap.evaluation.judge import IMAGE_SHARES, TwoSidedPool
from fillgap.kernel import level_columns

Array = NDArray[Any]
#: From the cosines of queries of one modality with images and with texts, and those rows, to the
#: scores that are sorted together.
Scorer: TypeAlias = Callable[[Modality, Mapping[Modality, Array], Mapping[Modality, Array]], Any]
#: Of queries of one modality with documents of another.
Scores: TypeAlias = Mapping[Modality, Mapping[Modality, Array]]


def calibrated(calibration: Calibration | None) -> Scorer:
    """Return the scorer of a fitted calibration; None leaves cosines as they are."""

    def score(
        query: Modality, cosines: Mapping[Modality, Array], rows: Mapping[Modality, Array]
    ) -> Mapping[Modality, Array]:
        if calibration is None:
            return cosines
        return {
            document: calibration.calibrate(
                values, query=query, document=document, documents=rows[document]
            )
            for document, values in cosines.items()
            if values.shape[1]
        } | {document: values for document, values in cosines.items() if not values.shape[1]}

    return score


def all_scores(rows: Mapping[Modality, Array], scorer: Scorer) -> Scores:
    """Return the scores of all rows as queries with all rows as documents, less themselves.

    Parameters
    ----------
    rows : mapping
        Aligned unit rows: "image" of shape (n_images, d), "text" of shape (n_texts, d).
    scorer : callable

    Returns
    -------
    mapping from query modality to mapping from document modality to array
        A query's score with itself is -inf. The scorer gets it so: a list that a query heads itself
        is not the list that is searched.
    """
    return scored(all_cosines(rows), rows, scorer)


def all_cosines(rows: Mapping[Modality, Array]) -> Scores:
    """Return the cosines that `all_scores` starts from, for several scorers; -inf with itself."""
    found = {}
    for query in rows:
        found[query] = {
            document: level_columns(rows[query] @ side.T, side) for document, side in rows.items()
        }
        np.fill_diagonal(found[query][query], -np.inf)
    return found


def scored(cosines: Scores, rows: Mapping[Modality, Array], scorer: Scorer) -> Scores:
    """Return what a scorer makes of cosines, which stay as they are."""
    return {query: scorer(query, sides, rows) for query, sides in cosines.items()}


def levelled(fit: OwnListCalibration, scores: Scores, cosines: Scores) -> Scores:
    """Return the scores of a calibration by the query's own list, from those that it is applied to.

    Parameters
    ----------
    fit : OwnListCalibration
    scores, cosines : mapping
        As `all_scores` gives them: through what the calibration is applied after, and as they are.
    """
    return {
        query: {
            document: fit.level(values, others(cosines[query][document], same=query == document))
            for document, values in sides.items()
        }
        for query, sides in scores.items()
    }


def ndcg_of_lists(
    ranks: NDArray[np.float64],
    of_query: NDArray[np.intp],
    n_queries: int,
    k: int = 10,
    grades: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the NDCG at k of each query; the ideal list begins with all relevant items.

    Parameters
    ----------
    ranks : array of shape (n_pairs,)
        Rank of each relevant item.
    of_query : array of int of shape (n_pairs,)
        The query that it is relevant to.
    n_queries, k : int
    grades : array of shape (n_pairs,), optional
        The gain of each, above 0; 1 where it is left out.

    Returns
    -------
    array of shape (n_queries,)
        NaN where nothing is relevant.
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


def ranks_among(lists: tuple[Array, ...], of_query: Array, at: Array) -> NDArray[np.float64]:
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


def recall_of_ranks(
    ranks: NDArray[np.float64], of_query: NDArray[np.intp], n_queries: int
) -> NDArray[np.float64]:
    """Return whether something relevant comes first, NaN where nothing is relevant.

    Parameters as for `ndcg_of_lists`.
    """
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
    """The documents of one modality, asked by queries of one modality.

    Attributes
    ----------
    n_queries, n_documents : int
    best : array of shape (n_queries, n_kept)
        The largest scores of each query, in no order.
    """

    def __init__(self, scores: Array, query: Modality, document: Modality) -> None:
        self.query, self.document = query, document
        self.n_queries, self.n_documents = scores.shape
        kept = min(_KEPT, self.n_documents)
        if kept < self.n_documents:
            scores = np.partition(scores, self.n_documents - kept, axis=1)
        self.best = scores[:, self.n_documents - kept :].copy()  # and not all the others

    def mapped(self, scores: Array, change: ScoreMap) -> Array:
        """Return scores of this list as they are mapped."""
        return change(scores, self.query, self.document) if scores.size else scores


def _ranks(
    lists: tuple[_List, ...], of_query: Array, relevant: Array, own: _List, change: ScoreMap
) -> NDArray[np.float64]:
    """Return the rank, in the lists together, of scores of the list `own`.

    A rank beyond `_K` is only known to be so.
    """
    best = tuple(part.mapped(part.best, change) for part in lists)
    return ranks_among(best, of_query, own.mapped(relevant, change))


class SideLists:
    """What queries of one modality find where all items are on both sides.

    Attributes
    ----------
    direction : {"image_to_text", "text_to_image"}
    """

    def __init__(
        self, direction: str, lists: tuple[_List, _List], of_query: Array, relevant: Array
    ) -> None:
        self.direction, self.of_query, self.relevant = direction, of_query, relevant
        self.own, self.across = lists

    def values(self, change: ScoreMap) -> dict[str, NDArray[np.float64]]:
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

    def _exposure(self, change: ScoreMap) -> NDArray[np.float64]:
        """Return the other modality's part of the first k, relative to its part of the pool."""
        best = [part.mapped(part.best, change) for part in (self.own, self.across)]
        n_pool = self.own.n_documents + self.across.n_documents
        together = np.concatenate(best, axis=1)
        k = min(_K, n_pool - 1)
        first = np.argpartition(-together, k - 1, axis=1)[:, :k]
        share = self.across.n_documents / (n_pool - 1)
        return np.asarray((first >= best[0].shape[1]).mean(axis=1) / share)


class PoolLists:
    """What the queries of one two-sided pool find.

    Attributes
    ----------
    share : str
        Of images in the pool.
    queries : array of int
        Rows of the texts that ask.
    """

    def __init__(self, share: str, pool: TwoSidedPool, texts: Array, images: Array) -> None:
        self.share, self.queries = share, pool.queries
        self.lists = _List(texts, "text", "text"), _List(images, "text", "image")
        n = texts.shape[1]
        self.of_text = np.flatnonzero(pool.answer < n)
        self.of_image = np.flatnonzero(pool.answer >= n)
        self.relevant = (
            texts[self.of_text, pool.answer[self.of_text]],
            images[self.of_image, pool.answer[self.of_image] - n],
        )

    def values(self, change: ScoreMap) -> NDArray[np.float64]:
        """Return the NDCG@10 of each query."""
        ranks = np.empty(len(self.queries))
        parts = zip((self.of_text, self.of_image), self.relevant, self.lists, strict=True)
        for rows, relevant, own in parts:
            ranks[rows] = _ranks(self.lists, rows, relevant, own, change)
        each = np.arange(len(ranks))
        return ndcg_of_lists(ranks, each, len(each), _K)


def lists_of_sides(scores: Scores, index: NDArray[np.intp]) -> list[SideLists]:
    """Return the lists of both directions.

    Parameters
    ----------
    scores : mapping
        As `all_scores` gives them.
    index : array of int of shape (n_texts,)
        Row of each text's image.
    """
    texts = np.arange(len(index))
    sides: tuple[tuple[Modality, Modality, Array, Array], ...] = (
        ("image", "text", index, texts),
        ("text", "image", texts, index),
    )
    found = []
    for query, other, asking, answers in sides:
        lists = (
            _List(scores[query][query], query, query),
            _List(scores[query][other], query, other),
        )
        order = np.argsort(asking, kind="stable")
        relevant = scores[query][other][asking[order], answers[order]]
        found.append(SideLists(f"{query}_to_{other}", lists, asking[order], relevant))
    return found


def lists_of_pools(scores: Scores, pools: list[TwoSidedPool]) -> list[PoolLists]:
    """Return the lists of each two-sided pool, from scores as `all_scores` gives them."""
    found = []
    for share, pool in zip(IMAGE_SHARES, pools, strict=False):
        texts = scores["text"]["text"][np.ix_(pool.queries, pool.documents)]
        images = scores["text"]["image"][np.ix_(pool.queries, pool.images)]
        found.append(PoolLists(f"{share:.0%} images", pool, texts, images))
    return found


def levelled_pools(
    fit: OwnListCalibration, scores: Scores, cosines: Scores, pools: list[TwoSidedPool]
) -> list[PoolLists]:
    """Return the lists of each two-sided pool by a calibration that levels them.

    Parameters as for `levelled`: what it is applied to depends on no list, and is the same in any.
    """
    found = []
    for share, pool in zip(IMAGE_SHARES, pools, strict=False):
        lists: dict[Modality, Array] = {}
        sides: tuple[tuple[Modality, Array], ...] = (
            ("text", pool.documents),
            ("image", pool.images),
        )
        for side, rows in sides:
            part = np.ix_(pool.queries, rows)
            allowed = others(cosines["text"][side][part], same=side == "text")
            lists[side] = fit.level(scores["text"][side][part], allowed)
        found.append(PoolLists(f"{share:.0%} images", pool, lists["text"], lists["image"]))
    return found


def lists_within_pools(
    rows: Mapping[Modality, Array], pools: list[TwoSidedPool], scorer: Scorer
) -> list[PoolLists]:
    """Return the same where a score depends on the rest of the pool.

    Parameters
    ----------
    rows : mapping
        As for `all_scores`.
    pools : list of TwoSidedPool
    scorer : callable
    """
    found = []
    for share, pool in zip(IMAGE_SHARES, pools, strict=False):
        documents: dict[Modality, Array] = {
            "text": rows["text"][pool.documents],
            "image": rows["image"][pool.images],
        }
        queries = rows["text"][pool.queries]
        cosines: dict[Modality, Array] = {
            side: level_columns(queries @ part.T, part) for side, part in documents.items()
        }
        lists = scorer("text", cosines, documents)
        found.append(PoolLists(f"{share:.0%} images", pool, lists["text"], lists["image"]))
    return found
