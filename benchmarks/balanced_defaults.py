"""How the defaults of BalancedAligner were chosen: held-out search over components, power, ridge.

Every setting is fitted on one half of the pairs and judged on the other, over several splits of
each data set in the folder of real embeddings (FILLGAP_TEST_DATA). Because the defaults were chosen
from this table, the figures of these data sets are no independent evidence for them.
"""

from __future__ import annotations

import argparse
import os
from itertools import product
from pathlib import Path

import numpy as np

from fillgap.aligners import BalancedAligner
from fillgap.evaluation import held_out_splits
from fillgap.metrics import exposure_at_k, mixed_ndcg_at_k, recall_at_k
from fillgap.metrics.scan import scan_pool
from fillgap.pair import EmbeddingPair

FOLDER = Path(
    os.environ.get("FILLGAP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
SETS = {
    "COCO, CLIP B/16": "coco_clip_vitb16_500/coco_clip_vitb16_500.npz",
    "COCO 100, CLIP RN50": "amumo/coco100__CLIP.npz",
    "COCO 100, CyCLIP": "amumo/coco100__CyCLIP.npz",
    "DiffusionDB, CLIP RN50": "amumo/diffusiondb100__CLIP.npz",
    "MSR-VTT, VideoCLIP": "mindthegap/videoclip_msrvtt_100.npz",
}
COMPONENTS = ("auto", None)
POWERS = (0.3, 0.5, 0.7)
RIDGES = (0.1, 0.3, 0.5, 1.0)


def judge(pair: EmbeddingPair) -> np.ndarray:
    """Return mixed NDCG@10, recall@1 (means of both directions) and the lower exposure@10."""
    scan = scan_pool(pair)
    exposure = exposure_at_k(scan)
    return np.array(
        [
            mixed_ndcg_at_k(scan).mean,
            recall_at_k(scan, k=1).mean,
            min(exposure.image_to_text, exposure.text_to_image),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=5)
    options = parser.parse_args()
    settings = list(product(COMPONENTS, POWERS, RIDGES))
    found: dict[str, dict[object, np.ndarray]] = {}
    for name, file in SETS.items():
        with np.load(FOLDER / file, allow_pickle=False) as arrays:
            pair = EmbeddingPair(arrays["images"], arrays["texts"], name=name)
        sums = {setting: np.zeros(3) for setting in ["raw", *settings]}
        for train, test in held_out_splits(pair, n_splits=options.splits):
            fitted, held = pair.take_images(train), pair.take_images(test)
            sums["raw"] += judge(held)
            for setting in settings:
                components, power, ridge = setting
                aligner = BalancedAligner(n_components=components, power=power, ridge=ridge)
                aligner.fit(fitted.images, fitted.texts)
                sides = aligner.transform_pair(held.images, held.texts)
                sums[setting] += judge(held.with_vectors(*sides))
        found[name] = {setting: total / options.splits for setting, total in sums.items()}
    print("components power ridge | mixed NDCG@10, change of recall@1, lower exposure@10")
    print(f"{'':24}" + "".join(f"{name:>26}" for name in SETS) + f"{'mean':>26}")
    for setting in settings:
        rows = np.array([found[n][setting] - np.array([0, found[n]["raw"][1], 0]) for n in SETS])
        cells = [f"{a:9.3f} {b:+8.3f} {c:7.2f}" for a, b, c in [*rows, rows.mean(axis=0)]]
        print(f"{setting!s:24}" + "".join(cells))


if __name__ == "__main__":
    main()
