"""The tables of a report, as words: renderers only set them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from fillgap.evaluation.compare import Comparison
from fillgap.evaluation.statistics import Estimate
from fillgap.metrics.table import MEASURES
from fillgap.metrics.verdict import Measurements, Value

Change: TypeAlias = Literal["better", "worse"] | None

#: What a comparison shows with intervals: what methods are ranked by, and what they may cost.
OBJECTIVES: Final = {
    "two_sided_ndcg_at_10": "two-sided NDCG@10",
    "mixed_ndcg_at_10": "mixed NDCG@10",
    "recall_at_1": "recall@1 alone",
}

#: Parts of results that only explain others.
_UNTOLD: Final = frozenset(
    {
        "numerator", "denominator", "random_mean", "random_deviation", "n_samples", "n_features",
        "n_clusters",
    }
)  # fmt: skip
#: Families in which a user sees at once what a gap does.
_FIRST: Final = ("mixed pool", "other modality alone", "neighbours")
_PARTS: Final = {"value": "", "image_to_text": "image → text", "text_to_image": "text → image"}
#: Measures that count something.
_COUNTS: Final = frozenset({"energy_dimension", "subspace_overlap"})
_WORDS: Final = {
    "itr": "ITR", "tir": "TIR", "tmr": "TMR", "imr": "IMR", "mrr": "MRR", "ndcg": "NDCG",
    "ilisi": "iLISI", "kbet": "kBET", "cka": "CKA", "knn": "k-NN", "frechet": "Fréchet",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A number and its interval, as they are shown."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class MeasureRow:
    """One number of a measure, before and after."""

    part: str  # which direction or side; empty for a measure that is one number
    before: Cell
    after: Cell | None  # None where there is no aligner
    change: Change  # None where neither is better, or the intervals overlap


@dataclass(frozen=True)
class MeasureGroup:
    """All numbers of a measure."""

    title: str
    direction: str  # "higher is better", "lower is better", or empty
    rows: tuple[MeasureRow, ...]


@dataclass(frozen=True)
class MethodRow:
    """One method of a comparison."""

    name: str
    chosen: bool
    scores: tuple[Cell, ...]  # one for each of `score_columns`
    exposures: tuple[str, str]  # of image queries and of text queries
    mixing: float
    conservation: float


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as a table shows it: a real minus, and no digits that nobody reads."""
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    shown = digits if size < 10 else min(digits, 1) if size < 100 else 0
    text = f"{value:.{shown}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def percent(share: float) -> str:
    """Return a share in whole percent; near none and near all with the digit that it needs."""
    value = 100 * share
    if 0 < value < 1:
        return f"{value:.1g} %"
    return f"{min(value, 99.9):.1f} %" if 99 < value < 100 else f"{value:.0f} %"


def title_of(key: str) -> str:
    """Return the words for the name of a measure: "recall_at_10" is "recall@10"."""
    words = [word.partition("@") for word in key.replace("_at_", "@").split("_")]
    return " ".join(f"{_WORDS.get(name, name)}{at}{k}" for name, at, k in words)


def measure_notes(found: Measurements) -> list[tuple[str, str]]:
    """Return what to keep in mind with measures, and why some could not run."""
    return [
        (title_of(key), note) for part in (found.notes, found.skipped) for key, note in part.items()
    ]


def measure_families(
    before: Measurements, after: Measurements | None
) -> dict[str, list[MeasureGroup]]:
    """Return the measures that ran, by family: first what a search shows."""
    families: dict[str, list[MeasureGroup]] = {family: [] for family in _FIRST}
    for entry in MEASURES.values():
        for key, _ in entry.variants():
            if key in before.values:
                later = {} if after is None else after.values.get(key, {})
                group = _group(key, entry.larger_is_better, before.values[key], later)
                families.setdefault(entry.family, []).append(group)
    return {family: groups for family, groups in families.items() if groups}


def _group(
    key: str, larger: bool | None, before: Mapping[str, Value], after: Mapping[str, Value]
) -> MeasureGroup:
    rows = []
    for part in (part for part in before if part not in _UNTOLD):
        old, new = before[part], after.get(part)
        # What explains a value, like the dimensions behind an overlap, has no better or worse.
        change = None if new is None or part not in _PARTS else _change(old, new, larger=larger)
        words = _PARTS.get(part, part.replace("_", " "))
        digits = 0 if key in _COUNTS else 3
        cells = _cell(old, digits), None if new is None else _cell(new, digits)
        rows.append(MeasureRow(words, *cells, change))
    direction = {True: "higher is better", False: "lower is better", None: ""}[larger]
    return MeasureGroup(title_of(key), direction, tuple(rows))


def _change(old: Value, new: Value, *, larger: bool | None) -> Change:
    """Tell whether a change is one: beyond the intervals, or beyond the digits that are shown."""
    if None not in (old.low, old.high, new.low, new.high):
        rises, falls = new.low > old.high, new.high < old.low  # type: ignore[operator]
    else:
        visible = number(old.value) != number(new.value)
        rises, falls = visible and new.value > old.value, visible and new.value < old.value
    if larger is None or not (rises or falls):
        return None
    return "better" if rises == larger else "worse"


def _cell(item: Value | Estimate, digits: int = 3) -> Cell:
    ends = number(item.low), number(item.high)
    known = item.low is not None and ends[0] != ends[1]
    return Cell(number(item.value, digits), f"{ends[0]} to {ends[1]}" if known else "")


def ranked(found: Comparison) -> list[str]:
    """Return the methods, best first by what they were ranked by."""
    objective = found.recommendation.objective
    return sorted(
        found.results, key=lambda name: -found.results[name].estimates[objective]["mean"].value
    )


def score_columns(found: Comparison) -> dict[str, str]:
    """Return the measures that a comparison shows with intervals, and what they are called."""
    return {key: title for key, title in OBJECTIVES.items() if found.two_sided or "two" not in key}


def method_rows(found: Comparison) -> list[MethodRow]:
    """Return the rows of a comparison, best method first."""
    rows = []
    for name in ranked(found):
        result = found.results[name]
        exposure = result.estimates["exposure_at_10"]
        image, text = (exposure[side].value for side in ("image_to_text", "text_to_image"))
        rows.append(
            MethodRow(
                name=name,
                chosen=name == found.recommendation.method,
                scores=tuple(_cell(result.estimates[key]["mean"]) for key in score_columns(found)),
                exposures=(number(image, 2), number(text, 2)),
                mixing=result.mixing,
                conservation=result.conservation,
            )
        )
    return rows
