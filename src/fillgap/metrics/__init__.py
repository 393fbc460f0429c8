"""Measures of the modality gap, of arrays or an `EmbeddingPair`: one function for each.

Those that read a `PoolScan` or `PairMoments` take it too; `MEASURES` says what each reads.
"""

from fillgap.metrics.distances import (
    cross_cosine_distance,
    mean_distance,
    mean_squared_distance,
    pair_cosine_distance,
    relative_modality_gap,
    within_cosine,
)
from fillgap.metrics.geometry import (
    centroid_distance,
    effective_rank,
    energy_dimension,
    frechet_distance,
    gap_angle,
    hyperplane_angle,
    subspace_overlap,
)
from fillgap.metrics.intervals import bootstrap_interval
from fillgap.metrics.neighbours import hubness, ilisi, kbet, mutual_knn
from fillgap.metrics.retrieval import (
    expected_calibration_error,
    exposure_at_k,
    imr,
    itr,
    mixed_mrr,
    mixed_ndcg_at_k,
    mixed_recall_at_k,
    mrr,
    ndcg_at_k,
    precision_at_threshold,
    recall_at_k,
    tir,
    tmr,
)
from fillgap.metrics.structure import (
    alignment,
    cluster_mixing,
    linear_cka,
    linear_separability,
    uniformity,
)
from fillgap.metrics.summary import measure
from fillgap.metrics.table import MEASURES

__all__ = [
    "MEASURES",
    "alignment",
    "bootstrap_interval",
    "centroid_distance",
    "cluster_mixing",
    "cross_cosine_distance",
    "effective_rank",
    "energy_dimension",
    "expected_calibration_error",
    "exposure_at_k",
    "frechet_distance",
    "gap_angle",
    "hubness",
    "hyperplane_angle",
    "ilisi",
    "imr",
    "itr",
    "kbet",
    "linear_cka",
    "linear_separability",
    "mean_distance",
    "mean_squared_distance",
    "measure",
    "mixed_mrr",
    "mixed_ndcg_at_k",
    "mixed_recall_at_k",
    "mrr",
    "mutual_knn",
    "ndcg_at_k",
    "pair_cosine_distance",
    "precision_at_threshold",
    "recall_at_k",
    "relative_modality_gap",
    "subspace_overlap",
    "tir",
    "tmr",
    "uniformity",
    "within_cosine",
]
