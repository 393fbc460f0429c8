"""Small pairs with captions and pictures, and one report that several test files read."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from fillgap.aligners import MeanCentering
from fillgap.evaluation import Comparison, compare
from fillgap.pair import EmbeddingPair
from fillgap.report import Files, ReportData, build_report, render_html
from worlds import make_gapped

#: What a caption may hold: nothing of it may become markup, in whatever format.
HOSTILE = (
    "<script>alert(1)</script> & \"quoted' | `code` </section> {{ 7 * 7 }} $x^2$ "
    "![x](http://evil.example/x) " + 150 * "w"
)


def pair_with_everything(n: int = 60, *, seed: int = 0) -> EmbeddingPair:
    """Return images with two texts each, captions, names and pictures."""
    X, Y = make_gapped(n, 16, seed=seed)
    Y = np.repeat(Y, 2, axis=0)
    Y += 0.1 * np.random.default_rng(seed).normal(size=Y.shape)
    words = ("first", "second")
    shades = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 12, 10, 3), np.uint8)
    return EmbeddingPair(
        X,
        Y,
        image_index=np.repeat(np.arange(n), 2),
        captions=[f"scene {row // 2} in its {words[row % 2]} words" for row in range(2 * n)],
        image_ids=[f"photo-{row}.jpg" for row in range(n)],
        thumbnails=shades,
        name="scenes",
    )


def unpaired_pair() -> EmbeddingPair:
    """Return sets of which nobody knows what belongs together."""
    return pair_with_everything(60).take(np.arange(60), np.arange(0, 120, 3))


@cache
def two_methods() -> Comparison:
    """Return a comparison that takes no time; one of its methods cannot run."""
    names = ["balanced", "mean-centering", "pca-projection"]
    return compare(pair_with_everything(), names, n_splits=2, n_resamples=100)


def quick_report(pair: EmbeddingPair | None = None, **options: Any) -> ReportData:
    """Return a report that takes little time."""
    options = {"comparison": two_methods(), "quick": True} | options
    return build_report(pair or pair_with_everything(), **options)


@cache
def whole_report() -> ReportData:
    """Return a report with every section."""
    return quick_report(files=Files("images.npy", "texts.npy"))


@cache
def hostile_report() -> ReportData:
    """Return a report about a pair whose every word is an attack, with every section."""
    pair = pair_with_everything(40)
    words = {"captions": [HOSTILE] * pair.n_texts, "image_ids": [HOSTILE] * pair.n_images}
    pair = replace(pair, **words, thumbnails=None, name=HOSTILE)
    comparison = compare(pair, {HOSTILE: MeanCentering()}, n_splits=1, n_resamples=100)
    return quick_report(pair, comparison=comparison, files=Files(HOSTILE, "t.npy"))


@cache
def unpaired_report() -> ReportData:
    return build_report(unpaired_pair(), quick=True)


REPORTS = {"whole": whole_report, "hostile": hostile_report, "unpaired": unpaired_report}


@cache
def page_of(name: str) -> str:
    return render_html(REPORTS[name]())
