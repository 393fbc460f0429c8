"""Faults and verdicts: each fault is found where it is and nowhere else."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import norm

from fillgap.metrics import faults
from fillgap.metrics.faults import examine_pairing, examine_rows
from fillgap.metrics.geometry import paired_moments
from fillgap.metrics.scan import scan_pool
from fillgap.metrics.verdict import give_verdict, kind_of
from fillgap.pair import EmbeddingPair
from worlds import load_npz, make_gapped


def kinds(findings):
    return [found.kind for found in findings]


@pytest.fixture
def sound():
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(30, 30)))[0]
    sides = (Z @ turn for Z in make_gapped(80, 30, seed=0, gap=0.2))
    return tuple(Z / np.linalg.norm(Z, axis=1, keepdims=True) for Z in sides)


def test_unusable_rows_are_counted_and_the_first_is_named(sound):
    X, Y = (np.tile(side, (110, 1)) for side in sound)  # of more rows than a block
    X[[8505, 8509], 3] = np.nan, np.inf
    Y[7] = 0
    found = examine_rows(EmbeddingPair(X, Y[:80]))
    assert kinds(found) == ["not_finite", "zero_rows"]
    assert found[0].message.startswith("2 rows hold NaN or infinity among the images, the first in")
    assert "in row 8505." in found[0].message
    assert found[1].message.startswith("1 row holds nothing but zeros among the texts")
    assert all(finding.is_fault for finding in found)


def test_signs_of_a_failed_encoding_and_mere_remarks(sound):
    X, Y = sound
    noise = np.random.default_rng(0).normal(size=X.shape)
    for share in (0.0, 1e-8):
        found = examine_rows(EmbeddingPair(X, 3 * (np.ones_like(X) + share * noise)))
        assert "collapsed" in kinds(found)
        assert "All texts have the same direction" in found[0].message
    assert "collapsed" not in kinds(examine_rows(EmbeddingPair(X, np.ones_like(X) + 1e-4 * noise)))
    found = examine_rows(EmbeddingPair(X[np.arange(80) % 20], Y))
    assert kinds(found) == ["duplicates"]
    assert "Only 20 of 80 images are different" in found[0].message
    assert examine_rows(EmbeddingPair(X[np.arange(80) % 50], Y)) == []
    loud = Y.copy()
    loud[:, 4] += 1
    found = examine_rows(EmbeddingPair(5 * X, loud / np.linalg.norm(loud, axis=1)[:, None]))
    assert kinds(found) == ["not_unit", "dominant_coordinate"]
    assert "One coordinate (4)" in found[1].message
    assert not any(finding.is_fault for finding in found)
    assert examine_rows(EmbeddingPair(X.astype(np.float16), Y.astype(np.float16))) == []


def check_pairs(X, Y):
    return kinds(examine_pairing(scan_pool(X, Y), paired_moments(X, Y)))


def test_the_variance_is_that_of_all_permutations():
    X, Y = (Z / np.linalg.norm(Z, axis=1)[:, None] for Z in make_gapped(5, 4, seed=0))
    sums = [np.sum(X * Y[list(order)]) for order in permutations(range(5))]
    z = (sums[0] - np.mean(sums)) / np.std(sums)
    assert norm.isf(faults.permutation_pvalue(paired_moments(X, Y))) == pytest.approx(z)


def test_what_chance_does_once_in_fifty_is_not_alignment():
    X, Y = np.random.default_rng(15).normal(size=(2, 16, 5))
    Y = Y + 0.35 * X
    p = faults.permutation_pvalue(paired_moments(X, Y))
    assert faults.PAIRING_LEVEL < p < 0.05
    ranks = scan_pool(X, Y).image_queries.cross_rank
    assert (ranks.mean() - 1) / 15 < faults.PAIRING_RANK
    assert check_pairs(X, Y) == ["not_aligned"]


def test_pairs_in_another_order_are_found(sound):
    X, Y = sound
    assert examine_rows(EmbeddingPair(X, Y)) == []
    assert check_pairs(X, Y) == []
    assert check_pairs(X, Y[np.random.default_rng(1).permutation(80)]) == ["not_aligned"]
    assert check_pairs(X[:9], Y[8::-1]) == []  # too few to tell
    assert check_pairs(np.ones((20, 3)), np.ones((20, 3))) == ["not_aligned"]


FILES = {
    "amumo/coco100__CLIP": "gap",
    "amumo/coco100__CLOOB": "small gap",
    "amumo/coco100__CLOOB_LAION400M": "small gap",
    "amumo/coco100__CyCLIP": "gap",
    "amumo/coco100__ImageBind": "gap",
    "amumo/cocodogs100__CLIP": "gap",
    "amumo/diffusiondb100__CLIP": "gap",
    "amumo/audioset_triplet100__ImageBind": "gap",
    "mindthegap/videoclip_msrvtt_100": "gap",
    "mindthegap/clasp_uniprot_99": "not_aligned",
    "coco_clip_vitb16_500/coco_clip_vitb16_500": "gap",
}


@pytest.mark.parametrize("name", FILES)
def test_verdicts_on_real_embeddings(real_data, name):
    arrays = load_npz(real_data / f"{name}.npz")
    verdict, findings = judged(arrays["images"], arrays["texts"])
    if FILES[name] == "not_aligned":
        assert verdict.kind == "fault"
        assert "not aligned" in verdict.text
        assert "not_aligned" in kinds(findings)
    else:
        assert verdict.kind == FILES[name]
        assert not any(finding.is_fault for finding in findings)
    if name.startswith("coco_clip"):
        verdict, findings = judged(arrays["images_random_init"], arrays["texts_random_init"])
        assert (verdict.kind, kinds(findings)) == ("fault", ["random_vectors"])
        assert "no alignment at all" in verdict.text
        assert "the centroids are 1.14 apart" in verdict.text


def judged(X, Y):
    pair, scan = EmbeddingPair(X, Y), scan_pool(X, Y)
    findings = examine_rows(pair) + examine_pairing(scan, paired_moments(pair))
    return give_verdict(scan, findings), findings


def test_the_verdict_says_what_a_query_sees(coco):
    verdict = give_verdict(scan_pool(*coco), [])
    assert verdict.sentences[0] == (
        "A text query sees 0 % images in its first 10; 50 % would be fair."
    )
    assert verdict.seen.text_to_image == 0
    assert verdict.fair.image_to_text == pytest.approx(500 / 999)
    assert "in 86 % of cases when it searches images alone, and in 0 % when" in verdict.text
    # Each item beside its own of the other modality, in a pool that is smaller than the list.
    verdict = give_verdict(scan_pool(np.eye(3), np.eye(3)), [])
    assert verdict.k == 5
    assert "in its first 5;" in verdict.text
    verdict = give_verdict(scan_pool(np.eye(12), np.eye(12)), [], k=1)
    assert (verdict.kind, verdict.seen.mean) == ("reversed gap", 1)


def test_the_direction_that_sees_least_decides():
    assert kind_of([0.2, 1.0]) == kind_of([1.4, 0.2]) == "gap"
    assert kind_of([0.5, 1.6]) == "small gap"
    assert kind_of([0.8, 1.25]) == "no gap"
    assert kind_of([0.9, 1.3]) == "reversed gap"
