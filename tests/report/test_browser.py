"""Reports in a real browser: a wide window and a telephone, light and dark."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import browser
from fillgap.report import render_html
from fillgap.report.html import IMAGES, TEXTS
from report_pairs import REPORTS, page_of, whole_report

CSS = Path(render_html.__code__.co_filename).with_name("templates") / "report.css"

QUESTION = """
document.querySelectorAll("details").forEach(element => { element.open = true; });
const box = element => element.getBoundingClientRect();
const beyond = element => box(element).right > innerWidth + 1 || box(element).left < -1;
const free = element => !element.closest(".scroll, pre, svg, .hidden");
const all = [...document.querySelectorAll("body *")];
const letters = [...document.querySelectorAll("svg text")].map(element => box(element));
return {
  inner: innerWidth,
  scroll: document.scrollingElement.scrollWidth,
  wide: all.filter(element => free(element) && beyond(element)).map(element => element.outerHTML),
  text: document.body.innerText,
  headings: [...document.querySelectorAll("h1, h2")].filter(e => box(e).height > 0).length,
  broken: [...document.images].filter(image => !image.complete || !image.naturalWidth).length,
  smallest: Math.min(...letters.map(letter => Math.min(letter.width, letter.height))),
  tallest: Math.max(...letters.map(letter => Math.min(letter.width, letter.height))),
  columns: getComputedStyle(document.querySelector(".panels")).gridTemplateColumns.split(" "),
  cut: [...document.querySelectorAll("svg")].filter(svg => [...svg.querySelectorAll("text")].some(
    text => box(text).right > box(svg).right + 1 || box(text).left < box(svg).left - 1)).length,
  ground: getComputedStyle(document.body).backgroundColor,
};
"""


@cache
def answers(name: str, width: int, *, dark: bool = False) -> dict[str, Any]:
    return browser.ask(page_of(name), QUESTION, width=width, dark=dark)


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", REPORTS)
def test_nothing_is_wider_than_the_window(name: str, width: int) -> None:
    found = answers(name, width)
    assert found["inner"] == width
    assert found["wide"] == []
    assert found["scroll"] <= width


@pytest.mark.parametrize("width", [1280, 400])
def test_everything_can_be_read(width: int) -> None:
    found, report = answers("whole", width), whole_report()
    text = re.sub(r"\s+", " ", found["text"])
    sentences = report.measured.verdict.text, report.comparison.recommendation.sentence
    for words in (*sentences, report.usage.commands[0], "mixed recall@10 ↑"):
        assert words in text
    assert (found["headings"], found["broken"], found["cut"]) == (10, 0, 0)
    assert len(found["columns"]) == (2 if width == 1280 else 1)
    # Letters of figures, which scale with the panel: about 9 to 18 pixels high.
    assert 4 < found["smallest"]
    assert 8 < found["tallest"] < 24


@pytest.mark.parametrize("name", REPORTS)
def test_the_console_stays_silent(name: str) -> None:
    assert browser.complaints(page_of(name), width=1280) == []


def test_the_page_follows_the_reader_into_the_dark() -> None:
    grounds = [answers("whole", 400, dark=dark)["ground"] for dark in (False, True)]
    light, dark = (sum(map(int, re.findall(r"\d+", ground))) for ground in grounds)
    assert light > 3 * 200
    assert dark < 3 * 50


def test_the_picture_shows_both_modalities(tmp_path: Path) -> None:
    path = browser.screenshot(page_of("whole"), tmp_path / "page.png", width=1280, height=1000)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for colour in (IMAGES, TEXTS):
        assert np.all(pixels == list(bytes.fromhex(colour[1:])), axis=1).sum() > 1000


def luminance(colour: str) -> float:
    channels = np.array(list(bytes.fromhex(colour[1:]))) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: str, b: str) -> float:
    """Return the contrast ratio of WCAG 2."""
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_stand_out(scheme: int) -> None:
    block = re.findall(r":root \{([^}]*)\}", CSS.read_text())[scheme]
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block))
    for name in ("ink", "muted", "good", "bad", "warn", "accent"):
        for ground in ("paper", "soft"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for colour in (IMAGES, TEXTS):
        assert contrast(colour, colours["paper"]) >= 3
