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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"), (math.nan, "n/a"), (math.inf, "∞"), (-math.inf, "−∞"),
        (0.0, "0.000"), (-0.0001, "0.000"), (-0.5, "−0.500"), (9.9994, "9.999"), (12.345, "12.3"),
        (123.45, "123"), (-1234.5, "−1234"),
    ],
)  # fmt: skip
def test_numbers(value: float | None, text: str) -> None:
    assert tables.number(value) == text


@given(st.floats(-1e6, 1e6))
def test_a_shown_number_is_near_the_value(value: float) -> None:
    shown = float(tables.number(value).replace("−", "-"))
    assert shown == pytest.approx(value, rel=0.006, abs=0.0005)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"), (0.004, "0.4 %"), (0.01, "1 %"), (0.5, "50 %"), (0.994, "99.4 %"),
        (0.99999, "99.9 %"), (1, "100 %"),
    ],
)  # fmt: skip
def test_shares(share: float, text: str) -> None:
    assert tables.percent(share) == text


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("recall_at_10", "recall@10"), ("mixed_ndcg_at_10", "mixed NDCG@10"), ("itr", "ITR"),
        ("ilisi", "iLISI"), ("mutual_knn", "mutual k-NN"), ("linear_cka", "linear CKA"),
        ("gap_angle", "gap angle"), ("queries", "queries"),
    ],
)  # fmt: skip
def test_titles(key: str, title: str) -> None:
    assert tables.title_of(key) == title


def measured(values: dict) -> Measurements:
    return Measurements("x", 2, 2, 2, Verdict("gap", (), 10, None, None), (), values)


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
    before = measured({"recall_at_10": {"image_to_text": Value(0.5, 0.4, 0.6, 0.05)}})
    after = measured({"recall_at_10": {"image_to_text": Value(0.7, 0.65, 0.75, 0.05)}})
    (group,) = tables.measure_families(before, after)["other modality alone"]
    assert (group.title, group.direction) == ("recall@10", "higher is better")
    (row,) = group.rows
    assert row == tables.MeasureRow(
        "image → text", tables.Cell("0.500", "0.400 to 0.600"),
        tables.Cell("0.700", "0.650 to 0.750"), "better",
    )  # fmt: skip
    (alone,) = tables.measure_families(before, None)["other modality alone"][0].rows
    assert alone.after is alone.change is None


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
def test_better_and_worse_are_said_only_where_they_are_sure(
    key: str, old: Value, new: Value, change: str | None
) -> None:
    (groups,) = tables.measure_families(
        measured({key: {"value": old}}), measured({key: {"value": new}})
    ).values()
    assert groups[0].rows[0].change == change


def test_parts_that_explain_others_have_no_better_or_worse() -> None:
    parts = {"value": Value(2.0), "mean_term": Value(1.5)}
    later = {"value": Value(1.0), "mean_term": Value(0.5)}
    (group,) = tables.measure_families(
        measured({"frechet_distance": parts}), measured({"frechet_distance": later})
    )["distributions"]
    assert [row.change for row in group.rows] == ["better", None]
    assert [row.part for row in group.rows] == ["", "mean term"]


def test_counts_have_no_decimals_and_an_interval_without_width_is_not_shown() -> None:
    parts = {"value": Value(0.0, 0.0, 0.0001, 0.0)}
    ((group,),) = tables.measure_families(measured({"kbet": parts}), None).values()
    assert group.rows[0].before == tables.Cell("0.000", "")
    parts = {"value": Value(2.0), "images_dimension": Value(251.0), "n_samples": Value(5.0)}
    ((group,),) = tables.measure_families(measured({"subspace_overlap": parts}), None).values()
    assert [(row.part, row.before.text) for row in group.rows] == [
        ("", "2"),
        ("images dimension", "251"),
    ]


def test_methods_are_ranked_by_the_objective() -> None:
    found = two_methods()
    rows = tables.method_rows(found)
    assert [row.name for row in rows] == tables.ranked(found)
    objective = found.recommendation.objective
    scores = [found.results[row.name].estimates[objective]["mean"].value for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert [row.name for row in rows if row.chosen] == [found.recommendation.method]
    best = found.results[rows[0].name].estimates[objective]["mean"]
    assert rows[0].scores[0].text == tables.number(best.value)
    assert rows[0].scores[0].interval == f"{tables.number(best.low)} to {tables.number(best.high)}"
    assert "two-sided NDCG@10" in tables.score_columns(found).values()
    raw = found.results["raw"]
    single = {key: item for key, item in raw.estimates.items() if "two_sided" not in key}
    without = replace(found, results={"raw": replace(raw, estimates=single)})
    assert list(tables.score_columns(without)) == ["mixed_ndcg_at_10", "recall_at_1"]


def test_what_could_not_run_is_among_the_notes() -> None:
    found = replace(
        measured({}), notes={"queries": "A sample."}, skipped={"mutual_knn": "No pairs."}
    )
    assert tables.measure_notes(found) == [("queries", "A sample."), ("mutual k-NN", "No pairs.")]
