"""Measures of the modality gap, one file for each family and one function for each measure.

All take image and text embeddings as arrays or as an `EmbeddingPair`. Those over the mixed pool
also take a `PoolScan`, those of means and covariances also `PairMoments`: compute these once and
ask for as many measures as needed. `MEASURES` tells which way is better and what leaves a measure
alone.
"""

from fillgap.metrics.distances import (
    PairedChange,
    cross_cosine_distance,
    mean_distance,
    mean_squared_distance,
    pair_cosine_distance,
    pair_distances,
    paired_change,
    relative_modality_gap,
    within_cosine,
)
from fillgap.metrics.faults import Finding, examine_pairing, examine_rows
from fillgap.metrics.geometry import (
    Frechet,
    Overlap,
    centroid_distance,
    effective_rank,
    energy_dimension,
    explained_variance,
    frechet_distance,
    gap_angle,
    gap_vector,
    hyperplane_angle,
    principal_angles,
    subspace_overlap,
)
from fillgap.metrics.intervals import Interval, bootstrap_interval
from fillgap.metrics.neighbours import hubness, ilisi, kbet, mutual_knn, neighbourhood_preservation
from fillgap.metrics.pool import Directions, PoolScan, QueryScan, Ratio, Sides
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
from fillgap.metrics.scan import scan_pool, scan_queries
from fillgap.metrics.structure import (
    Clusters,
    alignment,
    cluster_mixing,
    linear_cka,
    linear_separability,
    uniformity,
)
from fillgap.metrics.summary import first_texts, measure
from fillgap.metrics.table import MEASURES, Measure
from fillgap.metrics.verdict import Measurements, Value, Verdict, give_verdict

__all__ = [
    "MEASURES",
    "Clusters",
    "Directions",
    "Finding",
    "Frechet",
    "Interval",
    "Measure",
    "Measurements",
    "Overlap",
    "PairedChange",
    "PoolScan",
    "QueryScan",
    "Ratio",
    "Sides",
    "Value",
    "Verdict",
    "alignment",
    "bootstrap_interval",
    "centroid_distance",
    "cluster_mixing",
    "cross_cosine_distance",
    "effective_rank",
    "energy_dimension",
    "examine_pairing",
    "examine_rows",
    "expected_calibration_error",
    "explained_variance",
    "exposure_at_k",
    "first_texts",
    "frechet_distance",
    "gap_angle",
    "gap_vector",
    "give_verdict",
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
    "neighbourhood_preservation",
    "pair_cosine_distance",
    "pair_distances",
    "paired_change",
    "precision_at_threshold",
    "principal_angles",
    "recall_at_k",
    "relative_modality_gap",
    "scan_pool",
    "scan_queries",
    "subspace_overlap",
    "tir",
    "tmr",
    "uniformity",
    "within_cosine",
]
