"""The result of a sweep of the gap, and the sentence that its numbers allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fillgap.evaluation import Estimate

__all__ = ["LABELS", "TESTED", "GapSweep", "SweepPoint"]

#: What is measured at each amount, in the words of tables and figures.
LABELS: Final = {
    "mixed_ndcg_at_10": "mixed NDCG@10",
    "recall_at_1": "recall@1 within the other modality",
    "exposure_at_10": "exposure@10",
    "pair_cosine": "mean pair cosine",
    "zero_shot_top_1": "zero-shot accuracy",
    "hubness": "hubness",
    "gap_angle": "Δθ (degrees)",
}

#: What a larger or smaller gap may serve; each amount is tested against the raw gap.
TESTED: Final = ("mixed_ndcg_at_10", "recall_at_1", "zero_shot_top_1")


@dataclass(frozen=True, eq=False)
class SweepPoint:
    """What images − λδ and texts + λδ reach on held-out rows.

    Attributes
    ----------
    amount : float
        λ.
    estimates : mapping from measure to mapping from direction to Estimate
        "mean" is over both directions where there are two: "image_to_text" and "text_to_image".
        Intervals are over images. `gap_angle` (degrees; negative where the images lie beyond the
        texts) and `hubness` have one value a split: their bounds are the least and the largest.
    changes : mapping from measure to Estimate
        The mean minus that at λ = 0, on the same queries; empty at λ = 0.
    p_values : mapping from measure to float
        Of those changes: paired permutation tests by image, corrected by Holm's method for the
        number of amounts; empty at λ = 0.
    """

    amount: float
    estimates: Mapping[str, Mapping[str, Estimate]]
    changes: Mapping[str, Estimate]
    p_values: Mapping[str, float]

    def mean(self, measure: str) -> Estimate:
        """Return the estimate over both directions."""
        return self.estimates[measure]["mean"]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "amount": self.amount,
            "estimates": {
                measure: {direction: item.to_dict() for direction, item in directions.items()}
                for measure, directions in self.estimates.items()
            },
            "changes": {measure: item.to_dict() for measure, item in self.changes.items()},
            "p_values": dict(self.p_values),
        }


@dataclass(frozen=True, eq=False)
class GapSweep:
    """How the size of the gap bears on what the embeddings are used for.

    Attributes
    ----------
    data : str
        Name of the data.
    n_images, n_texts, n_features : int
        Of the whole data.
    n_splits, n_fit, n_test : int
        How many splits, and images fitted and tested on in each.
    points : tuple of SweepPoint
        By λ, ascending; 0 is among them.
    """

    data: str
    n_images: int
    n_texts: int
    n_features: int
    n_splits: int
    n_fit: int
    n_test: int
    points: tuple[SweepPoint, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        """What was measured, in the order of `LABELS`."""
        return tuple(name for name in LABELS if name in self.points[0].estimates)

    @property
    def raw(self) -> SweepPoint:
        """The point at λ = 0: the gap as it is."""
        return next(point for point in self.points if point.amount == 0)

    def best(self, measure: str) -> SweepPoint:
        """Return the point where a measure is largest; of equal ones the nearest to λ = 0."""
        return max(self.points, key=lambda point: (point.mean(measure).value, -abs(point.amount)))

    @property
    def conclusion(self) -> str:
        """Where each use of the embeddings is served best, in one sentence."""
        peaks = [self._peak(measure) for measure in TESTED if measure in self.measures]
        return f"The raw gap is Δθ = {_angle(self.raw)}: {'; '.join(peaks)}."

    def _peak(self, measure: str) -> str:
        """Say where a measure peaks, and whether that may be chance."""
        best = self.best(measure)
        peak = f"{LABELS[measure]} peaks {_stage(best.amount)}"
        value = f"{best.mean(measure).value:.3f}"
        if best is self.raw:
            return f"{peak}, at {value}"
        change, before = best.changes[measure], self.raw.mean(measure).value
        chance = ", which may be chance" if best.p_values[measure] >= 0.05 else ""
        return (
            f"{peak} (λ = {best.amount:g}, Δθ = {_angle(best)}), at {value} instead of "
            f"{before:.3f} ({change.value:+.3f}, 95 % interval {change.low:+.3f} to "
            f"{change.high:+.3f}{chance})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            **vars(self),
            "points": [point.to_dict() for point in self.points],
            "conclusion": self.conclusion,
        }


def _stage(amount: float) -> str:
    """Return what λ does to the gap, in words."""
    if amount < 0:
        return "with the gap opened"
    if amount == 0:
        return "with the gap as it is"
    if amount < 0.5:
        return "with the gap partly closed"
    return "with the gap closed" if amount == 0.5 else "with the gap over-corrected"


def _angle(point: SweepPoint) -> str:
    return f"{point.mean('gap_angle').value:.1f}°"
