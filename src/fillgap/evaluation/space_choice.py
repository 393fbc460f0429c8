"""Which combination to use, or none, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.combine import Combination
from fillgap.evaluation.estimates import Estimate
from fillgap.evaluation.leaderboard import Leaderboard, Line
from fillgap.evaluation.recommendation import FAIR_EXPOSURE

__all__ = ["choose", "sentence_of", "steps_of"]

_LABELS: Final = {
    "two_sided_ndcg_at_10": "two-sided NDCG@10",
    "mixed_ndcg_at_10": "mixed NDCG@10",
}
#: By whose exposure it is; see `Line`.
_SEEN: Final = {
    "image_to_text": "image queries see {} times the other modality's fair share",
    "text_to_image": "text queries see {} times the other modality's fair share",
}


def choose(
    board: Leaderboard, max_loss: float, *, fair: bool = True
) -> tuple[Combination | None, dict[Combination, str]]:
    """Return the best that is fair, costs little and surely gains, and what was passed over.

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
            continue
        reason = _objection(line, board.objective, max_loss, fair=fair)
        if reason is None:
            return line.what, passed_over
        passed_over[line.what] = reason
    return None, passed_over


def _objection(line: Line, objective: str, max_loss: float, *, fair: bool) -> str | None:
    gain = line.changes[objective]
    if gain.low <= 0 or line.p_values[objective] >= 0.05:
        return f"its gain in {_LABELS[objective]} may be chance ({_signed(gain)})"
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
    if chosen is None:
        name, reason = next(iter(passed_over.items()), (None, "nothing could run on these data"))
        best = f"{name} scores highest, but {reason}" if name is not None else reason
        return f"Leave the embeddings as they are: {best} (max_loss is {max_loss:g})."
    measure = board.objective
    path = " → ".join(f"{line.estimates[measure].value:.2f} ({line.what})" for line in steps)
    last = steps[-1]
    recall, cost = last.estimates["recall_at_1"], last.changes["recall_at_1"]
    text = (
        f"Use {chosen}: {_LABELS[measure]} goes {path}, {_signed(last.changes[measure])}; "
        f"recall@1 within the other modality is {recall.value:.2f} ({_signed(cost)})."
    )
    if fit_on is not None and kind is not None:
        text += (
            f" It was fitted on other data ({fit_on.name}): fitted on this collection it would "
            f"gain {_signed(kind)}."
        )
    return text


def _signed(change: Estimate) -> str:
    return f"{change.value:+.3f}, 95 % interval {change.low:+.3f} to {change.high:+.3f}"
