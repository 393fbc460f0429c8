"""Say in words what the measures mean: a gap, none, or a fault of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from fillgap.metrics.faults import Finding
from fillgap.metrics.pool import Directions, PoolScan
from fillgap.metrics.retrieval import mean, recall, share_seen

#: Exposure from the first on is fair; below the second the gap is no small one.
FAIR, SMALL = 0.8, 1 / 3
#: Exposure beyond this shows more of the other modality than its share.
REVERSED = 1.25

FAULT = "This is a fault of the pipeline, not a modality gap."
Kind = Literal["gap", "small gap", "no gap", "reversed gap", "fault"]

CONCLUSIONS: dict[Kind, str] = {
    "gap": "This is a modality gap: a query hardly sees the other modality.",
    "small gap": "This is a small modality gap: the other modality is seen less than is fair.",
    "no gap": "There is no modality gap to close here.",
    "reversed gap": "The gap is turned round: the other modality is seen more than is fair.",
}


@dataclass(frozen=True)
class Verdict:
    """What a user should conclude."""

    kind: Kind
    sentences: tuple[str, ...]  # what a query sees, and what follows
    k: int  # length of the list of results that it is about
    seen: Directions | None  # share of the other modality in it, where it could be measured
    fair: Directions | None  # share of the other modality in the pool

    @property
    def text(self) -> str:
        """Return all sentences."""
        return " ".join(self.sentences)


def give_verdict(scan: PoolScan | None, findings: Sequence[Finding], *, k: int = 10) -> Verdict:
    """Return the verdict on the first k of a pool; the scan is None where rows are unusable."""
    faults = [finding.message for finding in findings if finding.is_fault]
    if scan is None:
        return Verdict("fault", (FAULT, *faults), k, None, None)
    k = min(k, scan.image_queries.n_neighbors)
    sides = scan.image_queries, scan.text_queries
    seen = Directions(*(float(share_seen(side, k).mean()) for side in sides))
    fair = Directions(*(side.share for side in sides))
    sentences = [
        f"A text query sees {_percent(seen.text_to_image)} images in its first {k}; "
        f"{_percent(fair.text_to_image)} would be fair.",
        f"An image query sees {_percent(seen.image_to_text)} texts; "
        f"{_percent(fair.image_to_text)} would be fair.",
    ]
    if faults:
        return Verdict("fault", (*sentences, FAULT, *faults), k, seen, fair)
    kind = kind_of(
        [seen.image_to_text / fair.image_to_text, seen.text_to_image / fair.text_to_image]
    )
    sentences.append(CONCLUSIONS[kind])
    if not scan.is_paired:
        sentences.append("Without pairs it cannot be checked whether images and texts are aligned.")
    else:
        alone, mixed = (mean(recall(scan.text_queries, 10, mixed=pool)) for pool in (False, True))
        sentences.append(
            f"A text finds its own image among the first 10 in {_percent(alone)} of cases when it "
            f"searches images alone, and in {_percent(mixed)} when it searches both."
        )
    return Verdict(kind, tuple(sentences), k, seen, fair)


def kind_of(exposures: list[float]) -> Kind:
    """Judge by the direction that sees least: a tool must not hide it behind the other."""
    if min(exposures) < SMALL:
        return "gap"
    if min(exposures) < FAIR:
        return "small gap"
    return "reversed gap" if max(exposures) > REVERSED else "no gap"


def _percent(share: float) -> str:
    """Write a share in whole percent, and small ones with the digits that they need."""
    percent = 100.0 * share
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else f"{percent:.1g} %"


@dataclass(frozen=True)
class Value:
    """One number, with its 95 % bootstrap interval over images where it is a mean over rows."""

    value: float  # infinite where a ratio has no denominator
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Return the numbers for JSON: null where there is none or it is infinite."""
        numbers = {"value": self.value} if self.standard_error is None else vars(self)
        return {name: number if isfinite(number) else None for name, number in numbers.items()}


@dataclass(frozen=True)
class Measurements:
    """All that was measured of a pair."""

    name: str
    n_images: int
    n_texts: int
    n_features: int
    verdict: Verdict
    findings: tuple[Finding, ...]  # faults of the pipeline, and remarks
    #: From the name of a measure (with its k) to its parts: "value", or "image_to_text" and
    #: "text_to_image", or "images" and "texts", and what else a measure tells.
    values: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    #: The same of retrieval with the first text of each image alone, where images have several:
    #: what papers with one caption for each image report.
    one_text: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)  # why a measure cannot run
    notes: Mapping[str, str] = field(default_factory=dict)  # of a measure, or of "queries"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON holds."""
        return {
            **{key: getattr(self, key) for key in ("name", "n_images", "n_texts", "n_features")},
            "verdict": {"kind": self.verdict.kind, "text": self.verdict.text},
            "findings": [
                {"kind": finding.kind, "fault": finding.is_fault, "message": finding.message}
                for finding in self.findings
            ],
            "measures": _plain(self.values),
            "one_text": _plain(self.one_text),
            "skipped": dict(self.skipped),
            "notes": dict(self.notes),
        }


def _plain(values: Mapping[str, Mapping[str, Value]]) -> dict[str, Any]:
    return {
        key: {part: value.to_dict() for part, value in parts.items()}
        for key, parts in values.items()
    }
