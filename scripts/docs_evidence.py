"""Measure the held-out figures that the README and the documentation show.

Writes docs/evidence/NAME.json for each data set, and the verdict and the table of README.md:

    python scripts/docs_evidence.py             # all data sets
    python scripts/docs_evidence.py scenes      # one of them
    python scripts/docs_evidence.py --readme    # only the README, from what was measured before

The COCO pairs are read from the folder FILLGAP_TEST_DATA (default ../shared/data); the scenes come
with the package. Minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from docs_tables import EVIDENCE, ROOT, load_evidence, methods_with_figures, short
from fillgap import (
    BalancedAligner,
    EmbeddingPair,
    __version__,
    compare,
    load_digit_scenes,
    load_pair,
    make_aligner,
    measure,
)
from fillgap.evaluation import held_out_splits
from fillgap.metrics import (
    centroid_distance,
    cross_cosine_distance,
    exposure_at_k,
    frechet_distance,
    ilisi,
    kbet,
    linear_separability,
    mixed_recall_at_k,
    pair_cosine_distance,
    within_cosine,
)
from fillgap.metrics.scan import scan_pool

KEPT = (
    "two_sided_ndcg_at_10", "mixed_ndcg_at_10", "mixed_recall_at_10", "recall_at_1",
    "recall_at_10", "exposure_at_10", "ilisi", "neighbourhood_preservation",
)  # fmt: skip
MARKS = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)


def coco() -> EmbeddingPair:
    """500 MSCOCO pairs, embedded by OpenAI's CLIP ViT-B/16."""
    data = Path(os.environ.get("FILLGAP_TEST_DATA", ROOT.parent / "shared" / "data"))
    return load_pair(data / "coco_clip_vitb16_500" / "coco_clip_vitb16_500.npz:images",
                     data / "coco_clip_vitb16_500" / "coco_clip_vitb16_500.npz:texts")  # fmt: skip


VERDICT = re.compile(r"(<!-- verdict -->\n```console\n[^\n]*\n).*?(\n```)", re.DOTALL)
SETS: dict[str, Callable[[], EmbeddingPair]] = {"coco": coco, "scenes": load_digit_scenes}


#: Whose measures stand side by side.
OVERVIEW = ("mean-centering", "spectral", "balanced")


def show(done: int, total: int | None, what: str) -> None:
    print(f"\r{done}/{total} {what:30}", end="", file=sys.stderr, flush=True)


def judge(name: str) -> dict[str, Any]:
    """Return the comparison of all methods on one data set, as far as pages show it."""
    pair = SETS[name]()
    found = compare(pair, progress=show).to_dict()
    told = {"first_page": first_page()} if name == "scenes" else {}
    return {
        **told,
        "fillgap": __version__,
        **{key: found[key] for key in (
            "n_images", "n_texts", "n_features", "n_splits", "n_fit", "n_test", "two_sided",
            "recommendation", "failures",
        )},
        "overview": overview(pair),
        "results": {
            method: {
                "values": {
                    what: {
                        part: [round(number, 4) for number in estimate.values()]
                        for part, estimate in parts.items()
                    }
                    for what, parts in result["estimates"].items()
                    if what in KEPT
                },
                "mixing": round(result["mixing"], 4),
                "conservation": round(result["conservation"], 4),
                "notes": result["notes"],
            }
            for method, result in found["results"].items()
        },
    }  # fmt: skip


def overview(pair: EmbeddingPair) -> dict[str, Any]:
    """Return measures of the held-out rows, raw and aligned, averaged over the splits."""
    sums: dict[str, dict[str, list[float]]] = {}
    for train_rows, test_rows in held_out_splits(pair):
        train, test = pair.take_images(train_rows), pair.take_images(test_rows)
        for method in ("raw", *OVERVIEW):
            shown = test
            if method != "raw":
                aligner = make_aligner(method).fit(train.images, train.texts)
                shown = test.with_vectors(*aligner.transform_pair(test.images, test.texts))
            for what, value in glance(shown).items():
                sums.setdefault(what, {}).setdefault(method, []).append(value)
    means = {
        what: [round(float(np.mean(values)), 4) for values in of.values()]
        for what, of in sums.items()
    }
    return {"methods": ["raw", *OVERVIEW], "measures": means}


def glance(pair: EmbeddingPair) -> dict[str, float]:
    """Return a few measures of one representation."""
    scan = scan_pool(pair, n_neighbors=90)
    return {
        "centroid_distance": centroid_distance(pair),
        "frechet_distance": frechet_distance(pair).value,
        "linear_separability": linear_separability(pair),
        "exposure_at_k": exposure_at_k(scan).mean,
        "ilisi": ilisi(scan),
        "kbet": kbet(scan),
    }


def first_page() -> dict[str, str]:
    """Return what the first page of the documentation tells of the bundled scenes, as text."""
    raw, fitting = load_digit_scenes(), load_digit_scenes("fitting")
    aligner = BalancedAligner().fit(fitting.images, fitting.texts)
    aligned = raw.with_vectors(*aligner.transform_pair(raw.images, raw.texts))
    cosines = {
        "pairs": 1 - pair_cosine_distance(raw),
        "strangers": 1 - cross_cosine_distance(raw),
        "captions": within_cosine(raw).texts,
        "pairs_aligned": 1 - pair_cosine_distance(aligned),
    }
    found = [100 * mixed_recall_at_k(pair).text_to_image for pair in (raw, aligned)]
    return {
        "verdict": measure(raw, confidence=False).verdict.text,
        "found": f"{found[0]:.1g} %",
        "found_aligned": f"{found[1]:.0f} %",
        **{name: short(value) for name, value in cosines.items()},
    }


def write_readme() -> None:
    """Put the verdict and the table of methods into the README."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    verdict = textwrap.fill(load_evidence("scenes")["first_page"]["verdict"], 96)
    text = VERDICT.sub(rf"\g<1>{verdict}\g<2>", text)
    readme.write_text(MARKS.sub(rf"\g<1>{methods_with_figures()}\n\g<2>", text), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sets", nargs="*", choices=[[], *SETS], help="default: all")
    parser.add_argument("--readme", action="store_true", help="measure nothing")
    options = parser.parse_args()
    EVIDENCE.mkdir(exist_ok=True)
    for name in () if options.readme else options.sets or SETS:
        text = json.dumps(judge(name), ensure_ascii=False, indent=1, sort_keys=True)
        (EVIDENCE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"\n{name} measured")
    write_readme()


if __name__ == "__main__":
    main()
