"""Which combination to use, or none, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.estimates import Estimate
from fillgap.evaluation.leaderboard import Leaderboard, Line
from fillgap.evaluation.recommendation import FAIR_EXPOSURE
from fillgap.evaluation.significance import paired_permutation_test
from fillgap.evaluation.tally import Combination
from fillgap.space import MixedSpace

__all__ = ["SpaceRecommendation", "choose", "sentence_of", "steps_of"]

#: A gain that is kept only where it is sure.
_LITTLE: Final = 0.005
_LABELS: Final = {
    "two_sided_ndcg_at_10": "two-sided NDCG@10",
    "mixed_ndcg_at_10": "mixed NDCG@10",
}
#: By whose exposure it is; see `Line`.
_SEEN: Final = {
    "image_to_text": "image queries see {} times the other modality's fair share",
    "text_to_image": "text queries see {} times the other modality's fair share",
}


@dataclass(frozen=True, eq=False)
class SpaceRecommendation:
    """What to use, fitted, and the held-out evidence for it.

    Attributes
    ----------
    chosen : Combination or None
        None means to leave the embeddings as they are.
    space : MixedSpace
        Fitted to all rows; of the raw embeddings where nothing is recommended.
    objective : str
        The measure that was ranked by: two-sided NDCG@10 where enough images have several
        texts, and mixed NDCG@10 otherwise.
    sentence : str
        The advice with its numbers.
    steps : tuple of Line
        Raw, with the aligner, with the calibration too: what each step reaches, on images that
        had no part in the choice.
    leaderboard : Leaderboard
        Every combination on the images that were chosen by.
    passed_over : mapping from Combination to str
        What scored higher, and why it was not chosen.
    fitted_on : str or None
        The name of the other data that everything was fitted on, where there were such: all figures
        are of maps and calibrations from there.
    other_kind : Estimate or None
        Where other data were fitted on: what fitting to this collection would add.
    """

    chosen: Combination | None
    space: MixedSpace
    objective: str
    sentence: str
    steps: tuple[Line, ...]
    leaderboard: Leaderboard
    passed_over: Mapping[Combination, str]
    fitted_on: str | None
    other_kind: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the space as JSON can hold it."""
        return {
            "chosen": None if self.chosen is None else vars(self.chosen) | {},
            "fingerprint": self.space.fingerprint,
            "objective": self.objective,
            "sentence": self.sentence,
            "steps": [line.to_dict() for line in self.steps],
            "passed_over": {str(name): why for name, why in self.passed_over.items()},
            "fitted_on": self.fitted_on,
            "other_kind": None if self.other_kind is None else self.other_kind.to_dict(),
            "leaderboard": self.leaderboard.to_dict(),
        }


def choose(
    board: Leaderboard, max_loss: float, *, fair: bool = True
) -> tuple[Combination | None, dict[Combination, str]]:
    """Return the best that is fair, costs little and surely gains, and what was passed over.

    Of an aligner and a calibration both should add something: where what they add to one of them
    alone is little and may be chance, and that one may be chosen, it is.

    Parameters
    ----------
    board : Leaderboard
    max_loss : float
        Of recall@1 within the other modality.
    fair : bool
        Whether exposure must be fair. Where each item is in the pool once, as whatever it is, no
        score can be had by showing one kind first.
    """
    passed_over: dict[Combination, str] = {}
    for line in board.lines:
        if line.what == Combination():
            break  # nothing below gains
        reason = _objection(line, board.objective, max_loss, fair=fair)
        if reason is not None:
            passed_over[line.what] = reason
            continue
        halves = {Combination("raw", line.what.calibration), Combination(line.what.aligner)}
        for half in [] if Combination() in halves else board.lines:  # the better one first
            allowed = half.what in halves and (
                _objection(half, board.objective, max_loss, fair=fair) is None
            )
            if allowed and _adds_nothing_sure(board, line.what, half.what):
                label = _LABELS[board.objective]
                passed_over[line.what] = f"what it adds to {half.what} in {label} may be chance"
                return half.what, passed_over
        return line.what, passed_over
    return None, passed_over


def _adds_nothing_sure(board: Leaderboard, what: Combination, to: Combination) -> bool:
    gain = board.values[what][board.objective] - board.values[to][board.objective]
    gain = gain[np.isfinite(gain)]
    return bool(gain.mean() < _LITTLE) and paired_permutation_test(gain) >= 0.05


def _objection(line: Line, objective: str, max_loss: float, *, fair: bool) -> str | None:
    gain = line.changes[objective]
    if gain.low <= 0:
        return f"its gain in {_LABELS[objective]} may be chance ({_signed(gain)})"
    if line.p_values[objective] >= 0.05:
        p = f"p = {line.p_values[objective]:.2g}, corrected for the number of rivals"
        return f"its gain in {_LABELS[objective]} may be chance ({p}; {_signed(gain)})"
    low, high = FAIR_EXPOSURE
    for whose, exposure in line.exposure.items() if fair else ():
        if not low <= exposure.value <= high:
            seen = _SEEN[whose].format(f"{exposure.value:.2f}")
            return f"{seen}, outside {low:g} to {high:g}"
    loss = line.changes.get("recall_at_1")
    if loss is not None and -loss.value > max_loss:
        return (
            f"it loses {-loss.value:.3f} of recall@1 within the other modality, more than "
            f"max_loss = {max_loss:g}"
        )
    return None


def steps_of(board: Leaderboard, chosen: Combination | None) -> tuple[Line, ...]:
    """Return raw, the aligner alone, and the whole, each once."""
    names = [Combination()]
    if chosen is not None:
        names += [Combination(chosen.aligner), chosen]
    return tuple(board.line(name) for name in dict.fromkeys(names))


def sentence_of(
    chosen: Combination | None,
    steps: tuple[Line, ...],
    passed_over: Mapping[Combination, str],
    *,
    max_loss: float,
    kind: Estimate | None,
    fit_on: EmbeddingPair | None,
    board: Leaderboard,
) -> str:
    """Return the recommendation in words, with what each step adds and what it costs."""
    above = next(iter(passed_over.items()), None)
    if chosen is None:
        best = (
            "nothing scores higher than raw" if len(board.lines) > 1 else "nothing else could run"
        )
        if above is not None:
            best = f"{above[0]} scores highest, but {above[1]}"
        advice = f"Leave the embeddings as they are: {best} (max_loss is {max_loss:g})."
        return advice if fit_on is None else f"{advice} {_elsewhere(fit_on)}."
    measure = board.objective
    path = " → ".join(f"{line.estimates[measure].value:.2f} ({line.what})" for line in steps)
    last = steps[-1]
    recall, cost = last.estimates["recall_at_1"], last.changes["recall_at_1"]
    text = (
        f"Use {chosen}: {_LABELS[measure]} goes {path}, {_signed(last.changes[measure])}; "
        f"recall@1 within the other modality is {recall.value:.2f} ({_signed(cost)})."
    )
    if above is not None:
        text += f" {above[0]} scored higher where this was chosen, but {above[1]}."
    low, high = FAIR_EXPOSURE
    for whose, seen in last.exposure.items():
        if not low <= seen.value <= high:
            text += f" Here {_SEEN[whose].format(f'{seen.value:.2f}')}."
    if fit_on is not None:
        text += f" {_elsewhere(fit_on)}"
        own = "" if kind is None else f": fitted on this collection it would gain {_signed(kind)}"
        text += f"{own}."
    return text


def _elsewhere(fit_on: EmbeddingPair) -> str:
    return (
        f"These are figures of fits to other data ({fit_on.name}: {fit_on.n_images} images, "
        f"{fit_on.n_texts} texts)"
    )


def _signed(change: Estimate) -> str:
    return f"{change.value:+.3f}, 95 % interval {change.low:+.3f} to {change.high:+.3f}"
