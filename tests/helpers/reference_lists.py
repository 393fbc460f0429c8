"""Measures of mixed search from all scores of every list, for comparison with the best of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.calibration.base import Modality
from fillgap.evaluation.judge import TwoSidedPool
from fillgap.evaluation.shortlists import (
    Scorer,
    Scores,
    all_cosines,
    ndcg_of_lists,
    ranks_among,
    recall_of_ranks,
    scored,
)

Array = NDArray[Any]


def all_scores(rows: Mapping[Modality, Array], scorer: Scorer) -> Scores:
    """Return the scores of all rows as queries with all rows as documents, less themselves."""
    return scored(all_cosines(rows), rows, scorer)


def one_sided_values(
    scores: Scores, index: NDArray[np.intp]
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Return the value of each query by (measure, direction), all items on both sides.

    Parameters
    ----------
    scores : mapping
        As `all_scores` gives them.
    index : array of int of shape (n_texts,)
        Row of each text's image.
    """
    values: dict[tuple[str, str], NDArray[np.float64]] = {}
    texts = np.arange(len(index))
    sides: tuple[tuple[Modality, Modality, str, Array, Array], ...] = (
        ("image", "text", "image_to_text", index, texts),
        ("text", "image", "text_to_image", texts, index),
    )
    for query, other, direction, asking, answers in sides:
        own, across = scores[query][query], scores[query][other]
        order = np.argsort(asking, kind="stable")
        of_query, item = asking[order], answers[order]
        n = len(own)
        mixed = ranks_among((own, across), of_query, across[of_query, item])
        cross = ranks_among((across,), of_query, across[of_query, item])
        values["mixed_ndcg_at_10", direction] = ndcg_of_lists(mixed, of_query, n)
        values["ndcg_at_10", direction] = ndcg_of_lists(cross, of_query, n)
        values["recall_at_1", direction] = recall_of_ranks(cross, of_query, n)
        values["exposure_at_10", direction] = _exposure(own, across)
    return values


def two_sided_values(
    rows: Mapping[Modality, Array],
    pools: list[TwoSidedPool],
    scorer: Scorer,
) -> list[tuple[str, NDArray[np.intp], NDArray[np.float64]]]:
    """Return (name of the share, rows of the query texts, their NDCG@10) of each pool."""
    found = []
    for pool in pools:
        within: dict[Modality, Array] = {"text": pool.documents, "image": pool.images}
        documents = {side: rows[side][chosen] for side, chosen in within.items()}
        queries = rows["text"][pool.queries]
        cosines = {side: queries @ part.T for side, part in documents.items()}
        for side, part in documents.items():
            _, first, which = np.unique(part, axis=0, return_index=True, return_inverse=True)
            cosines[side] = cosines[side][:, first[which.ravel()]]  # copies score alike
        lists = scorer("text", cosines, documents)
        together = np.concatenate([lists["text"], lists["image"]], axis=1)
        each = np.arange(len(pool.queries))
        ranks = ranks_among((together,), each, together[each, pool.answer])
        found.append((pool.share, pool.queries, ndcg_of_lists(ranks, each, len(each))))
    return found


def _exposure(own: Array, other: Array, k: int = 10) -> NDArray[np.float64]:
    """Return the other modality's part of the first k, relative to its part of the pool."""
    together = np.concatenate([own, other], axis=1)
    k = min(k, together.shape[1] - 1)
    first = np.argpartition(-together, k - 1, axis=1)[:, :k]
    share = other.shape[1] / (together.shape[1] - 1)
    return np.asarray((first >= own.shape[1]).mean(axis=1) / share)
