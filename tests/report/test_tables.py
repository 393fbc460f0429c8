"""Numbers as words: what the tables of every renderer say."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fillgap.metrics import MEASURES
from fillgap.metrics.verdict import Measurements, Value, Verdict
from fillgap.report import tables
from report_pairs import two_methods, whole_report

WORDS = {
    tables.number: {
        None: "n/a", math.nan: "n/a", math.inf: "∞", -math.inf: "−∞", 0.0: "0.000",
        -0.0001: "0.000", -0.5: "−0.500", 9.9994: "9.999", 12.345: "12.3", 123.45: "123",
        -1234.5: "−1234",
    },
    tables.percent: {
        0: "0 %", 0.004: "0.4 %", 0.01: "1 %", 0.5: "50 %", 0.994: "99.4 %", 0.99999: "99.9 %",
        1: "100 %",
    },
    tables.title_of: {
        "recall_at_10": "recall@10", "mixed_ndcg_at_10": "mixed NDCG@10", "itr": "ITR",
        "ilisi": "iLISI", "mutual_knn": "mutual k-NN", "linear_cka": "linear CKA",
        "gap_angle": "gap angle", "queries": "queries",
    },
}  # fmt: skip


@pytest.mark.parametrize("function", WORDS)
def test_numbers_shares_and_titles(function) -> None:
    assert {value: function(value) for value in WORDS[function]} == WORDS[function]


@given(st.floats(-1e6, 1e6))
def test_a_shown_number_is_near_the_value(value: float) -> None:
    shown = float(tables.number(value).replace("−", "-"))
    assert shown == pytest.approx(value, rel=0.006, abs=0.0005)


def measured(key: str, parts: dict[str, Value]) -> Measurements:
    return Measurements("x", 2, 2, 2, Verdict("gap", (), 10, None, None), (), {key: parts})


def group_of(key: str, before: dict, after: dict | None = None) -> tables.MeasureGroup:
    later = None if after is None else measured(key, after)
    ((group,),) = tables.measure_families(measured(key, before), later).values()
    return group


def test_every_measure_is_shown_once_and_under_its_family() -> None:
    report = whole_report()
    families = tables.measure_families(report.shown.before, report.shown.after)
    assert next(iter(families)) == "mixed pool"
    shown = [(family, group.title) for family, groups in families.items() for group in groups]
    wanted = [
        (entry.family, tables.title_of(key))
        for entry in MEASURES.values()
        for key, _ in entry.variants()
        if key in report.shown.before.values
    ]
    assert sorted(shown) == sorted(wanted)


def test_a_row_has_its_value_and_interval_before_and_after() -> None:
    before = {"image_to_text": Value(0.5, 0.4, 0.6, 0.05)}
    group = group_of("recall_at_10", before, {"image_to_text": Value(0.7, 0.65, 0.75, 0.05)})
    assert (group.title, group.direction) == ("recall@10", "higher is better")
    cells = tables.Cell("0.500", "0.400 to 0.600"), tables.Cell("0.700", "0.650 to 0.750")
    assert group.rows == (tables.MeasureRow("image → text", *cells, "better"),)
    alone = tables.MeasureRow("image → text", cells[0], None, None)
    assert group_of("recall_at_10", before).rows == (alone,)


@pytest.mark.parametrize(
    ("key", "old", "new", "change"),
    [
        ("ilisi", Value(0.1, 0.05, 0.15), Value(0.3, 0.2, 0.4), "better"),
        ("ilisi", Value(0.3, 0.2, 0.4), Value(0.1, 0.05, 0.15), "worse"),
        ("ilisi", Value(0.3, 0.2, 0.4), Value(0.35, 0.3, 0.5), None),
        ("tmr", Value(9.0, 8, 10), Value(3.0, 2, 4), "better"),
        ("hubness", Value(2.0), Value(1.0), "better"),
        ("hubness", Value(1.0), Value(2.0), "worse"),
        ("hubness", Value(1.0), Value(1.0001), None),
        ("gap_angle", Value(10.0), Value(math.nan), None),
        ("cross_cosine_distance", Value(1.0), Value(0.5), None),
    ],
)
def test_better_and_worse_are_said_only_where_they_are_sure(key, old, new, change) -> None:
    assert group_of(key, {"value": old}, {"value": new}).rows[0].change == change


def test_parts_that_explain_others_have_no_better_or_worse() -> None:
    parts = {"value": Value(2.0), "mean_term": Value(1.5)}
    later = {"value": Value(1.0), "mean_term": Value(0.5)}
    rows = group_of("frechet_distance", parts, later).rows
    assert [(row.part, row.change) for row in rows] == [("", "better"), ("mean term", None)]


def test_counts_have_no_decimals_and_an_interval_without_width_is_not_shown() -> None:
    flat = group_of("kbet", {"value": Value(0.0, 0.0, 0.0001, 0.0)})
    assert flat.rows[0].before == tables.Cell("0.000", "")
    parts = {"value": Value(2.0), "images_dimension": Value(251.0), "n_samples": Value(5.0)}
    rows = group_of("subspace_overlap", parts).rows
    assert [(row.part, row.before.text) for row in rows] == [("", "2"), ("images dimension", "251")]


def test_methods_are_ranked_by_the_objective() -> None:
    found = two_methods()
    rows = tables.method_rows(found)
    assert [row.name for row in rows] == tables.ranked(found)
    objective = found.recommendation.objective
    means = [found.results[row.name].estimates[objective]["mean"] for row in rows]
    assert means == sorted(means, key=lambda mean: -mean.value)
    assert [row.name for row in rows if row.chosen] == [found.recommendation.method]
    value, low, high = (tables.number(x) for x in (means[0].value, means[0].low, means[0].high))
    assert rows[0].scores[0] == tables.Cell(value, f"{low} to {high}")
    assert "two-sided NDCG@10" in tables.score_columns(found).values()
    raw = found.results["raw"]
    single = {key: item for key, item in raw.estimates.items() if "two_sided" not in key}
    without = replace(found, results={"raw": replace(raw, estimates=single)})
    assert list(tables.score_columns(without)) == ["mixed_ndcg_at_10", "recall_at_1"]


def test_what_could_not_run_is_among_the_notes() -> None:
    notes = {"notes": {"queries": "A sample."}, "skipped": {"mutual_knn": "No pairs."}}
    found = replace(measured("itr", {}), **notes)
    assert tables.measure_notes(found) == [("queries", "A sample."), ("mutual k-NN", "No pairs.")]
