"""fillgap grid-search, recommend and bench mixed: what they write, say and refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import of_another_kind, two_texts
from fillgap import EmbeddingPair, load_space
from fillgap.aligners import GaussianTransport, load_aligner
from fillgap.cli.app import run
from fillgap.evaluation import grid_search
from fillgap.pair import fingerprint
from judged_folders import write_mixbench

SEARCH = ["grid-search", "gaussian-transport", "images.npy", "texts.npy", "--splits", "2"]


def test_a_grid_search_says_what_the_function_finds(folder, document) -> None:
    words = ["--grid", "ridge=0.1,5", "--grid", "normalize=true,False", "--seed", "3"]
    found = document(*SEARCH, *words)
    pair = EmbeddingPair(np.load("images.npy"), np.load("texts.npy"))
    grid = {"ridge": [0.1, 5], "normalize": [True, False]}
    expected = grid_search(pair, "gaussian-transport", grid, n_splits=2, random_state=3)
    assert found["best"] == expected.best.parameters
    assert [point["values"] for point in found["points"]] == [
        pytest.approx(point.values) for point in expected.points
    ]


def test_the_command_that_it_prints_fits_the_best(folder: Path, ok) -> None:
    words = ["--grid", "ridge=0.1", "--grid", "ridge=5", "--set", "normalize=False"]
    out = ok(*SEARCH, *words, "--measure", "recall_at_1")
    assert out.startswith("gaussian-transport: recall_at_1 of held-out queries, best first.")
    command = out.splitlines()[-1].partition("To fit the best one: fillgap ")[2]
    ok(*command.replace("ALIGNER", "best.safetensors").split())
    fitted = load_aligner(folder / "best.safetensors")
    assert isinstance(fitted, GaussianTransport)
    assert not fitted.normalize
    assert f" {fitted.ridge:g} " in out.splitlines()[4]


def test_what_cannot_be_fitted_is_said(folder, ok) -> None:
    words = ["grid-search", "laplace-transport", *SEARCH[2:], "--set", "max_iter=1"]
    out = ok(*words, "--grid", "n_neighbors=500,3")
    assert "n_neighbors=500: cannot be fitted: n_neighbors must be less than" in out
    assert "n_neighbors=3: LaplaceTransport stopped after 1 iterations" in out
    assert "n/a" in out


@pytest.fixture(scope="module")
def pair() -> EmbeddingPair:
    return two_texts()


@pytest.fixture
def files(pair: EmbeddingPair, tmp_path: Path) -> list[str]:
    return [*write(pair, tmp_path, ""), "--splits", "2"]


def write(pair: EmbeddingPair, folder: Path, prefix: str) -> list[str]:
    """Write a pair, and return the words that name it."""
    np.save(folder / f"{prefix}i.npy", pair.images.astype(np.float32))
    np.save(folder / f"{prefix}t.npy", pair.texts.astype(np.float32))
    np.save(folder / f"{prefix}x.npy", np.asarray(pair.image_index))
    names = [str(folder / f"{prefix}{name}.npy") for name in "itx"]
    return [*names[:2], "--image-index", names[2]]


def test_recommend_writes_a_space(files, tmp_path, ok, document) -> None:
    out = tmp_path / "s.safetensors"
    told = document("recommend", *files, "-o", out)
    space = load_space(out)
    assert space.fingerprint == told["fingerprint"]
    assert space.metadata["evidence"]["sentence"] == told["sentence"]
    assert told["sentence"] in ok("recommend", *files)


@pytest.mark.parametrize("name", ["i.npy", "t.npy", "x.npy"])
@pytest.mark.parametrize("command", ["recommend", "bench"])
def test_an_input_is_never_written_over(files, tmp_path, name, command, capsys) -> None:
    out = tmp_path / name
    words = [command, *files, "-o", str(out), "--overwrite"]
    if command == "bench":
        out = tmp_path / f"{name}.md"
        out.symlink_to(tmp_path / name)
        words = ["bench", "mixed", *files, "-o", str(out), "--overwrite"]
    before = (tmp_path / name).read_bytes()
    assert run(words) == 2
    assert "must be another file than the input" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == before


def test_a_log_of_queries_is_an_input(files, tmp_path, capsys) -> None:
    log = tmp_path / "log.npy"
    np.save(log, np.load(files[1])[:40])
    words = ["--text-queries", str(log), "-o", str(log), "--overwrite"]
    assert run(["recommend", *files, *words]) == 2
    assert "must be another file than the input" in capsys.readouterr().err


def test_only_what_folds_is_tried_for_databases(files, tmp_path, document) -> None:
    out = tmp_path / "s.safetensors"
    lines = document("recommend", *files, "--folds", "-o", out)["leaderboard"]["lines"]
    tried = {line["what"]["calibration"] for line in lines}
    assert "z-score after nnn" in tried
    assert not {"quantile-map", "quantile-map after nnn"} & tried
    assert load_space(out).folds


def test_a_judged_folder_is_sent_to_bench(tmp_path, capsys) -> None:
    folder = write_mixbench(tmp_path / "set")
    assert run(["recommend", str(folder)]) == 2
    told = capsys.readouterr().err
    assert f"fillgap bench mixed {folder} ranks" in told
    assert told.count("\n") == 1


def test_bench_writes_a_page(files, tmp_path, document) -> None:
    out = tmp_path / "b.html"
    told = document("bench", "mixed", *files, "-m", "balanced", "-o", out)
    assert told["objective"] == "two_sided_ndcg_at_10"
    page = out.read_text(encoding="utf-8")
    assert "<h1>Mixed search: " in page
    assert "http" not in page


@pytest.fixture
def other(pair, tmp_path) -> list[str]:
    images, texts, _, index = write(of_another_kind(pair), tmp_path, "other-")
    return [
        "--fit-on", images, "--fit-on-texts", texts, "--fit-on-image-index", index,
    ]  # fmt: skip


def test_the_figures_say_that_they_are_of_other_data(files, other, tmp_path, ok, document) -> None:
    out = tmp_path / "s.safetensors"
    words = ["recommend", *files, *other, "-m", "balanced", "--max-loss", "1"]
    told = document(*words, "-o", out)
    assert told["fitted_on"] == "other-i"
    assert told["leaderboard"]["n_fit"] == 120
    assert "of other data (other-i) fitted on" in told["leaderboard"]["about"]
    assert "of fits to other data (other-i: 120 images, 240 texts)" in told["sentence"]
    assert told["other_kind"].keys() >= {"value", "low", "high"}
    header = load_space(out).metadata
    assert header["evidence"]["fitted_on"] == "other-i"
    rows = [np.load(tmp_path / f"other-{side}.npy") for side in "it"]
    assert header["data_hash"] == fingerprint(*rows)
    text = " ".join(ok(*words).split())
    assert told["sentence"] in text
    assert "in each split 120 images of other data (other-i) fitted on and 80 others" in text


def test_nothing_is_said_where_there_are_no_other_data(files, document) -> None:
    told = document("recommend", *files, "-m", "balanced")
    assert told["fitted_on"] is None
    assert "other data" not in str(told)


def test_other_data_need_no_pairs(pair, files, tmp_path, document) -> None:
    other = of_another_kind(pair)
    np.savez(tmp_path / "both.npz", images=other.images, texts=other.texts[:99])
    words = ["--fit-on", str(tmp_path / "both.npz"), "-m", "balanced"]
    assert document("recommend", *files, *words)["fitted_on"] == "both"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fit-on", "none.npy", "--fit-on-texts", "t.npy"], "none.npy"),
        (["--fit-on", "i.npy", "--fit-on-texts", "t.npy"], "got the same images"),
        (["--fit-on", "thin.npy", "--fit-on-texts", "thin2.npy"], "of dimension 24"),
        (["--fit-on", "nan.npy", "--fit-on-texts", "t.npy"], "images to fit on must be finite"),
    ],
)
def test_what_it_refuses(files, words, said, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("thin.npy", "thin2.npy"):
        np.save(name, np.random.default_rng(0).normal(size=(40, 5)))
    np.save("nan.npy", np.full((40, 24), np.nan))
    assert run(["recommend", *files, *words, "-o", "s.safetensors"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not Path("s.safetensors").exists()
