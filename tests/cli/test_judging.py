"""fillgap grid-search, recommend and bench mixed: what they write, say and refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fillgap import EmbeddingPair, load_space
from fillgap.aligners import GaussianTransport, load_aligner
from fillgap.cli.app import run
from fillgap.evaluation import grid_search
from fillgap.pair import fingerprint
from judged_folders import write_mixbench
from worlds import of_another_kind, two_texts

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


def write(pair: EmbeddingPair, folder: Path, prefix: str = "") -> list[str]:
    """Write a pair, and return the words that name it."""
    names = [str(folder / f"{prefix}{name}.npy") for name in "itx"]
    for name, rows in zip(names, (pair.images, pair.texts, pair.image_index), strict=True):
        np.save(name, rows.astype(np.float32) if rows.dtype.kind == "f" else rows)
    return [*names[:2], "--image-index", names[2]]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return [*write(two_texts(), tmp_path), "--splits", "2"]


@pytest.fixture
def refused(capsys) -> Callable[..., str]:
    def check(*words: str | Path) -> str:
        assert run([str(word) for word in words]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        return told

    return check


def test_recommend_writes_a_space(files, ok, document) -> None:
    told = document("recommend", *files, "-o", "s.safetensors")
    space = load_space("s.safetensors")
    assert space.fingerprint == told["fingerprint"]
    assert space.metadata["evidence"]["sentence"] == told["sentence"]
    assert told["fitted_on"] is None
    assert "other data" not in str(told)
    assert told["sentence"] in ok("recommend", *files)


@pytest.mark.parametrize("name", ["i.npy", "t.npy", "x.npy", "log.npy"])
@pytest.mark.parametrize("command", ["recommend", "bench mixed"])
def test_an_input_is_never_written_over(files, name, command, refused) -> None:
    out, log = Path(name), []
    np.save("log.npy", np.load("t.npy")[:40])
    if command == "recommend":
        log = ["--text-queries", "log.npy"]
    else:
        out = Path(f"{name}.md")
        out.symlink_to(name if name != "log.npy" else "i.npy")
    before = Path(name).read_bytes()
    told = refused(*command.split(), *files, *log, "-o", out, "--overwrite")
    assert "must be another file than the input" in told
    assert Path(name).read_bytes() == before


def test_only_what_folds_is_tried_for_databases(files, document) -> None:
    told = document("recommend", *files, "--folds", "-o", "s.safetensors")
    tried = {line["what"]["calibration"] for line in told["leaderboard"]["lines"]}
    assert "z-score after nnn" in tried
    assert not {"quantile-map", "quantile-map after nnn"} & tried
    assert load_space("s.safetensors").folds


def test_a_judged_folder_is_sent_to_bench(tmp_path, refused) -> None:
    folder = write_mixbench(tmp_path / "set")
    assert f"fillgap bench mixed {folder} ranks" in refused("recommend", folder)


def test_bench_writes_a_page(files, document) -> None:
    told = document("bench", "mixed", *files, "-m", "balanced", "-o", "b.html")
    assert told["objective"] == "two_sided_ndcg_at_10"
    page = Path("b.html").read_text(encoding="utf-8")
    assert "<h1>Mixed search: " in page
    assert "http" not in page


def test_the_figures_say_that_they_are_of_other_data(files, tmp_path, ok, document) -> None:
    other = of_another_kind(two_texts())
    images, texts, _, index = write(other, tmp_path, "other-")
    words = ["recommend", *files, "-m", "balanced", "--max-loss", "1"]
    of_other = ["--fit-on", images, "--fit-on-texts", texts, "--fit-on-image-index", index]
    told = document(*words, *of_other, "-o", "s.safetensors")
    assert told["fitted_on"] == "other-i"
    assert told["leaderboard"]["n_fit"] == 120
    assert "of other data (other-i) fitted on" in told["leaderboard"]["about"]
    assert "of fits to other data (other-i: 120 images, 240 texts)" in told["sentence"]
    assert told["other_kind"].keys() >= {"value", "low", "high"}
    header = load_space("s.safetensors").metadata
    assert header["evidence"]["fitted_on"] == "other-i"
    assert header["data_hash"] == fingerprint(np.load(images), np.load(texts))
    text = " ".join(ok(*words, *of_other).split())
    assert told["sentence"] in text
    assert "in each split 120 images of other data (other-i) fitted on and 80 others" in text
    np.savez("both.npz", images=other.images, texts=other.texts[:99])  # they need no pairs
    assert document(*words, "--fit-on", "both.npz")["fitted_on"] == "both"


@pytest.mark.parametrize(
    ("images", "texts", "said"),
    [
        ("none.npy", "t.npy", "none.npy"),
        ("i.npy", "t.npy", "got the same images"),
        ("thin.npy", "thin2.npy", "of dimension 24"),
        ("nan.npy", "t.npy", "images to fit on must be finite"),
    ],
)
def test_other_data_that_it_refuses(files, images, texts, said, refused) -> None:
    for name in ("thin.npy", "thin2.npy"):
        np.save(name, np.random.default_rng(0).normal(size=(40, 5)))
    np.save("nan.npy", np.full((40, 24), np.nan))
    of_other = ["--fit-on", images, "--fit-on-texts", texts]
    assert said in refused("recommend", *files, *of_other, "-o", "s.safetensors")
    assert not Path("s.safetensors").exists()
