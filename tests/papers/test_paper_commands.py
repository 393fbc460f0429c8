"""The commands sweep-gap, reproduce and experiment: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fillgap.cli.app import run
from fillgap.datasets import scenes
from fillgap.datasets.scenes import ClassPrompts
from fillgap.pair import EmbeddingPair
from fillgap.papers.decipher import reproduce_decipher
from fillgap.papers.fill_the_gap import TABLES
from fillgap.papers.gap_sweep import AMOUNTS, sweep_gap
from worlds import make_gapped

D = 8


def units(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def planes(n: int = 60) -> EmbeddingPair:
    """Pairs in two hyperplanes: a text is its image turned from the one plane into the other."""
    X = np.random.default_rng(0).normal(size=(n, D)) + np.eye(D)[0]
    X[:, -1] = 0
    X[:, -2] = np.abs(X[:, -2]) + 1
    turn = np.eye(D)
    turn[-2:, -2:] = [[np.cos(0.7), np.sin(0.7)], [-np.sin(0.7), np.cos(0.7)]]
    labels = np.argmax(X[:, 1:5], axis=1)
    return EmbeddingPair(units(X), units(X @ turn), labels=labels, name="planes")


def prompts() -> ClassPrompts:
    rows = np.eye(D)[1:5].repeat(2, axis=0) + 0.1 * np.eye(D)[0]
    return ClassPrompts(rows.astype(np.float32), np.arange(4).repeat(2), ["p"] * 8, ["c"] * 4)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, and short scenes instead of the bundled ones."""
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", planes().images)
    np.save("texts.npy", planes().texts)
    np.save("labels.npy", planes().labels)
    np.save("class_texts.npy", prompts().texts)
    np.save("prompt_labels.npy", prompts().labels)
    monkeypatch.setattr(scenes, "load_digit_scenes", planes)
    monkeypatch.setattr(scenes, "load_class_prompts", prompts)
    return tmp_path


CLASSES = "--labels labels.npy --prompts class_texts.npy --prompt-labels prompt_labels.npy"
DECIPHER = "reproduce decipher images.npy texts.npy --energy 1"
SWEEP = "sweep-gap images.npy texts.npy --splits 1"
ALL = f"{SWEEP} {CLASSES}"


class TestDecipher:
    def test_tables_stand_beside_the_chosen_column(self, capsys) -> None:
        assert run(f"{DECIPHER} {CLASSES} --model B/32 --dataset CIFAR100".split()) == 0
        out = capsys.readouterr().out
        assert "In-sample, as in the paper" in out
        assert "Printed cells are of CLIP ViT-B/32 on CIFAR100 and CLIP ViT-L/14 on MSCOCO" in out
        assert "SSP keeps 6 of 8 dimensions, removal drops as many as it does (2)" in out
        lines = [line.split() for line in out.splitlines()]
        assert ["printed", "65.23", "54.46", "6.44", "64.51"] in lines
        assert ["printed", "56.06", "54.14", "49.56", "55.54"] in lines
        assert ["raw", "translation", "removal", "SSP", "rotation", "balanced"] in lines
        assert "bundled" not in out

    def test_json_is_what_the_library_says(self, capsys) -> None:
        assert run(f"{DECIPHER} {CLASSES} --json --held-out --seed 2".split()) == 0
        found = json.loads(capsys.readouterr().out)
        expected = reproduce_decipher(
            planes(), prompts=prompts(), energy=1.0, held_out=True, random_state=2
        ).to_dict("L/14", "ImageNet")
        assert found["retrieval"] == expected["retrieval"]
        assert found["zero_shot"] == expected["zero_shot"]
        assert found["bundled"] is False

    def test_held_out_and_bundled_scenes_are_said(self, capsys) -> None:
        assert run(f"{DECIPHER} --held-out".split()) == 0
        out = capsys.readouterr().out
        assert "Held out: fitted to one part of the images and judged on the other" in out
        assert "mean of 5 splits" in out
        assert "Zero-shot" not in out
        assert run(["reproduce", "decipher"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("No embeddings were named: these are the bundled scenes")
        assert "Printed cells are of other data (CLIP ViT-L/14 on ImageNet and CLIP" in out

    def test_failures_are_listed_with_their_reason(self, capsys) -> None:
        words = "reproduce decipher images.npy class_texts.npy --unpaired --tolerance 0"
        assert run(f"{words} {CLASSES}".split()) == 0
        out = capsys.readouterr().out
        assert "shared-space-projection cannot run on these data: the subspaces" in out
        assert "translation cannot run on these data: it is matched to" in out
        assert "Retrieval" not in out


class TestSweep:
    def test_text_and_figure(self, folder: Path, capsys) -> None:
        assert run(f"{ALL} -o figure.svg".split()) == 0
        out = capsys.readouterr().out
        assert out.startswith("The raw gap is Δθ = ")
        assert "in each of 1 splits the gap of 30 images, measured on 30 others" in out
        assert "zero-shot" in out
        assert "bundled" not in out
        starts = [line.split()[0] for line in out.splitlines() if line.strip()]
        assert {f"{amount:g}" for amount in AMOUNTS} <= set(starts)
        assert out.endswith("Figure: figure.svg\n")
        assert (folder / "figure.svg").read_text(encoding="utf-8").startswith("<?xml")

    def test_json_is_what_the_library_says(self, capsys) -> None:
        assert run(f"{ALL} --json --seed 3".split()) == 0
        found = json.loads(capsys.readouterr().out)
        expected = sweep_gap(planes(), prompts=prompts(), n_splits=1, random_state=3)
        assert found["points"] == expected.to_dict()["points"]
        assert found["bundled"] is False

    def test_bundled_scenes_are_said(self, capsys) -> None:
        assert run(["sweep-gap", "--splits", "1"]) == 0
        out = capsys.readouterr().out
        assert "these are the bundled scenes of handwritten digits" in out
        assert "zero-shot" in out

    def test_labels_from_a_table(self, capsys) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        labels = np.load("labels.npy").tolist()
        pq.write_table(pa.table({"Digit": labels, "label": labels}), "t.parquet")
        outs = []
        for word in ("labels.npy", "t.parquet", "t.parquet:Digit"):
            assert run(f"{ALL} --json".replace("labels.npy", word, 1).split()) == 0
            outs.append(capsys.readouterr().out)
        assert outs[0] == outs[1] == outs[2]
        assert run(ALL.replace("labels.npy", "t.parquet:kind", 1).split()) == 2
        assert "t.parquet must hold the column 'kind'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("reproduce decipher --labels labels.npy", "--labels must be given with IMAGES"),
        ("reproduce decipher --unpaired", "--unpaired must be given with IMAGES"),
        (f"{DECIPHER} --prompts class_texts.npy", "must be given together, got only --prompts"),
        (f"{DECIPHER} --unpaired", "must be paired, or come with labels and class prompts"),
        (f"{DECIPHER} --model H/14", "--model"),
        (f"{DECIPHER} --dataset MNIST", "--dataset"),
        (f"{DECIPHER} --tolerance 2", "tolerance must be at least 0 and less than 1, got 2"),
        (f"{DECIPHER} --image-index texts.npy", "texts.npy must be a 1-D list of row numbers"),
        ("reproduce decifer", "decifer"),
        ("sweep-gap --prompts class_texts.npy", "--prompts must be given with IMAGES"),
        ("sweep-gap --image-index labels.npy", "--image-index must be given with IMAGES"),
        (f"{SWEEP} --labels labels.npy", "must be given together, got only --labels"),
        (f"{SWEEP} -o figure.png", "must be a file that ends in .svg, got figure.png"),
        (f"{SWEEP} -o no/figure.svg", "must be in a folder that exists"),
        (ALL.replace("labels labels", "labels missing"), "must be a file or folder"),
        (ALL.replace("s labels.npy", "s images.npy", 1), "must be a 1-D list of integers"),
        (ALL.replace("class_texts", "labels"), "labels.npy must be"),
        (ALL.replace("prompt_labels", "labels"), "for each of the 8 prompts"),
        ("sweep-gap images.npy", "texts"),
        (f"{SWEEP} --splits 0", "--splits"),
    ],
)
def test_bad_words_are_one_line(capsys, words: str, sentence: str) -> None:
    assert run(words.split()) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_fill_the_gap(folder: Path, capsys) -> None:
    X, Y = make_gapped(99, 40, seed=0)
    (folder / "sets").mkdir()
    np.savez(folder / "sets" / "made.npz", images=X, texts=Y)
    words = ["reproduce", "fill-the-gap", "--data", "sets", "--workers", "1", "--cache", "cache"]
    before = set(folder.iterdir())
    assert run([*words, *["--csv", "t.csv", "--html", "t.html", "--results", "t.parquet"]]) == 0
    out = capsys.readouterr().out
    for table in TABLES:
        assert f"Table {table}: " in out
    assert "made: 33 pairs judged, 66 others to learn from" in out
    assert "n/a, SPEC60: k = 60 must be less than min(n, m, d) = 33" in out
    made = {path.name for path in set(folder.iterdir()) - before}
    assert made == {"cache", "t.csv", "t.html", "t.parquet"}
    assert run([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {cell["table"] for cell in document["cells"]} == set(TABLES)
    assert run([*words, "--csv", "t.csv"]) == 2
    assert "must be a new name" in capsys.readouterr().err


def test_experiment(folder: Path, capsys) -> None:
    np.savez("mine.npz", images=planes().images, texts=planes().texts)
    ways = '[[representation]]\nmethod = "raw"\n[[representation]]\nmethod = "mean-centering"\n'
    (folder / "small.toml").write_text(f'data = ["mine.npz"]\nmeasures = ["itr"]\n{ways}')
    words = ["experiment", "small.toml", "-o", "out.parquet", "--cache", "cache", "--workers", "1"]
    assert run(words) == 0
    assert "0 cells known before" in capsys.readouterr().out
    assert run(words) == 2
    assert "must be a new name" in capsys.readouterr().err
    assert run([*words, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["measure"] == "itr"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("reproduce decipher", "image-index unpaired labels prompts prompt-labels model dataset "
         "held-out energy tolerance seed json quiet"),
        ("sweep-gap", "image-index labels prompts prompt-labels splits out overwrite seed json "
         "quiet"),
    ],
)  # fmt: skip
def test_help_explains_everything(capsys, command: str, words: str) -> None:
    assert run([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    for word in words.split():
        assert f"--{word}" in out
    assert run(["reproduce"]) == 2
    assert "decipher" in capsys.readouterr().out
