"""Clustering of the mixed pool, which follows modality before alignment and meaning after it."""

from __future__ import annotations

from fillgap.embeddings import EmbeddingPair
from fillgap.metrics.clustering import cluster_mixing

__all__ = ["cluster_scores"]


def cluster_scores(pair: EmbeddingPair) -> dict[str, float]:
    """Return how mixed clusters are, and where there are labels how well they follow them."""
    found = cluster_mixing(pair)
    scores = {"cluster_mixing": found.value, "cluster_nmi": found.nmi, "cluster_ari": found.ari}
    return {name: value for name, value in scores.items() if value is not None}
