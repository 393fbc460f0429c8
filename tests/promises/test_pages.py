"""What the pages tell a reader to type: commands and programs run, or parse, and TOML is read."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer

import dataset_files as files
from export_spaces import needed
from fillgap.cli.app import app, run
from fillgap.datasets import load_digit_scenes
from fillgap.metrics.scan import scan_pool
from fillgap.metrics.verdict import give_verdict
from fillgap.papers.experiment.specification import EncoderModel, PictureData, read_experiment

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
#: Every command and every program of these is run.
RUN = [README, ROOT / "docs" / "start.md"]
N_FITTED, N_NEW = 90, 30


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in [*blocks(page, "console"), *blocks(page, "bash"), *blocks(page, "sh")]:
            for line in block.replace("\\\n", " ").splitlines():
                typed = line.removeprefix("$ ").partition(" #")[0].partition(" && ")[0]
                if typed.startswith("fillgap "):
                    found.append((page.name, typed))
    return found


def test_there_are_commands_on_most_pages() -> None:
    pages = {page for page, _ in commands()}
    assert {"README.md", "encoders.md", "experiments.md", "scale.md", "search.md"} <= pages


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_parses(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: there is no {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    if not hasattr(command, "commands"):
        command.make_context("fillgap", words)  # raises for an unknown option or a missing word


@pytest.fixture(scope="module")
def specifications() -> list[str]:
    return blocks(ROOT / "docs" / "experiments.md", "toml")


def test_experiments_are_read(specifications: list[str], tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(specifications[0], encoding="utf-8")
    first = read_experiment(path)
    assert [way.name for way in first.representations] == ["raw", "SPEC60", "balanced"]
    path.write_text(specifications[1], encoding="utf-8")
    second = read_experiment(path)
    assert second.data == (PictureData("COCO", "coco:/data/coco", {"split": "train2017"}),)
    assert second.encoders[1] == EncoderModel(
        "SigLIP", "siglip:google/siglip-so400m-patch14-384", {"batch_size": 16}
    )


def test_an_experiment_in_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(ROOT / "docs" / "experiments.md", "python")
    # Fewer rows: what is shown is how it is written.
    exec(code.replace('measures=("itr"', 'n_judged=200, n_separate=100, measures=("itr"'), {})
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert {row["representation"] for row in rows} == {"raw", "SPEC20"}
    assert all(row["value"] is not None for row in rows)


def test_a_new_layout_reads_pictures(tmp_path: Path) -> None:
    files.images(tmp_path)
    lines = [f"{i}.jpg|{texts[0]}" for i, texts in files.CAPTIONS.items()]
    (tmp_path / "captions.txt").write_text("\n".join([*lines, "gone.jpg|nothing"]) + "\n")
    code = next(b for b in blocks(ROOT / "docs" / "datasets.md", "python") if "open_bars" in b)
    names: dict[str, object] = {}
    exec(code, names)
    dataset = names["open_bars"](tmp_path)
    assert [record.captions for record in dataset] == [(t[0],) for t in files.CAPTIONS.values()]
    assert dataset.problems == ("gone.jpg: image missing",)


@pytest.mark.filterwarnings("ignore")
def test_the_page_on_integrations_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in ("onnx", "torch", "llama_index.core", "haystack"):
        needed(library)
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "integrations.md"
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(python|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    commands = 0
    for language, block in found:
        if language == "python":
            exec(compile(block, page.name, "exec"), names)
            continue
        words = block.removeprefix("$ fillgap ").split()
        if "--model" in words:  # tested with a model of its own in the tests of that export
            continue
        assert run(words) == 0, capsys.readouterr().err
        commands += 1
    assert commands == 2
    assert len(found) - commands > 9


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


@pytest.mark.parametrize("page", RUN, ids=str)
def test_commands_run(page: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = 0
    whole = "\n".join(blocks(page, "console")).replace("\\\n", " ")
    for command in re.findall(r"^\$ (.*)", whole, re.MULTILINE):
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


@pytest.mark.parametrize("page", RUN, ids=str)
@pytest.mark.usefixtures("folder")
def test_programs_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programs = blocks(page, "python")
    assert programs
    for program in programs:
        exec(compile(program, page.name, "exec"), {})
    assert "modality gap" in capsys.readouterr().out or page != README


def test_the_program_of_the_readme_has_twelve_lines() -> None:
    (program,) = blocks(README, "python")
    assert len(program.splitlines()) <= 12


def test_the_verdict_shown_is_that_of_the_bundled_scenes() -> None:
    verdict = give_verdict(scan_pool(load_digit_scenes(), n_neighbors=10), ()).text
    assert verdict in " ".join(README.read_text(encoding="utf-8").split())


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
    named = set(re.findall(r"fillgap\[(\w+)\]", README.read_text(encoding="utf-8")))
    assert named == set(project["optional-dependencies"])


def test_files_that_the_readme_links_exist() -> None:
    text = README.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"`(docs/[\w./]+)`", text)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
