"""The HTML page: complete, self-contained, consistent, and honest about what fails."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from fillgap.papers.theory.checks.page import (
    chart_svg,
    render_page,
    sphere_svgs,
    statement,
    with_subscripts,
    write_theory_page,
)
from fillgap.papers.theory.checks.results import (
    Chart,
    Check,
    Curve,
    Section,
    Sphere,
    Table,
    TheoryDemo,
    format_number,
)
from fillgap.papers.theory.simulator import Frame

GOOD = Check.equal("Angle of c_x (degrees)", 40.0, 40.1, 0.2)
BAD = Check.at_most("Miss <b>", 2e-7, -3.0)
STEPS = np.array([0.0, 1.0, 2.0])


def small_demo(*checks: Check) -> TheoryDemo:
    curves = (
        Curve("κ_x & κ_y", STEPS, np.array([3.0, 2.0, 1.0])),
        Curve("bound", STEPS, np.array([1.0, 1.0, 1.0]), 1, "dashed"),
        Curve("sampling", STEPS, np.array([3.0, 2.0, 1.0]), 2, "points", np.array([0.1, 0.1, 0.2])),
        Curve("", STEPS, np.array([3.0, 2.0, 1.5]), 3, "points"),
        Curve("", STEPS, np.array([3.0, 2.0, 1.5]), 4, "dotted"),
    )
    points = np.eye(3)
    sections = (
        Section(
            "First",
            "A lead with φ_min.",
            charts=(Chart("One", "step", "φ_min", curves, checks, "A caption.", log_y=True),),
            tables=(Table("Two", ("h", "κ"), (("8", "5"),), checks),),
            spheres=(
                Sphere("Three", "Below.", (Frame(0, points, -points, 0.7),)),
                Sphere("Four", "Below.", (Frame(5, points, -points, 0.0),)),
            ),
            findings=("One finding.",),
        ),
        Section("Second", "Nothing else."),
    )
    return TheoryDemo(sections, quick=True, random_state=3)


class Reader(HTMLParser):
    """Collects ids, references and text, and refuses tags that do not close."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.used: list[str] = []
        self.words = ""

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href", "src"):
                self.used.append(value)
            self.used += re.findall(r"url\((.*?)\)", value or "")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.words += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_page_is_complete_and_loads_nothing():
    demo = small_demo(GOOD, BAD)
    assert not demo.holds
    page = render_page(demo)
    reader = read(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert all(target.startswith("#") and target[1:] in reader.ids for target in reader.used)
    assert "<script" not in page
    assert "@import" not in page
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    for words in ("First", "Second", "One", "Two", "Three", "A caption.", "One finding.", "step 5"):
        assert words in reader.words
    assert "Short version, seed 3" in reader.words
    assert page.count("<svg") == 3


def test_what_fails_is_said():
    words = " ".join(read(render_page(small_demo(GOOD, BAD))).words.split())
    assert "2 of 4 checks do not hold." in words
    assert "40 = 40.1 ± 0.2: holds" in words
    assert "2·10⁻⁷ ≤ −3: does not hold" in words
    assert "Miss <b>" in words
    all_good = " ".join(read(render_page(small_demo(GOOD))).words.split())
    assert "All 2 checks hold." in all_good
    assert "does not hold" not in all_good


def test_a_table_with_a_failed_check_stands_open():
    assert "<details open" in render_page(small_demo(BAD))
    assert "<details open" not in render_page(small_demo(GOOD))


def test_colours_are_variables_and_text_stays_text():
    svg = chart_svg(small_demo(GOOD).sections[0].charts[0], "a")
    assert "var(--c0)" in svg
    assert "var(--ink)" in svg
    assert not re.search(r"#(?:11000\d|010203|040506)", svg)
    assert ">sampling<" in svg
    assert "<metadata" not in svg
    assert "<style" not in svg
    words = read(svg).words
    assert "κx & κy" in words
    assert "_" not in words


def test_figures_repeat_and_do_not_share_identifiers():
    chart = small_demo(GOOD).sections[0].charts[0]
    assert chart_svg(chart, "a") == chart_svg(chart, "a")
    ids = [set(re.findall(r'\bid="(.*?)"', chart_svg(chart, name))) for name in "ab"]
    assert ids[0]
    assert not ids[0] & ids[1]


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


def test_statement_and_subscripts():
    assert statement(GOOD) == "40 = 40.1 ± 0.2"
    assert statement(BAD) == "2·10⁻⁷ ≤ −3"
    assert (
        str(with_subscripts("φ_min < P_C x_i"))
        == "φ<sub>min</sub> &lt; P<sub>C</sub> x<sub>i</sub>"
    )


def test_writing_replaces_the_file(tmp_path):
    path = tmp_path / "theory.html"
    path.write_text("old")
    write_theory_page(small_demo(GOOD), path)
    assert path.read_text(encoding="utf-8") == render_page(small_demo(GOOD))
    assert list(tmp_path.iterdir()) == [path]


def test_drawing_touches_no_global_state():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    chart_svg(small_demo(GOOD).sections[0].charts[0], "a")
    assert dict(mpl.rcParams) == before
