"""What held-out pairs say of one representation: a value for each query and each measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fillgap.embeddings import EmbeddingPair
from fillgap.metrics import per_query
from fillgap.metrics.neighbours import ilisi_values
from fillgap.metrics.pool import PoolScan, QueryScan
from fillgap.metrics.scan import scan_pool

__all__ = ["DIRECTIONS", "PER_QUERY", "QueryValues", "scan_test_pair", "values_of"]

Values = NDArray[np.float64]

DIRECTIONS: Final = ("image_to_text", "text_to_image")

#: Measures with one value a query, by the name of the function that computes their mean.
PER_QUERY: Final[Mapping[str, Callable[[QueryScan], Values]]] = {
    "mixed_ndcg_at_10": partial(per_query.ndcg, k=10, mixed=True),
    "mixed_recall_at_1": partial(per_query.recall, k=1, mixed=True),
    "mixed_recall_at_5": partial(per_query.recall, k=5, mixed=True),
    "mixed_recall_at_10": partial(per_query.recall, k=10, mixed=True),
    "mixed_recall_at_20": partial(per_query.recall, k=20, mixed=True),
    "mixed_mrr": partial(per_query.reciprocal_rank, mixed=True),
    "ndcg_at_10": partial(per_query.ndcg, k=10, mixed=False),
    "recall_at_1": partial(per_query.recall, k=1, mixed=False),
    "recall_at_5": partial(per_query.recall, k=5, mixed=False),
    "recall_at_10": partial(per_query.recall, k=10, mixed=False),
    "mrr": partial(per_query.reciprocal_rank, mixed=False),
    "exposure_at_10": partial(per_query.exposure, k=10),
    "ilisi": ilisi_values,
}


class QueryValues:
    """Sums over splits of one measure in one direction, one for each query.

    Attributes
    ----------
    total, count : array of shape (n_queries,)
        Sum of the values, and in how many splits the query had one.
    """

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

    Parameters
    ----------
    scan : PoolScan
        Of the representation that is judged.
    raw : PoolScan
        Of the same rows as they were, for how many neighbours within a modality are kept.
    """
    values = {}
    for direction, queries, before in (
        (DIRECTIONS[0], scan.image_queries, raw.image_queries),
        (DIRECTIONS[1], scan.text_queries, raw.text_queries),
    ):
        for name, function in PER_QUERY.items():
            values[name, direction] = function(queries)
        kept = before.own_items[:, :, None] == queries.own_items[:, None, :]
        values["neighbourhood_preservation", direction] = kept.any(axis=2).mean(axis=1)
    return values
