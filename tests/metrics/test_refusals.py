"""What the measures refuse, in one sentence each."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fillgap.errors import InputError
from fillgap.metrics import distances, geometry, neighbours, retrieval, structure
from fillgap.metrics.geometry import both_moments
from fillgap.metrics.intervals import bootstrap_interval
from fillgap.metrics.scan import scan_pool
from worlds import make_gapped

CROSS = np.array([[1.0, 0], [-1.0, 0], [0, 1.0], [0, -1.0]])


@pytest.fixture(scope="module")
def o():
    """Pairs; sets of other sizes; and scans that kept 10 neighbours."""
    X, Y = make_gapped(60, 6, seed=3)
    flat, zero = X.copy(), Y.copy()
    flat[:, :2] = 0  # two directions without any energy
    zero[5] = 0
    scan, few, unpaired = (
        scan_pool(X, side, n_neighbors=10, max_queries=limit)
        for side, limit in ((Y, None), (Y, 20), (Y[:-1], None))
    )
    return SimpleNamespace(X=X, Y=Y, Z=Y[:45], flat=flat, zero=zero, scan=scan, few=few,
                           unpaired=unpaired)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: distances.mean_distance(o.X, o.Z), "must be paired for distances of pairs"),
        (lambda o: distances.cross_cosine_distance(o.X, CROSS), "of one dimension, got 6 and 2"),
        (lambda o: distances.within_cosine(o.X[:1], o.Y), "images must be at least 2 rows, got 1"),
        (lambda o: distances.paired_change([1.0, 2], [1.0]), r"at least 2, got shapes \(2,\)"),
        (lambda o: distances.pair_distances(o.X, o.zero), "texts of the .* be non-zero .* row 5"),
        (lambda o: retrieval.exposure_at_k(o.scan, k=11), "at most the 10 neighbours .*, got 11"),
        (lambda o: retrieval.recall_at_k(o.scan, k=0), "k must be at least 1, got 0"),
        (lambda o: retrieval.recall_at_k(o.unpaired), "must be paired for a measure of retrieval"),
        (lambda o: retrieval.mixed_mrr(o.unpaired), "must be paired for a measure of retrieval"),
        (lambda o: retrieval.ndcg_at_k(o.unpaired), "must be paired for a measure of retrieval"),
        (lambda o: neighbours.ilisi(o.scan), "n_neighbors must be at most the 10 neighbours"),
        (lambda o: neighbours.ilisi(o.X, o.Y, perplexity=0.5), "perplexity must be at least 1"),
        (lambda o: neighbours.hubness(o.scan, k=11), "k must be at most the 10 neighbours of"),
        (lambda o: neighbours.mutual_knn(o.unpaired), "must be pairs, one text for each image"),
        (lambda o: neighbours.mutual_knn(o.X, o.Y, k=60), "the 59 neighbours within a modality"),
        (lambda o: neighbours.kbet(o.X, o.Y, alpha=1), "alpha must be greater than 0 and less"),
        (lambda o: neighbours.neighbourhood_preservation(o.scan, o.few), "be of the same queries"),
        (lambda o: geometry.gap_angle(CROSS + 3, CROSS), "centroid of the texts must be non-zero"),
        (lambda o: geometry.effective_rank(CROSS[[0, 0]], CROSS), "images must be more than one"),
        (lambda o: geometry.energy_dimension(o.X, o.Y, energy=1.2), "energy must be greater than"),
        (lambda o: geometry.subspace_overlap(o.X, o.Y, tolerance=2), "tolerance must be at least"),
        (lambda o: geometry.frechet_distance(o.X, CROSS), "texts must be of one dimension"),
        (lambda o: geometry.hyperplane_angle(o.X[:6], o.Y), "more than the 6 dimensions .* got 6"),
        (lambda o: geometry.hyperplane_angle(o.X, o.flat), "texts must be of one direction with"),
        (lambda o: structure.linear_separability(o.X, o.Y[:4]), "5 rows for 5 folds, got 4"),
        (lambda o: structure.uniformity(o.X, o.Y, t=0), "t must be greater than 0"),
        (lambda o: structure.uniformity(o.X, o.Y, max_rows=1), "max_rows must be at least 2"),
        (lambda o: structure.linear_cka(o.X, o.Z), "must be paired to compare their structure"),
        (lambda o: structure.linear_cka(both_moments(o.X, o.Y)), "must be with the cross scatter"),
        (lambda o: structure.linear_cka(o.X[[0, 0]], o.X[[0, 0]]), "be more than one point to sh"),
        (lambda o: structure.cluster_mixing(o.X, o.Y, labels=[0, 1]), "for each of the 60 images"),
        (lambda o: structure.cluster_mixing(CROSS, CROSS, n_clusters=5), "different rows for 5"),
        (lambda o: structure.cluster_mixing(o.X, o.Y, n_clusters=121), "between 1 and 120, got 12"),
        (lambda o: bootstrap_interval([1.0, 2.0, 3.0], [0, 1]), "groups must be of length 3, one"),
        (lambda o: bootstrap_interval([1.0, 2.0], weights=[1.0]), "weights must be of length 2"),
        (lambda o: bootstrap_interval([1.0, 2.0], confidence=1.0), "greater than 0 and less than"),
        (lambda o: bootstrap_interval(np.zeros((2, 2, 2))), r"values must be of shape \(n_rows,\)"),
        (lambda o: retrieval.expected_calibration_error([0.0, 2.0], [0, 1]), "got 0 to 2"),
        (lambda o: retrieval.expected_calibration_error([0.5], [1], n_bins=0), "n_bins must be at"),
        (lambda o: retrieval.precision_at_threshold([0.1], [1, 0], threshold=0.5), "of one shape"),
        (lambda o: retrieval.precision_at_threshold([np.nan], [1], threshold=0.5), "be finite"),
    ],
)
def test_what_a_measure_refuses(o, call, message):
    with pytest.raises(InputError, match=message):
        call(o)
