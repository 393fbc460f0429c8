"""The documentation: complete, up to date, without dead links, and without the network."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urldefrag, urlparse

import pytest
import typer

from fillgap.aligners import METHODS
from fillgap.cli.app import app
from fillgap.datasets import load_digit_scenes
from fillgap.metrics import MEASURES, pair_cosine_distance
from fillgap.metrics.scan import scan_pool
from fillgap.metrics.verdict import give_verdict

ROOT = Path(__file__).resolve().parents[2]
#: What a browser fetches by itself when it shows a page.
FETCHED = {
    "script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src",
    "video": "src", "audio": "src", "object": "data", "embed": "src",
}  # fmt: skip


class Page(HTMLParser):
    """Anchors, links, fetched resources and text of one built page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.update(found[name] or "" for name in ("id", "name") if name in found)
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        name = FETCHED.get(tag)
        if name and found.get(name) and found.get("rel") != "canonical":
            self.fetched.append(found[name] or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as `make docs` builds it, where a warning is an error."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """The module that makes the tables."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module("docs_tables")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def test_every_public_name_is_described(pages: dict[Path, Page], tables: ModuleType) -> None:
    anchors = {name for page in pages.values() for name in page.ids}
    packages = tables.packages()
    assert {"fillgap", "fillgap.aligners", "fillgap.metrics", "fillgap.papers.theory"} <= set(
        packages
    )
    for package in packages[1:]:
        missing = {f"{package}.{n}" for n in importlib.import_module(package).__all__} - anchors
        assert not missing
    listed = next(page for path, page in pages.items() if path.name == "fillgap.html")
    for name in importlib.import_module("fillgap").__all__:
        assert name.startswith("__") or name in listed.words


def test_every_command_and_option_is_described(site: Path, tables: ModuleType) -> None:
    text = Page(site / "reference" / "commands.html").text
    group = typer.main.get_command(app)
    described = dict(tables.leaves(group, "fillgap"))
    assert {name.split()[1] for name in described} == set(group.commands)
    for name, command in described.items():
        about = " ".join((command.help or "").split())
        assert about, name
        section = text.partition(about)[2].partition(f"{name} ")[2]
        for parameter in command.params:
            named = parameter.metavar or parameter.name
            shown = parameter.opts if parameter.param_type_name == "option" else [named]
            for word in [*shown, " ".join((parameter.help or "?").split())]:
                assert word in section, (name, word)


def test_every_method_and_measure_has_its_mathematics(site: Path, tables: ModuleType) -> None:
    aligners, measures = Page(site / "aligners.html"), Page(site / "measures.html")
    for name, cls in METHODS.items():
        assert name in aligners.ids
        assert name in tables.SOURCES
        section = aligners.text.partition(f"{cls.__name__} .")[2]
        assert section, f"{cls.__name__} does not begin a section of aligners.md"
    source = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
    terms = {
        name for line in re.findall("^`.*", source, re.M) for name in re.findall(r"`(\w+)`", line)
    }
    assert set(MEASURES) <= terms
    assert set(MEASURES) <= set(measures.words)


def test_evidence_covers_every_method_and_the_readme_shows_it(tables: ModuleType) -> None:
    for name in ("coco", "scenes"):
        found = tables.load_evidence(name)
        assert set(found["results"]) | set(found["failures"]) == {"raw", *METHODS}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert tables.methods_with_figures() in readme, "run scripts/docs_evidence.py --readme"


def test_the_first_page_tells_of_the_bundled_scenes(tables: ModuleType, site: Path) -> None:
    told = tables.load_evidence("scenes")["first_page"]
    raw = load_digit_scenes()
    assert told["verdict"] == give_verdict(scan_pool(raw, n_neighbors=10), ()).text
    assert told["pairs"] == f"{1 - pair_cosine_distance(raw):.2f}".lstrip("0")
    text = Page(site / "index.html").text
    for word in told.values():
        assert word in text


def test_no_dead_links(site: Path, pages: dict[Path, Page]) -> None:
    ids = {path: page.ids for path, page in pages.items()}
    checked = 0
    for path, page in pages.items():
        if path.name == "404.html":  # written for a server's root
            continue
        for link in [*page.links, *page.fetched]:
            if urlparse(link).scheme:
                continue
            target, anchor = urldefrag(link)
            file = (path.parent / unquote(target)).resolve() if target else path
            file = file / "index.html" if file.is_dir() else file
            assert file.is_file(), (path, link)
            checked += 1
            if anchor and file in ids and not anchor.startswith("__"):
                assert unquote(anchor) in ids[file], (path, link)
    assert checked > 100


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for resource in page.fetched:
            assert not urlparse(resource).netloc, (path, resource)
        # The theme's own script loads these from elsewhere, where a page has them.
        html = path.read_text(encoding="utf-8")
        assert 'class="mermaid"' not in html
        assert 'data-md-component="source"' not in html
    for path in site.rglob("*.css"):
        style = path.read_text(encoding="utf-8")
        assert not re.search(r"(url\(\s*[\"']?|@import\s+[\"'])\s*(https?:)?//", style), path
    for path in site.rglob("*.svg"):
        drawing = path.read_text(encoding="utf-8")
        assert not re.search(r"(href|src)=[\"'](https?:)?//", drawing), path


def test_figures_are_those_of_the_script(tmp_path: Path) -> None:
    committed = ROOT / "docs" / "assets" / "figures"
    script = ROOT / "scripts" / "docs_figures.py"
    subprocess.run([sys.executable, script, "--out", tmp_path], check=True, capture_output=True)
    drawn = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    shown = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert set(drawn) == {path.name for path in committed.iterdir()}
    for name, size in drawn.items():
        assert f"assets/figures/{name}" in shown
        assert abs(size / (committed / name).stat().st_size - 1) < 0.1
