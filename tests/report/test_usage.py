"""The lines at the end of a report do what they say."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from conftest import make_gapped
from fillgap.aligners import make_aligner, save_aligner
from fillgap.cli.app import run
from fillgap.io import load_rows
from fillgap.report.build import explain
from fillgap.report.data import Usage

X, Y = (side.astype(np.float32) for side in make_gapped(60, 12, seed=0))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_commands(usage: Usage) -> list[np.ndarray]:
    """Run the commands, and return what the last two of them wrote."""
    outs = []
    for line in usage.commands:
        program, *words = shlex.split(line)
        assert program == "fillgap"
        assert run(words) == 0, line
        outs.append(words[words.index("-o") + 1])
    modalities = ("image", "text")
    return [load_rows(out, modality=what) for out, what in zip(outs[-2:], modalities, strict=True)]


def run_python(usage: Usage) -> list[np.ndarray]:
    names: dict[str, np.ndarray] = {}
    exec("\n".join(usage.python), names)
    return [names["images"], names["texts"]]


@pytest.mark.parametrize(
    ("method", "parameters"),
    [("balanced", {"power": 0.25}), ("orthogonal-procrustes", {}), ("mean-centering", {})],
)
def test_the_lines_fit_and_apply(folder: Path, method: str, parameters: dict) -> None:
    np.save("my images.npy", X)
    np.save("texts.npy", Y)
    needs_pairs = method == "orthogonal-procrustes"
    usage = explain(
        method, parameters, needs_pairs=needs_pairs, sources=("my images.npy", "texts.npy")
    )
    expected = make_aligner(method, **parameters).fit(X, Y).transform_pair(X, Y)
    for found in (run_commands(usage), run_python_anew(usage)):
        for side, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(side, wanted, atol=1e-6)


def run_python_anew(usage: Usage) -> list[np.ndarray]:
    Path("aligner.safetensors").unlink()  # Python writes the same file
    return run_python(usage)


def test_pairs_are_named_where_a_fit_needs_them(folder: Path) -> None:
    np.save("images.npy", X)
    np.save("texts.npy", np.repeat(Y, 2, axis=0))
    np.save("index.npy", np.repeat(np.arange(60), 2))
    files = {"sources": ("images.npy", "texts.npy"), "image_index": "index.npy"}
    usage = explain("ridge-regression", {}, needs_pairs=True, **files)
    assert "--image-index index.npy" in usage.commands[0]
    first, second = run_commands(usage), run_python_anew(usage)
    for side, other in zip(first, second, strict=True):
        np.testing.assert_allclose(side, other, atol=1e-6)
    assert "index" not in " ".join(explain("balanced", {}, needs_pairs=False, **files).commands)


def test_both_sides_of_one_file_end_up_in_one_file(folder: Path) -> None:
    np.savez("clip.npz", images=X, texts=Y)
    usage = explain(
        "balanced", {}, needs_pairs=False, sources=("clip.npz:images", "clip.npz:texts")
    )
    run_commands(usage)
    with np.load("clip_aligned.npz") as file:
        expected = make_aligner("balanced").fit(X, Y).transform_pair(X, Y)
        np.testing.assert_allclose(file["images"], expected[0], atol=1e-6)
        np.testing.assert_allclose(file["texts"], expected[1], atol=1e-6)


@pytest.mark.parametrize("pattern", [False, True])
def test_folders_of_shards_become_folders(folder: Path, pattern: bool) -> None:
    for name, rows in (("images", X), ("texts", Y)):
        Path(name).mkdir()
        for part in range(3):
            np.save(f"{name}/part_{part}.npy", rows[20 * part : 20 * part + 20])
    end = "/part_*.npy" if pattern else ""
    usage = explain(
        "mean-centering", {}, needs_pairs=False, sources=(f"images{end}", f"texts{end}")
    )
    images, texts = run_commands(usage)
    assert images.shape == texts.shape == (60, 12)


def test_an_aligner_that_has_a_file_is_loaded(folder: Path) -> None:
    np.save("images.npy", X)
    np.save("texts.npy", Y)
    save_aligner(make_aligner("balanced").fit(X, Y), "mine.safetensors")
    usage = explain(
        "balanced", {}, needs_pairs=False, sources=("images.npy", "texts.npy"),
        aligner_file="mine.safetensors",
    )  # fmt: skip
    assert len(usage.commands) == 2
    before = sorted(folder.iterdir())
    run_python(usage)
    assert sorted(folder.iterdir()) == before
    run_commands(usage)
    assert not any("make_aligner" in line for line in usage.python)


def test_without_files_there_are_names_to_fill_in() -> None:
    usage = explain("balanced", {}, needs_pairs=False)
    assert usage.commands[0] == ("fillgap fit balanced IMAGES.npy TEXTS.npy -o aligner.safetensors")
