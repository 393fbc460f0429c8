"""Measures of mixed search from scores of any kind, where a cosine is not all that ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fillgap._copies import level_columns
from fillgap.scores import Calibration, Modality
from fillgap.scores.own_list import OwnListCalibration
from fillgap.scores.samples import others

__all__ = [
    "Scorer",
    "Scores",
    "all_cosines",
    "all_scores",
    "calibrated",
    "levelled",
    "ndcg_of_lists",
    "ranks_among",
    "recall_of_ranks",
    "scored",
]

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
