"""The two maps of LaplaceTransport for new rows, affine and nearest, on held-out rows.

On the bundled scenes, and on 500 pairs of COCO where the folder of real embeddings is there
(FILLGAP_TEST_DATA). Five splits; means of both directions with 95 % intervals over images.
"""

from __future__ import annotations

import os
from pathlib import Path

from fillgap import LaplaceTransport, compare, load_digit_scenes, load_pair

FOLDER = Path(
    os.environ.get("FILLGAP_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
REAL = FOLDER / "coco_clip_vitb16_500" / "coco_clip_vitb16_500.npz"
MEASURES = ("mixed_ndcg_at_10", "recall_at_1", "exposure_at_10")


def main() -> None:
    pairs = {"scenes": load_digit_scenes()}
    if REAL.is_file():
        pairs["COCO"] = load_pair(str(REAL))
    ways = {name: LaplaceTransport(extension=name) for name in ("affine", "nearest")}
    print("data    map      " + "   ".join(f"{name:20}" for name in MEASURES))
    for data, pair in pairs.items():
        found = compare(pair, ways).results
        for way in ways:
            means = [found[way].estimates[measure]["mean"] for measure in MEASURES]
            cells = [f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}]" for mean in means]
            print(f"{data:7} {way:8} " + "   ".join(f"{cell:20}" for cell in cells))


if __name__ == "__main__":
    main()
