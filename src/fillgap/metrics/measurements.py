"""All that was measured of a pair, for whatever shows it: a terminal, a report, JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any

from fillgap.metrics.faults import Finding
from fillgap.metrics.verdict import Verdict

__all__ = ["Measurements", "Value"]


@dataclass(frozen=True)
class Value:
    """One number, and how sure it is.

    Attributes
    ----------
    value : float
        Infinite where a ratio has no denominator.
    low, high : float or None
        Ends of the 95 % bootstrap interval over images, where the measure is a mean over rows.
    standard_error : float or None
        Standard deviation of the bootstrap.
    """

    value: float
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Return the numbers for JSON: null where there is none or it is infinite."""
        numbers = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            name: number if number is not None and isfinite(number) else None
            for name, number in numbers.items()
            if name == "value" or self.standard_error is not None
        }


@dataclass(frozen=True)
class Measurements:
    """All that was measured of a pair.

    Attributes
    ----------
    name : str
        What the data are called.
    n_images, n_texts, n_features : int
        Sizes.
    verdict : Verdict
        What follows, in words.
    findings : tuple of Finding
        Faults of the pipeline, and remarks.
    values : dict
        From the name of a measure (with its k) to its parts: "value", or "image_to_text" and
        "text_to_image", or "images" and "texts", and what else a measure tells.
    one_text : dict
        The same for measures of retrieval with the first text of each image alone, where images
        have several: the value that papers with one caption for each image report.
    skipped : dict
        From the name of a measure that cannot run on these data to the reason.
    notes : dict
        From the name of a measure to what to keep in mind; under "queries" whether they are a
        sample.
    """

    name: str
    n_images: int
    n_texts: int
    n_features: int
    verdict: Verdict
    findings: tuple[Finding, ...]
    values: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    one_text: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON holds."""
        return {
            "name": self.name,
            "n_images": self.n_images,
            "n_texts": self.n_texts,
            "n_features": self.n_features,
            "verdict": {"kind": self.verdict.kind, "text": self.verdict.text},
            "findings": [
                {"kind": found.kind, "fault": found.is_fault, "message": found.message}
                for found in self.findings
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
