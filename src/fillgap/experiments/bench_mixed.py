"""Mixed search as a leaderboard: every aligner with every calibration and every fusion of lists.

Every item is in the pool once, as an image or as a text, in several ratios, and asked for by its
other caption; besides, all items on both sides with queries of both kinds, where exposure tells
whether a score was had by always showing one modality. NDCG is the standard one: its ideal list
holds all relevant items, retrieved or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fillgap._progress import Progress, silent
from fillgap.aligners import Aligner, make_aligner
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.combine import FUSIONS, judge_all
from fillgap.evaluation.leaderboard import Leaderboard
from fillgap.evaluation.recommend import calibrations_to_try
from fillgap.scores import CSLS, NNN, Calibration, QBNorm, QueryCentering, RelevanceProbability

__all__ = ["ALIGNERS", "bench_mixed", "calibrations_to_bench"]

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
    """Judge all combinations on held-out rows of one set.

    Parameters
    ----------
    pair : EmbeddingPair
        Paired; two texts an image or more make two-sided figures possible.
    aligners : sequence of str, optional
        Left out: `ALIGNERS`. Raw embeddings are always among them.
    calibrations : mapping from name to Calibration, optional
        Left out: `calibrations_to_bench()`.
    fusions : bool
        Whether to judge separate searches with merged lists too.
    n_splits, test_size, max_test
        As for `held_out_splits`.
    n_resamples : int
        Bootstrap resamples over images.
    random_state : int
        Seed of everything.
    progress : callable, optional
        Called as progress(fits done, fits in all, aligner).
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
