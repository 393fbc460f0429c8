"""The demonstration: every claim holds, a broken theory fails, and the page says so."""

from __future__ import annotations

import json
import re
from html import unescape

import numpy as np
import pytest

from fillgap.errors import InputError
from fillgap.papers.theory.checks import page, subspaces, theorems
from fillgap.papers.theory.checks.page import (
    chart_svg,
    render_page,
    run_theory_demo,
    sphere_svgs,
    write_theory_page,
)
from fillgap.papers.theory.checks.results import (
    Chart,
    Check,
    Curve,
    Effort,
    Section,
    Sphere,
    Table,
    TheoryDemo,
    format_number,
)
from fillgap.papers.theory.simulator import Frame

TINY = Effort(n_pairs=24, n_steps=10, n_cloud=100, n_samples=4000, seed=0)
GOOD = Check.equal("Angle of c_x (degrees)", 40.0, 40.1, 0.2)
BAD = Check.at_most("Miss <b>", 2e-7, -3.0)


@pytest.fixture(scope="module")
def demo():
    return run_theory_demo(quick=True)


def test_every_claim_is_there_and_holds(demo):
    assert [check.name for check in demo.checks if not check.holds] == []
    assert demo.holds
    names = " | ".join(check.name for check in demo.checks)
    for claim in (
        "Final loss less the bound", "Final gap angle Δθ", "Final Δθ, loss of the batch",
        "Final Δθ for φ_min = 20°", "Final Δθ for φ_min = 60°", "Final loss without the condition",
        "Final tilt towards C", "share of pairs matched", "clouds, rotated",
        "free points, projected on C", "Sampling from S5", "Theorem 4's proof less sampling",
        "Best φ for θ = 0.9", "Largest excess over the bound",
    ):  # fmt: skip
        assert claim in names, claim
    half_spaces = [check for check in demo.checks if check.name.startswith("P(z·c ≥ 0)")]
    assert [check.tolerance for check in half_spaces] == [1e-4] * 19
    assert len(demo.checks) > 70


def test_every_chart_and_table_ends_with_a_check(demo):
    for section in demo.sections:
        for part in (*section.charts, *section.tables):
            assert part.checks, part.title
        for curve in (curve for chart in section.charts for curve in chart.curves):
            assert curve.x.shape == curve.y.shape
            assert np.isfinite(curve.y).all()
    captions = [chart.caption for section in demo.sections for chart in section.charts]
    for sampler in ("Plain sampling", "Tilted sampling"):
        assert any(sampler in caption for caption in captions)
    frames = [[f.X.shape for f in s.frames] for part in demo.sections for s in part.spheres]
    assert frames == [[(48, 3)] * 5] * 6


def test_plain_form_is_json_without_nan(demo):
    again = json.loads(json.dumps(demo.to_dict(), allow_nan=False))
    assert (again["holds"], again["random_state"]) == (True, 0)
    first = again["sections"][0]["charts"][0]["curves"][0]
    np.testing.assert_array_equal(first["y"], demo.sections[0].charts[0].curves[0].y)
    broken = Check.equal("n", np.nan, 1.0, 0.1)
    section = Section("t", "l", tables=(Table("t", ("a",), (("1",),), (broken,)),))
    plain = TheoryDemo((section,), quick=True, random_state=0).to_dict()
    assert plain["sections"][0]["tables"][0]["checks"][0]["value"] is None
    assert plain["holds"] is False


@pytest.mark.parametrize(
    ("check", "holds"),
    [
        (Check.equal("", 1.05, 1.0, 0.1), True),
        (Check.equal("", 1.2, 1.0, 0.1), False),
        (Check.equal("", 0.8, 1.0, 0.1), False),
        (Check.at_most("", 1.05, 1.0, 0.1), True),
        (Check.at_most("", -9.0, 1.0), True),
        (Check.at_most("", 1.2, 1.0, 0.1), False),
        (Check.at_least("", 0.95, 1.0, 0.1), True),
        (Check.at_least("", 9.0, 1.0), True),
        (Check.at_least("", 0.8, 1.0, 0.1), False),
        (Check.at_most("", float("nan"), 1.0, 0.1), False),
        (Check.at_least("", float("nan"), 1.0, 0.1), False),
    ],
)
def test_checks_hold_only_within_their_tolerance(check, holds):
    assert check.holds is holds


def test_a_wrong_formula_does_not_hold_and_the_seed_decides(monkeypatch):
    first, second = (subspaces.pair_section(TINY) for _ in range(2))
    other = subspaces.pair_section(Effort(24, 10, 100, 4000, seed=1))
    values = [section.charts[0].curves[1].y for section in (first, second, other)]
    np.testing.assert_array_equal(values[0], values[1])
    assert np.abs(values[0] - values[2]).max() > 0
    right = subspaces.pair_limit
    monkeypatch.setattr(subspaces, "pair_limit", lambda *a, **k: right(*a, **k) + 0.1)
    assert not all(check.holds for check in subspaces.pair_section(TINY).checks)
    monkeypatch.setattr(theorems, "half_space_probability", lambda *a: 0.5)
    failed = [check for check in theorems.lemma_section(TINY).checks if not check.holds]
    assert len(failed) == 19


def test_progress_names_each_section(monkeypatch):
    empty = Section("t", "l")
    monkeypatch.setattr(page, "_SECTIONS", (("a", lambda _: empty), ("b", lambda _: empty)))
    seen = []
    run_theory_demo(progress=lambda *step: seen.append(step))
    assert seen == [(0, 2, "a"), (1, 2, "b"), (2, 2, "done")]


def small_demo(*checks: Check) -> TheoryDemo:
    steps, falling = np.array([0.0, 1.0, 2.0]), np.array([3.0, 2.0, 1.0])
    curves = (
        Curve("κ_x & κ_y", steps, falling),
        Curve("bound", steps, np.ones(3), 1, "dashed"),
        Curve("sampling", steps, falling, 2, "points", np.array([0.1, 0.1, 0.2])),
        Curve("", steps, falling, 3, "points"),
        Curve("", steps, falling, 4, "dotted"),
    )
    points = np.eye(3)
    section = Section(
        "First",
        "A lead with φ_min.",
        charts=(Chart("One", "step", "φ_min", curves, checks, "A caption.", log_y=True),),
        tables=(Table("Two", ("h", "κ"), (("8", "5"),), checks),),
        spheres=(
            Sphere("Three", "Below.", (Frame(0, points, -points, 0.7),)),
            Sphere("Four", "Below.", (Frame(5, points, -points, 0.0),)),
        ),
        findings=("One finding.",),
    )
    return TheoryDemo((section, Section("Second", "No more.")), quick=True, random_state=3)


def words_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", "", page)).split())


def test_page_is_complete_loads_nothing_and_says_what_fails(tmp_path):
    demo, path = small_demo(GOOD, BAD), tmp_path / "theory.html"
    path.write_text("old")
    write_theory_page(demo, path)
    assert list(tmp_path.iterdir()) == [path]
    text = path.read_text(encoding="utf-8")
    ids = re.findall(r' id="(.*?)"', text)
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:href|src)="(.*?)"|url\((.*?)\)', text)
    assert {a or b for a, b in used} <= {f"#{name}" for name in ids}
    for tag in ("section", "figure", "svg", "table", "ul", "details", "div"):
        assert len(re.findall(rf"<{tag}\b", text)) == text.count(f"</{tag}>")
    assert not re.search("<script|@import", text)
    assert text.count("<svg") == 3
    assert "φ<sub>min</sub>" in text
    for words in (
        "First", "Second", "One", "Two", "Three", "A caption.", "One finding.", "step 5",
        "Short version, seed 3", "2 of 4 checks do not hold.", "40 = 40.1 ± 0.2: holds",
        "2·10⁻⁷ ≤ −3: does not hold", "Miss <b>",
    ):  # fmt: skip
        assert words in words_of(text)
    assert "<details open" in text  # a table with a failed check
    good = render_page(small_demo(GOOD))
    assert "All 2 checks hold." in words_of(good)
    assert "<details open" not in good


def test_figures_repeat_in_colours_of_the_page_and_share_no_identifiers():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    chart = small_demo(GOOD).sections[0].charts[0]
    svg = chart_svg(chart, "a")
    assert dict(mpl.rcParams) == before
    assert svg == chart_svg(chart, "a")
    ids = [set(re.findall(r'\bid="(.*?)"', chart_svg(chart, name))) for name in "ab"]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert "var(--c0)" in svg
    assert "var(--ink)" in svg
    assert not re.search(r"#(?:11000\d|010203|040506)|<metadata|<style", svg)
    words = words_of(svg)
    assert "sampling" in words
    assert "κx & κy" in words
    assert "_" not in words


def test_frames_show_every_point_and_the_planes():
    sphere = small_demo(GOOD).sections[0].spheres
    ((step, with_planes),) = sphere_svgs(sphere[0], "a")
    ((_, without),) = sphere_svgs(sphere[1], "a")
    assert step == 0
    assert with_planes.count("<use") == without.count("<use") == 6
    assert with_planes.count("<path") > without.count("<path")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-1.2345678, "−1.235"), (2e-7, "2·10⁻⁷"), (-3.21e12, "−3.21·10¹²"), (40, "40")],
)
def test_numbers(value, text):
    assert format_number(value) == text


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="random_state must be at least 0, got -1"):
        run_theory_demo(random_state=-1)
    with pytest.raises(InputError, match="must be in a folder that exists"):
        write_theory_page(small_demo(GOOD), tmp_path / "missing" / "page.html")
