"""fillgap recommend and bench mixed as commands: what they write, say and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import of_another_kind, two_texts
from fillgap import EmbeddingPair, load_space
from fillgap.cli.app import run
from fillgap.pair import fingerprint
from judged_folders import write_mixbench


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


class TestCommands:
    def test_recommend_writes_a_space(
        self, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "s.safetensors"
        assert run(["recommend", *files, "-o", str(out), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        space = load_space(out)
        assert space.fingerprint == told["fingerprint"]
        assert space.metadata["evidence"]["sentence"] == told["sentence"]
        assert run(["recommend", *files, "-o", str(out)]) == 2
        assert "must be a new name" in capsys.readouterr().err
        assert run(["recommend", *files]) == 0
        assert told["sentence"] in capsys.readouterr().out

    @pytest.mark.parametrize("name", ["i.npy", "t.npy", "x.npy"])
    @pytest.mark.parametrize("command", ["recommend", "bench"])
    def test_an_input_is_never_written_over(
        self,
        files: list[str],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        name: str,
        command: str,
    ) -> None:
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

    def test_a_log_of_queries_is_an_input(
        self, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log = tmp_path / "log.npy"
        np.save(log, np.load(files[1])[:40])
        words = ["--text-queries", str(log), "-o", str(log), "--overwrite"]
        assert run(["recommend", *files, *words]) == 2
        assert "must be another file than the input" in capsys.readouterr().err

    def test_only_what_folds_is_tried_for_databases(
        self, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "s.safetensors"
        assert run(["recommend", *files, "--folds", "-o", str(out), "--json"]) == 0
        lines = json.loads(capsys.readouterr().out)["leaderboard"]["lines"]
        tried = {line["what"]["calibration"] for line in lines}
        assert "z-score after nnn" in tried
        assert not {"quantile-map", "quantile-map after nnn"} & tried
        assert load_space(out).folds

    def test_a_judged_folder_is_sent_to_bench(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = write_mixbench(tmp_path / "set")
        assert run(["recommend", str(folder)]) == 2
        told = capsys.readouterr().err
        assert f"fillgap bench mixed {folder} ranks" in told
        assert told.count("\n") == 1

    def test_bench_writes_a_page(
        self, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "b.html"
        assert run(["bench", "mixed", *files, "-m", "balanced", "-o", str(out), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["objective"] == "two_sided_ndcg_at_10"
        page = out.read_text(encoding="utf-8")
        assert "<h1>Mixed search: " in page
        assert "http" not in page
        assert run(["bench", "mixed", *files, "-o", str(tmp_path / "b.pdf")]) == 2
        assert "--out must end in .html or .md" in capsys.readouterr().err


class TestFitOn:
    @pytest.fixture
    def other(self, pair: EmbeddingPair, tmp_path: Path) -> list[str]:
        images, texts, _, index = write(of_another_kind(pair), tmp_path, "other-")
        return [
            "--fit-on", images, "--fit-on-texts", texts, "--fit-on-image-index", index,
        ]  # fmt: skip

    def test_the_figures_say_that_they_are_of_other_data(
        self, files: list[str], other: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "s.safetensors"
        words = ["recommend", *files, *other, "-m", "balanced", "--max-loss", "1"]
        assert run([*words, "-o", str(out), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["fitted_on"] == "other-i"
        assert told["leaderboard"]["n_fit"] == 120
        assert "of other data (other-i) fitted on" in told["leaderboard"]["about"]
        assert "of fits to other data (other-i: 120 images, 240 texts)" in told["sentence"]
        assert told["other_kind"].keys() >= {"value", "low", "high"}
        header = load_space(out).metadata
        assert header["evidence"]["fitted_on"] == "other-i"
        rows = [np.load(tmp_path / f"other-{side}.npy") for side in "it"]
        assert header["data_hash"] == fingerprint(*rows)
        assert run(words) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert told["sentence"] in text
        assert "in each split 120 images of other data (other-i) fitted on and 80 others" in text

    def test_nothing_is_said_where_there_are_no_other_data(
        self, files: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["recommend", *files, "-m", "balanced", "--json"]) == 0
        told = capsys.readouterr().out
        assert json.loads(told)["fitted_on"] is None
        assert "other data" not in told

    def test_other_data_need_no_pairs(
        self,
        pair: EmbeddingPair,
        files: list[str],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        other = of_another_kind(pair)
        np.savez(tmp_path / "both.npz", images=other.images, texts=other.texts[:99])
        words = ["--fit-on", str(tmp_path / "both.npz"), "-m", "balanced", "--json"]
        assert run(["recommend", *files, *words]) == 0
        assert json.loads(capsys.readouterr().out)["fitted_on"] == "both"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--fit-on-texts", "t.npy"], "must be given with --fit-on, got none"),
            (["--fit-on", "none.npy", "--fit-on-texts", "t.npy"], "none.npy"),
            (["--fit-on", "i.npy", "--fit-on-texts", "t.npy"], "got the same images"),
            (["--fit-on", "thin.npy", "--fit-on-texts", "thin2.npy"], "of dimension 24"),
            (["--fit-on", "nan.npy", "--fit-on-texts", "t.npy"], "images to fit on must be finite"),
        ],
    )
    def test_what_it_refuses(
        self,
        files: list[str],
        words: list[str],
        said: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("thin.npy", "thin2.npy"):
            np.save(name, np.random.default_rng(0).normal(size=(40, 5)))
        np.save("nan.npy", np.full((40, 24), np.nan))
        assert run(["recommend", *files, *words, "-o", "s.safetensors"]) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1
        assert not Path("s.safetensors").exists()
