"""What this program chooses against the best single published method, on the same queries.

The choice is not made on what it is judged by: each half of the images (or queries) is judged by
what the other half chose. The published method is the best one in hindsight, on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import check_random_state
from fillgap.evaluation.combine import FUSIONS
from fillgap.evaluation.estimates import Estimate
from fillgap.evaluation.leaderboard import EXPOSURE, Leaderboard, interval
from fillgap.evaluation.recommendation import FAIR_EXPOSURE
from fillgap.evaluation.significance import paired_permutation_test
from fillgap.evaluation.space_choice import choose
from fillgap.evaluation.tally import Combination, Tally

__all__ = ["Versus", "against_published", "is_published"]

Values = NDArray[np.float64]

#: Aligners of this project.
_OURS: Final = ("balanced", "refined")
#: Calibrations known from elsewhere; two of them after one another are not.
_PUBLISHED: Final = (
    "z-score",
    "z-score on all",
    "quantile-map",
    "nnn",
    "csls",
    "qb-norm",
    "relevance-probability",
)
_MEASURES: Final = ("two_sided_ndcg_at_10", "mixed_ndcg_at_10")


@dataclass(frozen=True, eq=False)
class Versus:
    """The choice of this program against one published method, in one measure.

    Attributes
    ----------
    measure : str
    chosen : tuple of Combination
        By the one half of the images and by the other; each is judged on the half it was not
        chosen by. Raw embeddings mean that it said to leave them as they are.
    published : Combination
    kind : str
        Which published methods were looked at, in words.
    ours, theirs, change : Estimate
        Means over images, and of the paired differences.
    p_value : float
        Of a paired permutation test.
    our_exposure, their_exposure : mapping from direction to float
    loss : float or None
        Recall@1 within the other modality that the choice loses against raw.
    of_other : float or None
        Share that the choice reaches of its own NDCG@10 within the other modality alone.
    """

    measure: str
    chosen: tuple[Combination, Combination]
    published: Combination
    kind: str
    ours: Estimate
    theirs: Estimate
    change: Estimate
    p_value: float
    our_exposure: Mapping[str, float]
    their_exposure: Mapping[str, float]
    loss: float | None
    of_other: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        named = {"chosen": [str(one) for one in self.chosen], "published": str(self.published)}
        estimates = {name: getattr(self, name).to_dict() for name in ("ours", "theirs", "change")}
        return {**vars(self), **named, **estimates}


def is_published(what: Combination) -> bool:
    """Return whether a combination is one method known from elsewhere, alone."""
    if what.calibration == "none":
        return what.aligner not in _OURS
    return what.aligner == "raw" and what.calibration in {*_PUBLISHED, *FUSIONS}


def against_published(
    board: Leaderboard,
    *,
    max_loss: float = 0.02,
    n_resamples: int = 1000,
    random_state: int = 0,
) -> list[Versus]:
    """Return the choice against the best published method, two-sided and one-sided.

    Where all items are in the pool on both sides, scores can be had by always showing one modality
    first: there the published methods are those within a fair exposure, as the choice must be.
    Where the best of them merges two lists, the best of the others is added.

    Parameters
    ----------
    board : Leaderboard
    max_loss : float
        As for `recommend`.
    n_resamples, random_state
        Of the bootstrap, and seed of the halves and tests.
    """
    options = {"n_resamples": n_resamples, "random_state": random_state}
    found = []
    for measure in _MEASURES:
        if measure not in board.lines[0].estimates:
            continue
        one_sided = "ndcg_at_10" in board.lines[0].estimates  # each item is there twice
        ours, chosen = _choice(board, measure, max_loss, options, fair=one_sided)
        fair = one_sided and measure == "mixed_ndcg_at_10"
        rivals = _rivals(board, measure, fair=fair)
        kind = "the best single published method" + " of fair exposure" * fair
        shown = [(rivals[0], kind)] if rivals else []
        scored = [one for one in rivals if one.calibration not in FUSIONS]
        if shown and rivals[0].calibration in FUSIONS and scored:
            shown.append((scored[0], kind + " that does not merge two lists"))
        found += [
            _versus(board, measure, (ours, chosen), what, kind=words, options=options)
            for what, words in shown
        ]
    return found


def _choice(
    board: Leaderboard,
    measure: str,
    max_loss: float,
    options: Mapping[str, int],
    *,
    fair: bool,
) -> tuple[dict[str, Values], tuple[Combination, Combination]]:
    """Return the values of the choice, each from the half that it was not chosen by."""
    candidates = {
        what: {measure: found[measure], **found}
        for what, found in board.values.items()
        if what.calibration not in FUSIONS
    }
    n = len(candidates[Combination()][measure])
    first = check_random_state(options["random_state"]).permutation(n) % 2 == 0
    picked = []
    for half in (first, ~first):
        part = {
            what: {name: values[half] for name, values in found.items()}
            for what, found in candidates.items()
        }
        smaller = Leaderboard.from_values(
            board.data, part, Tally(), about="", n_judged=int(half.sum()), **options
        )
        picked.append(choose(smaller, max_loss, fair=fair)[0] or Combination())
    ours = {
        name: np.where(first, candidates[picked[1]][name], candidates[picked[0]][name])
        for name in candidates[Combination()]
    }
    return ours, (picked[0], picked[1])


def _rivals(board: Leaderboard, measure: str, *, fair: bool) -> list[Combination]:
    """Return published methods, the best first."""
    low, high = FAIR_EXPOSURE
    lines = [
        line
        for line in board.lines
        if is_published(line.what)
        and (not fair or all(low <= one.value <= high for one in line.exposure.values()))
    ]
    return [line.what for line in sorted(lines, key=lambda line: -line.estimates[measure].value)]


def _versus(
    board: Leaderboard,
    measure: str,
    choice: tuple[Mapping[str, Values], tuple[Combination, Combination]],
    published: Combination,
    *,
    kind: str,
    options: Mapping[str, int],
) -> Versus:
    (ours, chosen), theirs, raw = choice, board.values[published], board.values[Combination()]
    change = ours[measure] - theirs[measure]
    alone = "ndcg_at_10" in raw and measure == "mixed_ndcg_at_10"
    seen = [name for name in raw if name.startswith(EXPOSURE)]
    return Versus(
        measure,
        chosen,
        published,
        kind,
        interval(ours[measure], **options),
        interval(theirs[measure], **options),
        interval(change, **options),
        paired_permutation_test(change[np.isfinite(change)], random_state=options["random_state"]),
        {name.removeprefix(EXPOSURE): float(np.nanmean(ours[name])) for name in seen},
        {name.removeprefix(EXPOSURE): float(np.nanmean(theirs[name])) for name in seen},
        _mean(raw, "recall_at_1") - _mean(ours, "recall_at_1") if "recall_at_1" in raw else None,
        _mean(ours, measure) / _mean(ours, "ndcg_at_10") if alone else None,
    )


def _mean(values: Mapping[str, Values], name: str) -> float:
    return float(np.nanmean(values[name]))
