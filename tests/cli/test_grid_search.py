"""fillgap grid-search: from words to a search, its table and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import make_gapped
from fillgap.aligners import GaussianTransport, load_aligner
from fillgap.cli.app import run
from fillgap.evaluation import grid_search
from fillgap.pair import EmbeddingPair

SEARCH = ["grid-search", "gaussian-transport", "images.npy", "texts.npy", "--splits", "2"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, side in zip(("images", "texts"), make_gapped(80, 10, seed=0), strict=True):
        np.save(tmp_path / f"{name}.npy", side)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_says_what_the_function_finds(folder: Path, capsys) -> None:
    words = ["--grid", "ridge=0.1,5", "--grid", "normalize=true,False", "--seed", "3", "--json"]
    assert run([*SEARCH, *words]) == 0
    found = json.loads(capsys.readouterr().out)
    pair = EmbeddingPair(np.load("images.npy"), np.load("texts.npy"))
    grid = {"ridge": [0.1, 5], "normalize": [True, False]}
    expected = grid_search(pair, "gaussian-transport", grid, n_splits=2, random_state=3)
    assert found["best"] == expected.best.parameters
    assert [point["values"] for point in found["points"]] == [
        pytest.approx(point.values) for point in expected.points
    ]


def test_the_command_that_it_prints_fits_the_best(folder: Path, capsys) -> None:
    words = ["--grid", "ridge=0.1", "--grid", "ridge=5", "--set", "normalize=False"]
    assert run([*SEARCH, *words, "--measure", "recall_at_1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("gaussian-transport: recall_at_1 of held-out queries, best first.")
    command = out.splitlines()[-1].partition("To fit the best one: fillgap ")[2]
    assert run([*command.replace("ALIGNER", "best.safetensors").split()]) == 0
    fitted = load_aligner(folder / "best.safetensors")
    assert isinstance(fitted, GaussianTransport)
    assert not fitted.normalize
    assert f" {fitted.ridge:g} " in out.splitlines()[4]


def test_what_cannot_be_fitted_is_said(folder: Path, capsys) -> None:
    words = ["grid-search", "laplace-transport", *SEARCH[2:], "--set", "max_iter=1"]
    assert run([*words, "--grid", "n_neighbors=500,3"]) == 0
    out = capsys.readouterr().out
    assert "n_neighbors=500: cannot be fitted: n_neighbors must be less than" in out
    assert "n_neighbors=3: LaplaceTransport stopped after 1 iterations" in out
    assert "n/a" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing option '--grid'"),
        (["--grid", "ridge"], "--grid must be NAME=VALUE, got 'ridge'"),
        (["--grid", "ridge="], "a sequence of values for ridge, got []"),
        (["--grid", "rigde=1"], "a parameter of gaussian-transport must be one of"),
        (["--grid", "ridge=-1"], "got none: ridge must be at least 0, got -1"),
        (["--grid", "ridge=soft"], "ridge must be a number, got 'soft'"),
        (["--grid", "ridge=1", "--measure", "joy"], "measure must be one of"),
    ],
)
def test_one_sentence_for_bad_input(folder: Path, capsys, words: list[str], message: str) -> None:
    assert run([*SEARCH, *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fillgap: ")
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
