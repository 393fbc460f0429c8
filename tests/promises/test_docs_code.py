"""What the pages tell a reader to type: commands parse, TOML is read, Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer

import dataset_files as files
from fillgap.cli.app import app
from fillgap.papers.experiment.specification import EncoderModel, PictureData, read_experiment

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    files.images(tmp_path, "p{}.jpg")
    lines = [f"p{i}.jpg|{texts[0]}" for i, texts in files.CAPTIONS.items()]
    (tmp_path / "captions.txt").write_text("\n".join([*lines, "gone.jpg|nothing"]) + "\n")
    code = next(b for b in blocks(ROOT / "docs" / "datasets.md", "python") if "open_bars" in b)
    names: dict[str, object] = {}
    exec(code, names)
    dataset = names["open_bars"](tmp_path)
    assert [record.captions for record in dataset] == [(t[0],) for t in files.CAPTIONS.values()]
    assert dataset.problems == ("gone.jpg: image missing",)
