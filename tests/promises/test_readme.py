"""Every command and every program in the README and the quick start is run."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest

from fillgap.cli.app import run
from fillgap.datasets import load_digit_scenes
from fillgap.metrics.scan import scan_pool
from fillgap.metrics.verdict import give_verdict

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/start.md")
N_FITTED, N_NEW = 90, 30


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of one language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Return what stands behind a prompt in the code blocks."""
    whole = [block.replace("\\\n", " ") for block in blocks(page, "console")]
    lines = [line for block in whole for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages name: some of the bundled scenes."""
    monkeypatch.chdir(tmp_path)
    pair = load_digit_scenes()
    assert pair.image_index is not None
    n_texts = 2 * N_FITTED
    arrays = {
        "images": pair.images[:N_FITTED],
        "texts": pair.texts[:n_texts:2],
        "captions": pair.texts[:n_texts],
        "image_of_caption": np.asarray(pair.image_index)[:n_texts],
        "new_images": pair.images[N_FITTED : N_FITTED + N_NEW],
        "new_texts": pair.texts[n_texts : n_texts + 2 * N_NEW : 2],
        "query": pair.texts[n_texts : n_texts + 1],
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_commands_run(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = 0
    for command in commands(page):
        words = shlex.split(command)
        if words[0] != "fillgap":
            check_installation(words)
            continue
        if words[1] == "demo":  # tested as a command of its own
            continue
        code = run(words[1:])
        out, err = capsys.readouterr()
        assert code == 0, f"{command}: {err}"
        assert out, command
        if "-o" in words:
            assert (folder / words[words.index("-o") + 1]).exists(), command
        ran += 1
    assert ran > 5


def check_installation(words: list[str]) -> None:
    """Check the names in a command that is not run: targets of make, and extras."""
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words
    else:
        assert words[:2] == ["pip", "install"], words


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("folder")
def test_programs_run(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    programs = blocks(page, "python")
    assert programs
    for program in programs:
        exec(compile(program, page, "exec"), {})
    assert "modality gap" in capsys.readouterr().out or page != "README.md"


def test_the_program_of_the_readme_has_twelve_lines() -> None:
    (program,) = blocks("README.md", "python")
    assert len(program.splitlines()) <= 12


def test_the_verdict_shown_is_that_of_the_bundled_scenes() -> None:
    verdict = give_verdict(scan_pool(load_digit_scenes(), n_neighbors=10), ()).text
    assert verdict in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_the_messages_shown_are_those_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(40, 768))
    broken = rows[:, :512].copy()
    broken[17, 3] = np.nan
    for name, array in (("images", rows[:, :512]), ("wide", rows), ("broken", broken)):
        np.save(f"{name}.npy", array)
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    for command in (
        "measure images.npy texts.npy",
        "measure images.npy wide.npy",
        "fit balanced broken.npy images.npy -o aligner.safetensors",
    ):
        assert run(command.split()) == 2
        assert capsys.readouterr().err in page, command


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r"fillgap\[(\w+)\]", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named == set(project["optional-dependencies"])


def test_files_that_the_readme_links_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"`(docs/[\w./]+)`", text)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
