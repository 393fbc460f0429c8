"""The page of an index in a real browser: typed into, clicked, and given pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser_session import Session, session
from fillgap.datasets import load_digit_scenes
from fillgap.search import create_index, fit_space
from fillgap.serve import create_app
from remote_servers import running
from worlds import make_gapped

HOSTILE = "<img src=x onerror=\"document.body.dataset.hacked='yes'\">'; DROP TABLE x; --"
#: What the page shows of one ranking.
LIST = """[...document.querySelectorAll("#list-%s .hit")].map(hit => ({
  words: hit.querySelector(".words").textContent, kind: hit.className,
  picture: hit.querySelector("img")?.naturalWidth || 0,
  box: [hit.getBoundingClientRect().left, hit.getBoundingClientRect().top] }))"""
#: What sticks out of the window, but for what scrolls in a box of its own.
WIDE = """[...document.querySelectorAll("body *")].filter(element =>
  !element.closest("svg, .examples, .hidden") && element.getBoundingClientRect().width
  && (element.getBoundingClientRect().right > innerWidth + 1
      || element.getBoundingClientRect().left < -1)).map(element => element.outerHTML)"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Session]:
    with session() as started:
        yield started


@pytest.fixture(params=[1280, 400])
def page(request: pytest.FixtureRequest, chromium: Session, address: str) -> Iterator[Session]:
    """The page, just opened; whatever was done, nothing stuck out and the console was silent."""
    chromium.complaints.clear()
    chromium.open(address, width=request.param)
    yield chromium
    fits(chromium, request.param)


def fits(chromium: Session, width: int) -> None:
    assert chromium.ask("innerWidth") == width
    assert chromium.ask("document.scrollingElement.scrollWidth") == width
    assert chromium.ask(WIDE) == []
    assert chromium.complaints == []


def search(page: Session, text: str) -> None:
    page.click("#text")
    page.ask("document.getElementById('text').select()")
    page.type(text)
    shown(page, f"“{text}”")


def shown(page: Session, what: str) -> None:
    """Wait until both rankings of what is asked are there."""
    page.wait(f"document.getElementById('what').textContent === {what!r}")
    page.wait("document.querySelectorAll('.hit').length === 20")
    page.wait("!document.getElementById('results').hidden")


def rankings(page: Session) -> tuple[Any, Any]:
    return page.ask(LIST % "raw"), page.ask(LIST % "chosen")


def kinds(ranking: Any) -> set[str]:
    return {hit["kind"].split()[-1] for hit in ranking}


def choose_stage(page: Session, stage: str) -> None:
    page.click(f"#stages label:has([value={stage}])")
    titles = {"raw": "Raw cosine", "aligned": "Aligned cosine"}
    title = titles.get(stage, "Aligned and calibrated")
    page.wait(f"document.getElementById('chosen-title').textContent === {title!r}")


def test_a_typed_text_shows_two_rankings_side_by_side(page: Session) -> None:
    search(page, "a large three at the top")
    raw, chosen = rankings(page)
    assert kinds(raw) == {"text"}
    assert kinds(chosen) == {"image", "text"}
    assert all("three" in hit["words"] or "3" in hit["words"] for hit in raw[:5])
    assert all(hit["picture"] > 0 for hit in raw + chosen)
    beside = raw[0]["box"][0] < chosen[0]["box"][0] and raw[0]["box"][1] == chosen[0]["box"][1]
    below = raw[0]["box"][0] == chosen[0]["box"][0] and raw[9]["box"][1] < chosen[0]["box"][1]
    assert (beside, below) == ((True, False) if page.ask("innerWidth") > 800 else (False, True))


def test_switching_the_stage_changes_the_ranking(page: Session) -> None:
    search(page, "two eights on the left")
    found = {}
    for stage in ("raw", "aligned", "calibrated"):
        choose_stage(page, stage)
        page.wait("document.querySelectorAll('.hit').length === 20")
        raw, chosen = rankings(page)
        found[stage] = [hit["words"] for hit in chosen]
        assert (found[stage] == [hit["words"] for hit in raw]) == (stage == "raw")
    assert found["aligned"] != found["calibrated"]
    page.click("#kinds label:has([value=image])")
    page.wait("[...document.querySelectorAll('#list-raw .hit')].every(e => e.matches('.image'))")
    assert kinds(rankings(page)[1]) == {"image"}


def test_a_picture_that_is_given_finds_itself(page: Session, tmp_path: Path) -> None:
    pixels = load_digit_scenes().thumbnails
    for give, name in ((page.choose_file, "#file"), (page.drop, "#drop")):
        Image.fromarray(pixels[7]).save(tmp_path / f"seven{name}.png")
        give(name, tmp_path / f"seven{name}.png")
        shown(page, f"seven{name}.png")
        _, chosen = rankings(page)
        assert chosen[0]["words"] == "scene 7"
        assert kinds(chosen) == {"image", "text"}
        assert page.ask("document.getElementById('preview').naturalWidth") == pixels.shape[2]
    (tmp_path / "notes.txt").write_text("nothing")
    page.drop("#drop", tmp_path / "notes.txt")
    page.wait("!document.getElementById('message').hidden")
    assert "must be a picture" in page.ask("document.getElementById('message').textContent")
    assert page.ask("document.getElementById('results').hidden")
    page.complaints.clear()  # the browser itself notes that the server refused


def test_the_map_shows_both_modalities_and_the_query(page: Session) -> None:
    count = "document.querySelectorAll('#map .%s').length"
    assert [page.ask(count % kind) for kind in ("point.image", "point.text")] == [500, 500]
    assert page.ask(count % "asking") == 0
    search(page, "a small five")
    assert [page.ask(count % kind) for kind in ("asking", "found")] == [1, 10]
    gap = """(() => { const middle = kind => { const all = [...document.querySelectorAll(
      `#map .point.${kind}`)].map(e => e.style.transform.match(/-?[\\d.]+/)[0]);
      return all.reduce((sum, x) => sum + Number(x), 0) / all.length; };
      return Math.abs(middle("image") - middle("text")); })()"""
    aligned = page.ask(gap)
    choose_stage(page, "raw")
    assert page.ask(gap) > 5 * aligned


def test_examples_and_hits_are_asked_by_a_click(page: Session) -> None:
    page.click("#examples .chip.picture")
    page.wait("document.getElementById('what').textContent.startsWith('Like scene')")
    page.wait("document.querySelectorAll('.hit').length === 20")
    page.click("#list-raw .hit button")
    page.wait("document.querySelectorAll('.hit').length === 20")
    page.click("#clear")
    page.wait("document.getElementById('results').hidden")


@pytest.mark.parametrize("width", [1280, 400])
def test_what_an_index_holds_is_never_markup(chromium: Session, tmp_path: Path, width: int) -> None:
    X, Y = (side.astype(np.float32) for side in make_gapped(60, 16, seed=1))
    with create_index(tmp_path / "index", fit_space(X, Y), name=HOSTILE, notes=[HOSTILE]) as index:
        index.add_images([f"{HOSTILE}{i}" for i in range(60)], X, [{"name": HOSTILE}] * 60)
        thumbnail = {"caption": HOSTILE * 3, "thumbnail": "javascript:alert(1)"}
        index.add_texts([f"t{i}" for i in range(60)], Y, [thumbnail] * 60)
        with running(create_app(index)) as started:
            chromium.complaints.clear()
            chromium.open(started, width=width)
            assert chromium.ask("document.getElementById('name').textContent") == HOSTILE
            chromium.click("#examples .chip")  # without an encoder, documents are what is asked
            chromium.wait("document.querySelectorAll('.hit').length === 20")
            assert HOSTILE in chromium.ask("document.body.innerText")
            assert chromium.ask("document.body.dataset.hacked || 'no'") == "no"
            fits(chromium, width)
