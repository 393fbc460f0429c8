"""Which aligner to use, what it gains and costs, or to leave the embeddings as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fillgap.evaluation.estimates import Estimate

if TYPE_CHECKING:
    from fillgap.evaluation.comparison import MethodResult

__all__ = ["FAIR_EXPOSURE", "Recommendation", "decide"]

#: Outside of this a mixed score can be had by always showing one modality first.
FAIR_EXPOSURE: Final = (0.8, 1.25)

_LABELS: Final = {
    "two_sided_ndcg_at_10": "two-sided NDCG@10",
    "mixed_ndcg_at_10": "mixed NDCG@10",
}


@dataclass(frozen=True)
class Recommendation:
    """What to do, and why.

    Attributes
    ----------
    method : str or None
        The aligner to use; None means to leave the embeddings as they are.
    objective : str
        The measure that methods were ranked by: two-sided NDCG@10 where images have several texts,
        and the mean over both directions of the mixed NDCG@10 otherwise.
    sentence : str
        The advice with its numbers.
    passed_over : mapping from method to str
        Methods that scored higher than the advice, and why they were not chosen.
    """

    method: str | None
    objective: str
    sentence: str
    passed_over: Mapping[str, str]


def decide(results: Mapping[str, MethodResult], *, max_loss: float) -> Recommendation:
    """Choose the best method that is fair in both directions, costs little, and surely gains.

    Parameters
    ----------
    results : mapping from method to MethodResult
        With "raw" among them.
    max_loss : float
        Largest loss of recall@1 among the other modality alone, averaged over both directions.
    """
    raw = results["raw"]
    objective = next(name for name in _LABELS if name in raw.estimates)

    def score(name: str) -> float:
        return results[name].estimates[objective]["mean"].value

    passed_over: dict[str, str] = {}
    for name in sorted((name for name in results if name != "raw"), key=score, reverse=True):
        reason = _objection(results[name], objective, max_loss)
        if reason is None:
            sentence = f"Use {name}: {_gain_and_cost(results[name], raw, objective)}"
            return Recommendation(name, objective, sentence, passed_over)
        passed_over[name] = reason
    sentence = "Leave the embeddings as they are: " + _why_not(passed_over, max_loss)
    return Recommendation(None, objective, sentence, passed_over)


def _objection(result: MethodResult, objective: str, max_loss: float) -> str | None:
    """Return why a method is not to be recommended, if so."""
    gain = result.changes[objective]["mean"]
    if gain.low <= 0 or result.p_values[objective] >= 0.05:
        return f"its gain in {_LABELS[objective]} may be chance ({_signed(gain)})"
    low, high = FAIR_EXPOSURE
    for direction, who in (("image_to_text", "image"), ("text_to_image", "text")):
        exposure = result.estimates["exposure_at_10"][direction].value
        if not low <= exposure <= high:
            return (
                f"{who} queries see {exposure:.2f} times the other modality's fair share, "
                f"outside {low:g} to {high:g}"
            )
    loss = result.changes["recall_at_1"]["mean"]
    if -loss.value > max_loss:
        return (
            f"it loses {-loss.value:.3f} of recall@1 within the other modality, "
            f"more than max_loss = {max_loss:g}"
        )
    return None


def _gain_and_cost(result: MethodResult, raw: MethodResult, objective: str) -> str:
    before, after = (item.estimates[objective]["mean"] for item in (raw, result))
    cost = result.changes["recall_at_1"]["mean"]
    recall = result.estimates["recall_at_1"]["mean"]
    return (
        f"{_LABELS[objective]} goes from {before.value:.2f} to {after.value:.2f} "
        f"({_signed(result.changes[objective]['mean'])}), and recall@1 within the other modality "
        f"to {recall.value:.2f} ({_signed(cost)})."
    )


def _why_not(passed_over: Mapping[str, str], max_loss: float) -> str:
    if not passed_over:
        return "no method could run on these data."
    name, reason = next(iter(passed_over.items()))
    others = len(passed_over) - 1
    rest = f"; {others} more methods fail one of the conditions too" if others else ""
    return f"{name} scores highest, but {reason}{rest} (max_loss is {max_loss:g})."


def _signed(change: Estimate) -> str:
    return f"{change.value:+.3f}, 95 % interval {change.low:+.3f} to {change.high:+.3f}"
