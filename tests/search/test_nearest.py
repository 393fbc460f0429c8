"""The blocked search for the largest products, against a sort of all of them."""

from __future__ import annotations

import numpy as np
import pytest

from fillgap.search import exact
from fillgap.search.exact import nearest


def by_sorting(queries, parts, k):
    """All products, sorted; of equal ones the lower number first."""
    blocks, first, gone = [], 0, []
    for terms, dead in parts:
        blocks.append(sum(q @ rows.T for q, rows in zip(queries, terms, strict=True)))
        gone += [first + row for row in dead]
        first += len(terms[0])
    scores = np.concatenate(blocks, axis=1)
    scores[:, gone] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, first - len(gone))]
    return order, np.take_along_axis(scores, order, axis=1)


def whole(rng, shape):
    """Small whole numbers: their products are exact, and many are equal."""
    return rng.integers(-3, 4, shape).astype(np.float32)


@pytest.mark.parametrize("order", ["as drawn", "ascending", "another modality behind"])
@pytest.mark.parametrize("k", [1, 10, 700, 20_000])
@pytest.mark.parametrize(("n_queries", "n_terms"), [(1, 1), (5, 2), (300, 1)])
def test_it_is_what_sorting_gives(order, k, n_queries, n_terms, monkeypatch) -> None:
    monkeypatch.setattr(exact, "_BLOCK_SCORES", 2**12)  # blocks of 2048 rows
    rng = np.random.default_rng(0)
    queries = [whole(rng, (n_queries, 4)) for _ in range(n_terms)]
    parts = []
    for size, dead in ((5000, [0, 17, 4999]), (1, []), (3000, range(100, 400))):
        rows = [whole(rng, (size, 4)) for _ in range(n_terms)]
        if order == "ascending":  # every block has better ones than all before it
            by = np.argsort(rows[0] @ queries[0][0])
            rows = [matrix[by] for matrix in rows]
        if order == "another modality behind":
            rows = [matrix + np.float32(len(parts)) * queries[0][0] for matrix in rows]
        parts.append((rows, np.array(dead, dtype=np.int64)))
    items, scores = nearest(queries, parts, k)
    expected_items, expected_scores = by_sorting(queries, parts, k)
    np.testing.assert_array_equal(scores, expected_scores)
    np.testing.assert_array_equal(items, expected_items)


def test_where_all_are_dead_there_is_nothing() -> None:
    part = ([np.ones((3, 2), np.float32)], np.arange(3))
    items, scores = nearest([np.ones((2, 2), np.float32)], [part], 5)
    assert items.shape == scores.shape == (2, 0)
