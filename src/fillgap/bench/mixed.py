"""Mixed search as a leaderboard: every aligner with every calibration and every fusion of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from fillgap.aligners.base import Aligner
from fillgap.aligners.methods import make_aligner
from fillgap.bench.folders import EmbeddedItems
from fillgap.calibration.base import Calibration
from fillgap.calibration.hubness import CSLS, NNN, QBNorm
from fillgap.calibration.probability import RelevanceProbability
from fillgap.calibration.query_list import QueryCentering
from fillgap.datasets.judged import Judged, JudgedItem
from fillgap.errors import InputError, check_random_state
from fillgap.evaluation.combine import FUSIONS, judge_all
from fillgap.evaluation.judge import images_with_two_texts
from fillgap.evaluation.leaderboard import Leaderboard
from fillgap.evaluation.recommend import calibrations_to_try
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress, silent

#: All that fit without pairs and in seconds.
ALIGNERS: Final = (
    "balanced",
    "mean-centering",
    "embedding-shift",
    "standardisation",
    "spectral",
    "gaussian-transport",
    "pca-projection",
)


def calibrations_to_bench() -> dict[str, Calibration | None]:
    """Return the calibrations of the leaderboard, by name.

    Those of relevance are fitted to what belongs together among the rows that are fitted on. Where
    no text is known to be relevant to a text they rank as "z-score on all" does.
    """
    return calibrations_to_try() | {
        "csls": CSLS(),
        "qb-norm": QBNorm(),
        "relevance-probability": RelevanceProbability(),
        "relevance-probability after nnn": RelevanceProbability(after=NNN()),
        "query-centering of relevance": QueryCentering(after=RelevanceProbability(after=NNN())),
    }


def bench_mixed(
    pair: EmbeddingPair,
    *,
    aligners: Sequence[str] | None = None,
    calibrations: Mapping[str, Calibration | None] | None = None,
    fusions: bool = True,
    n_splits: int = 4,
    test_size: float = 0.5,
    max_test: int = 500,
    n_resamples: int = 1000,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Leaderboard:
    """Judge all combinations on held-out rows of one set, whose images have two texts or more.

    Without `aligners` these are `ALIGNERS`, without `calibrations` `calibrations_to_bench()`; raw
    embeddings are always among them. With `fusions` separate searches whose lists are merged are
    judged too. The splits are those of `held_out_splits`.
    """
    named: dict[str, Aligner | None] = {"raw": None}
    named |= {name: make_aligner(name) for name in aligners or ALIGNERS}
    scored = calibrations_to_bench() if calibrations is None else dict(calibrations)
    tally = judge_all(
        pair,
        named,
        {"none": None, **scored},
        fusions=FUSIONS if fusions else {},
        n_splits=n_splits,
        test_size=test_size,
        max_test=max_test,
        random_state=random_state,
        progress=progress or silent,
    )
    return Leaderboard.from_tally(pair, tally, n_resamples=n_resamples, random_state=random_state)


def in_thirds(
    pair: EmbeddingPair, *, random_state: int = 0
) -> tuple[Judged, EmbeddedItems, EmbeddedItems]:
    """Return judgements, queries and documents: a third images, a third texts, a third both.

    A document is made of an image and of one of its texts; another text asks for it. Items that
    are a text alone are asked for by their image too. Which is which is drawn.
    """
    images, asking, answering = np.empty((3, 0), dtype=np.intp)
    if pair.image_index is not None:
        index = np.asarray(pair.image_index)
        shuffled = check_random_state(random_state).permutation(len(index))
        images, asking, answering = images_with_two_texts(index, shuffled)
    if len(images) < 12:
        raise InputError(
            f"images with two texts must be at least 12 to be parted in thirds, got {len(images)}. "
            "Name the image of each text with --image-index, or leave --thirds out."
        )
    third = check_random_state(random_state).permutation(len(images)) % 3
    shown, told = third != 1, third != 0
    documents = EmbeddedItems(
        np.array(["image", "text", "image+text"])[third],
        {"image": pair.images[images[shown]], "text": pair.texts[answering[told]]},
        {"image": np.flatnonzero(shown), "text": np.flatnonzero(told)},
    )
    alone = np.flatnonzero(third == 1)
    n, n_queries = len(images), len(images) + len(alone)
    queries = EmbeddedItems(
        np.array(["text"] * n + ["image"] * len(alone)),
        {"text": pair.texts[asking], "image": pair.images[images[alone]]},
        {"text": np.arange(n), "image": np.arange(n, n_queries)},
    )
    wanted = [*range(n), *alone.tolist()]
    judged = Judged(
        Path(pair.name),
        [JudgedItem(str(i), *_halves(kind)) for i, kind in enumerate(queries.kinds)],
        [JudgedItem(str(i), *_halves(kind)) for i, kind in enumerate(documents.kinds)],
        [(query, document, 1.0) for query, document in enumerate(wanted)],
    )
    return judged, queries, documents


def _halves(kind: str) -> tuple[str | None, str | None]:
    """Return stand-ins for the text and the image of an item of a kind."""
    return "text" if "text" in kind else None, "image" if "image" in kind else None
