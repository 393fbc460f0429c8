"""Rank all images and texts together, for every query; no measure depends on the order of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike

from fillgap.errors import InputTypeError, check_integer, check_random_state, unit_rows
from fillgap.kernel import MEMORY_BYTES, N_OWN, Question, Scores, answer, level_within
from fillgap.metrics.pool import Array, PoolScan, QueryScan, as_pair
from fillgap.pair import iter_blocks
from fillgap.runtime import Progress

#: Query rows of each modality that are scanned at most; more are sampled.
MAX_QUERIES = 20_000


def scan_pool(
    X: Any,
    Y: Any = None,
    image_index: ArrayLike | None = None,
    *,
    n_neighbors: int = 10,
    n_own: int = N_OWN,
    max_queries: int | None = MAX_QUERIES,
    memory_bytes: int = MEMORY_BYTES,
    random_state: int | None = 0,
    progress: Progress | None = None,
) -> PoolScan:
    """Rank all images and texts together by cosine, for every image and for every text.

    Rows need not be normalised; tensors are scanned on their device. `n_neighbors` of each query
    are kept in the pool and `n_own` within its modality; fewer where it is smaller. At most
    `max_queries` rows of each modality, drawn with `random_state`, are queries, or all where it is
    None; the pool is always whole. The similarities of one block, of 16 rows at least, may take
    `memory_bytes`.
    """
    pair = as_pair(X, Y, image_index)
    index = None if pair.image_index is None else np.asarray(pair.image_index)
    sides = _same_type(_units(pair.images, "images"), _units(pair.texts, "texts"))
    chosen = choose_queries(pair, max_queries, random_state)
    scans = []
    for side, (rows, relevant) in enumerate(
        zip(chosen, relevant_items(index, *chosen), strict=True)
    ):
        same, other = sides[side], sides[1 - side]
        query, item = relevant
        scan = _scan(
            same if len(rows) == len(same) else same[rows],
            same,
            other,
            Question(rows, np.searchsorted(query, np.arange(len(rows) + 1)), len(same) + item),
            (n_neighbors, n_own),
            memory_bytes=memory_bytes,
            progress=progress,
        )
        scans.append(replace(scan, rows=rows, groups=rows))
    texts = with_images_first(scans[1], pair.n_images, pair.n_images + pair.n_texts)
    if index is not None:
        texts = replace(texts, groups=index[texts.rows])
    return PoolScan(scans[0], texts, pair.n_images, pair.n_texts, index)


def scan_queries(
    queries: Any,
    same: Any,
    other: Any,
    *,
    own: ArrayLike | None = None,
    pair_query: ArrayLike = (),
    pair_item: ArrayLike = (),
    n_neighbors: int = 10,
    n_own: int = N_OWN,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress | None = None,
) -> QueryScan:
    """Rank any pool of two modalities for any queries of one of them.

    `own` is the row of `same` that each query is itself, which is left out. `pair_query` is the
    position of a query, ascending, and `pair_item` the number of an item that is relevant to it:
    rows of `same` first, then those of `other`. Several relevant items of a query must lie on one
    side. The rest is as for `scan_pool`.
    """
    arrays = [
        unit_rows(rows, what)
        for rows, what in ((queries, "queries"), (same, "the pool"), (other, "the pool"))
    ]
    start = np.searchsorted(np.asarray(pair_query), np.arange(len(arrays[0]) + 1))
    mine = None if own is None else np.asarray(own, dtype=np.intp)
    rows, pool, across = _same_type(*arrays)
    return _scan(
        rows,
        pool,
        across,
        Question(mine, start, np.asarray(pair_item, dtype=np.intp)),
        (n_neighbors, n_own),
        memory_bytes=memory_bytes,
        progress=progress,
    )


def _units(side: Any, what: str) -> Any:
    """Return the unit rows of a side, made block by block so that no second copy is held."""
    if not isinstance(side, np.ndarray):
        return unit_rows(side, what)
    units = np.empty(side.shape, np.float64 if side.dtype == np.float64 else np.float32)
    for start, block in iter_blocks(side, what):
        units[start : start + len(block)] = unit_rows(block, what, first_row=start)
    return units


def _same_type(*arrays: Any) -> list[Any]:
    """Return the arrays in the widest of their types; they must be of one library."""
    if len({isinstance(array, np.ndarray) for array in arrays}) > 1:
        raise InputTypeError(
            "images and texts must be arrays of one library, got NumPy and another one. "
            "Convert one of them."
        )
    xp = array_namespace(*arrays)
    wide = xp.result_type(*arrays)
    return [xp.astype(array, wide, copy=False) for array in arrays]


def choose_queries(pair: Any, limit: int | None, random_state: int | None) -> tuple[Array, Array]:
    """Return the rows that are queries: all, or a sample; of pairs row by row the same ones.

    Of `pair` only `n_images`, `n_texts` and `one_to_one` are read.
    """
    if limit is None:
        return np.arange(pair.n_images), np.arange(pair.n_texts)
    check_integer(limit, "max_queries", low=2)
    rng = check_random_state(random_state)

    def sample(n: int) -> Array:
        return np.arange(n) if n <= limit else np.sort(rng.choice(n, limit, replace=False))

    images = sample(pair.n_images)
    return images, images if pair.one_to_one else sample(pair.n_texts)


def relevant_items(
    index: Array | None, image_rows: Array, text_rows: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return (position of a query, row that belongs to it), of image and of text queries."""
    if index is None:
        none = np.empty(0, np.intp)
        return (none, none), (none, none)
    order = np.argsort(index, kind="stable")
    first, last = (np.searchsorted(index[order], image_rows, side) for side in ("left", "right"))
    counts = last - first
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    texts = order[np.repeat(first, counts) + offsets]
    return (
        (np.repeat(np.arange(len(image_rows)), counts), texts),
        (np.arange(len(text_rows)), index[text_rows]),
    )


def _scan(
    queries: Any,
    same: Any,
    other: Any,
    question: Question,
    sizes: tuple[int, int],
    *,
    memory_bytes: int,
    progress: Progress | None,
) -> QueryScan:
    """Scan unit rows of one type, and apply the rule for ties."""
    n_same, n_other, left_out = len(same), len(other), question.own is not None
    n_neighbors = check_integer(sizes[0], "n_neighbors", low=1)
    n_own = check_integer(sizes[1], "n_own", low=1)
    scores = answer(
        queries,
        same,
        other,
        question,
        k=min(n_neighbors, n_same + n_other - left_out),
        k_own=min(n_own, n_same - left_out),
        memory_bytes=memory_bytes,
        progress=progress,
    )
    rows = np.arange(len(queries))
    return query_scan(scores, question, n_same=n_same, n_other=n_other, rows=rows)


def query_scan(
    scores: Scores, question: Question, *, n_same: int, n_other: int, rows: Array
) -> QueryScan:
    """Return what a kernel found for queries in these rows, with the rule for ties applied."""
    query = np.repeat(np.arange(len(rows)), np.diff(question.start))
    mixed_rank, cross_rank = _pair_ranks(scores, query, question.item >= n_same)
    return QueryScan(
        rows=rows,
        groups=rows,
        share=n_other / (n_same + n_other - (question.own is not None)),
        nearest_same=scores.nearest_same,
        nearest_other=scores.nearest_other,
        best_other_rank=1 + scores.above + 0.5 * scores.level,
        similarities=scores.values,
        items=scores.items,
        other=_share_of_other(scores, n_same),
        own_items=scores.own_items,
        pair_query=query,
        pair_item=question.item,
        pair_similarity=scores.pair_score,
        mixed_rank=mixed_rank,
        cross_rank=cross_rank,
    )


def _share_of_other(scores: Scores, n_same: int) -> Array:
    """Return whether each neighbour is of the other modality; a share where items are level."""
    values, flags = scores.values, (scores.items >= n_same).astype(np.float32)
    starts = np.ones(values.shape, dtype=bool)
    starts[:, 1:] = values[:, 1:] < values[:, :-1] - level_within(values.dtype)
    if not starts.all():
        run = np.cumsum(starts) - 1
        share = np.bincount(run, flags.ravel()) / np.bincount(run)
        flags = share[run].reshape(flags.shape).astype(np.float32)
    tied = scores.tied_other / (scores.tied_same + scores.tied_other)
    return np.where(values == values[:, -1:], tied[:, None], flags).astype(np.float32)


def _pair_ranks(scores: Scores, query: Array, is_other: Array) -> tuple[Array, Array]:
    """Return the rank of each relevant item in the pool and among its own modality."""
    order = np.lexsort((-scores.pair_score, query))
    score, of = scores.pair_score[order], query[order]
    starts = np.ones(len(order), dtype=bool)
    within = level_within(score.dtype)
    starts[1:] = (score[1:] < score[:-1] - within) | (of[1:] != of[:-1])
    run = np.cumsum(starts) - 1
    turn, level = np.empty(len(order)), np.empty(len(order))
    turn[order] = np.arange(len(order)) - np.flatnonzero(starts)[run]
    level[order] = np.bincount(run)[run]

    def rank(above: Array, at: Array) -> Array:
        return 1 + above + 0.5 * (at - level) + turn

    column = is_other.astype(np.intp)[:, None]
    one_side = (
        np.take_along_axis(counts, column, axis=1)[:, 0]
        for counts in (scores.pair_above, scores.pair_level)
    )
    return rank(scores.pair_above.sum(axis=1), scores.pair_level.sum(axis=1)), rank(*one_side)


def with_images_first(scan: QueryScan, n_images: int, n_items: int) -> QueryScan:
    """Renumber what the text queries found: images first, then texts."""
    items, pair_item = ((part + n_images) % n_items for part in (scan.items, scan.pair_item))
    return replace(scan, items=items, pair_item=pair_item)
