"""What renderers make of a report: sound markup, nothing from outside, nothing from captions."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from unittest.mock import Mock

import numpy as np
import pytest

from fillgap.errors import InputError
from fillgap.report import ReportData, build_report, render_html, write_report
from fillgap.report.html import draw
from fillgap.report.markdown import plain, render_json, render_markdown, to_plain
from report_pairs import (
    HOSTILE,
    REPORTS,
    hostile_report,
    page_of,
    pair_with_everything,
    whole_report,
)

VOID = {"meta", "br", "img", "link", "input", "hr"}
SECTIONS = [
    "verdict", "recommendation", "measures", "scatter", "similarities", "subspaces", "comparison",
    "neighbours", "use",
]  # fmt: skip


class Page(HTMLParser):
    """Checks nesting and identifiers while it reads, and keeps elements, links and words."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids)), "an id is used twice"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of {tag} is there twice"
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} runs something: {name}"
            if name == "id":
                self.ids.append(value or "")
            if name in {"href", "src", "xlink:href", "action", "srcset", "data"}:
                self.links.append((tag, value or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("name", REPORTS)
def test_the_markup_is_sound_and_nothing_comes_from_outside(name: str) -> None:
    text = page_of(name)
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>\n")
    assert not {"script", "iframe", "object", "embed", "link", "form"} & set(page.tags)
    for tag, link in page.links:
        assert link.startswith(("#", "data:image/png;base64,")), (tag, link[:80])
        assert not link.startswith("#") or link[1:] in page.ids
    assert "@import" not in re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert not re.findall(r"url\((?!#)", text)
    for anchor in re.findall(r"url\(#([^)]+)\)", text):
        assert anchor in page.ids
    assert len(text.encode()) < 5_000_000
    assert not re.findall(r"https?://", text.replace("http://evil.example/x", ""))  # of a caption


def words_of(page: Page) -> str:
    return " ".join(" ".join(page.words).split())


def test_words_of_the_data_stay_words() -> None:
    words = " ".join(Page(page_of("hostile")).words)
    assert words.count(HOSTILE) > 10
    assert "49" not in re.findall(r"\{\{ (\S+) \}\}", words)


def test_every_section_and_its_words_are_on_the_page() -> None:
    report, text = whole_report(), page_of("whole")
    assert re.findall(r'<section id="(\w+)"', text) == SECTIONS
    page = Page(text)
    assert [link[1:] for tag, link in page.links if tag == "a"] == SECTIONS
    found, words = report.comparison, words_of(page)
    for line in (
        report.measured.verdict.text, found.recommendation.sentence, report.shown.sentence,
        report.subspaces[0].sentence, *found.results, *found.failures.values(),
        *report.usage.commands, *report.usage.python, *(q.item.words for q in report.queries),
    ):  # fmt: skip
        assert line in words


def test_what_is_left_out_is_said() -> None:
    words = words_of(Page(page_of("unpaired")))
    assert all(sentence in words for sentence in REPORTS["unpaired"]().left_out.values())
    assert 'id="comparison"' not in page_of("unpaired")


def test_rows_that_cannot_be_measured_leave_a_sound_page() -> None:
    pair = pair_with_everything(20)
    pair.texts[4] = 0
    report = build_report(pair)
    page = Page(render_html(report))
    for part in ("fault", "in row 4", report.left_out["all"]):
        assert part in " ".join(page.words)
    assert page.ids == ["verdict"]
    assert "in row 4" in render_markdown(report)
    json.loads(render_json(report))


def test_equal_reports_give_equal_pages_and_leave_matplotlib_as_it_is() -> None:
    import matplotlib

    first = page_of("whole")
    before = dict.copy(matplotlib.rcParams)  # looking one up may choose a backend
    assert render_html(whole_report()) == first
    assert dict.copy(matplotlib.rcParams) == before


def test_figures_have_words_for_those_who_cannot_see_them() -> None:
    text = page_of("whole")
    drawn = re.findall(r'<svg role="img" aria-label="([^"]+)" viewBox="0 0 [\d.]+ [\d.]+">', text)
    assert len(set(drawn)) == len(drawn) == text.count("<svg") == 10
    assert all(" alt=" in image for image in re.findall(r"<img [^>]*>", text))


def test_a_figure_takes_the_colours_of_the_page_and_hides_no_words_in_outlines() -> None:
    def paint(figure: object) -> None:
        figure.subplots().set(xlabel="a & b < c $x$")

    text = draw("name", 'what & "why"', paint, size=(3, 2))
    for there in (
        'aria-label="what &amp; &quot;why&quot;"',
        "a &amp; b &lt; c $x$",
        "var(--muted)",
    ):
        assert there in text
    assert not re.findall("#040506|<metadata|<!--", text)


@pytest.mark.parametrize("name", REPORTS)
def test_json_holds_every_section_and_no_nan(name: str) -> None:
    report: ReportData = REPORTS[name]()
    found = json.loads(render_json(report), parse_constant=pytest.fail)
    assert found.keys() == vars(report).keys()
    assert found["measured"]["verdict"]["kind"] == report.measured.verdict.kind
    assert math.isinf(report.measured.values["itr"]["value"].value)
    assert found["measured"]["measures"]["itr"]["value"]["value"] is None
    assert len(found["projections"][0]["pairs"][0]["images"]) > 10
    assert "picture" not in found["queries"][0]["item"]
    if report.comparison is not None:
        assert found["comparison"]["results"].keys() == report.comparison.results.keys()
    mixed = {1: math.nan, "b": [np.float32(math.inf), None]}
    assert to_plain(mixed) == {"1": None, "b": [None, None]}


@pytest.mark.parametrize("name", REPORTS)
def test_markdown_tables_have_one_width(name: str) -> None:
    tables = re.findall(r"(?:^\|.*\|$\n?)+", render_markdown(REPORTS[name]()), re.MULTILINE)
    assert len(tables) > 5
    for table in tables:
        bars = [len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()]
        assert len(set(bars)) == 1, table


def test_markdown_says_what_the_page_says_and_takes_no_markup_from_captions() -> None:
    report = whole_report()
    text = render_markdown(report)
    sentences = (report.measured.verdict.text, report.comparison.recommendation.sentence)
    parts = [plain(sentence) for sentence in (*sentences, report.shown.sentence)]
    for part in (*parts, *report.usage.commands, "| recall@10 image → text"):
        assert part in text
    assert "\n\n\n" not in text
    outside = re.sub(r"```.*?```", "", render_markdown(hostile_report()), flags=re.DOTALL)
    assert not re.findall(r"<script|\]\(http", re.sub(r"\\.", "", outside))
    assert plain("a\nb  *c* [d](e) <f>") == r"a b \*c\* \[d\](e) \<f\>"


# Files


@pytest.mark.parametrize(
    ("name", "start"),
    [("r.html", "<!DOCTYPE"), ("r.HTM", "<!DOCTYPE"), ("r.md", "# scenes"), ("r.json", "{")],
)
def test_the_ending_chooses_the_format(tmp_path, name: str, start: str) -> None:
    path = write_report(whole_report(), tmp_path / name)
    assert path.read_text(encoding="utf-8").startswith(start)


def test_the_old_report_stays_where_writing_fails(tmp_path, monkeypatch) -> None:
    path = tmp_path / "r.md"
    path.write_text("old")
    trouble = Mock(side_effect=OSError(28, "No space left on device"))
    with monkeypatch.context() as broken, pytest.raises(InputError):
        broken.setattr("pathlib.Path.write_text", trouble)
        write_report(whole_report(), path, overwrite=True)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["r.md"]
