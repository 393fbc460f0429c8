"""fillgap report: from files to a page, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fillgap.aligners import make_aligner, save_aligner
from fillgap.aligners.methods import Provenance
from fillgap.cli.app import run
from fillgap.pair import fingerprint
from fillgap.report import build
from report_pairs import pair_with_everything, two_methods


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with files of every kind, where a comparison takes no time."""
    pair = pair_with_everything()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "compare", lambda *_, **__: two_methods())
    np.save("images.npy", pair.images)
    np.save("texts.npy", pair.texts)
    np.save("index.npy", pair.image_index)
    np.save("thumbnails.npy", pair.thumbnails)
    Path("captions.txt").write_text("\n".join(pair.captions))
    return tmp_path


FILES = ["images.npy", "texts.npy", "--image-index", "index.npy"]


def test_files_become_a_page(folder, capsys) -> None:
    words = ["--captions", "captions.txt", "--thumbnails", "thumbnails.npy", "--quick"]
    assert run(["report", *FILES, *words, "-o", "r.html"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("A text query sees 0 % images in its first 10;")
    assert "Use " in said.out
    assert said.out.endswith("Report: r.html\n")
    assert said.err == ""
    page = Path("r.html").read_text()
    assert "data:image/png;base64," in page
    assert " in its first words" in page
    assert "fillgap fit " in page
    assert "images.npy texts.npy" in page


def test_one_json_document_says_all(folder, capsys) -> None:
    assert run(["report", *FILES, "--quick", "-o", "r.md", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["written"] == "r.md"
    assert found["measured"]["verdict"]["kind"] == "gap"
    assert found["comparison"]["recommendation"]["method"] == found["shown"]["name"]
    assert Path("r.md").read_text().startswith("# images")


def test_a_method_of_choice_is_shown(folder, capsys) -> None:
    assert run(["report", *FILES, "--quick", "-m", "mean-centering", "-o", "r.json"]) == 0
    assert json.loads(Path("r.json").read_text())["shown"]["name"] == "mean-centering"


def test_a_file_of_choice_is_shown_and_named_in_the_lines(folder, capsys) -> None:
    X, Y = np.load("images.npy"), np.load("texts.npy")
    known = Provenance(data_hash=fingerprint(X, Y))
    save_aligner(make_aligner("balanced").fit(X, Y), "mine.safetensors", provenance=known)
    words = ["--aligner", "mine.safetensors", "--quick", "-o", "r.json"]
    assert run(["report", *FILES, *words]) == 0
    found = json.loads(Path("r.json").read_text())
    assert "fitted to these very rows" in found["shown"]["sentence"]
    assert found["usage"]["commands"][0].startswith("fillgap apply mine.safetensors images.npy")


def test_unpaired_sets_and_samples(folder, capsys) -> None:
    words = ["images.npy", "texts.npy", "--unpaired", "--max-images", "50", "--quick"]
    assert run(["report", *words, "-o", "r.md"]) == 0
    text = Path("r.md").read_text()
    assert "a sample of 50 of 60 images" in text
    assert "Without pairs no method can be judged." in text


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["-o", "r.pdf"], "r.pdf must end in one of .html, .htm, .md, .json"),
        (["-o", "nowhere/r.html"], "must be in a folder that exists"),
        (["-o", "old.html"], "old.html must be a new name"),
        (["-o", "r.html", "--method", "balnced"], "Did you mean balanced"),
        (["-o", "r.html", "--aligner", "none.safetensors"], "none.safetensors must be a file"),
        (["-o", "r.html", "--aligner", "images.npy"], "must be a whole safetensors file"),
        (["-o", "r.html", "--aligner", "a", "--method", "cca"], "--aligner or by --method"),
        (["-o", "r.html", "--thumbnails", "none.npy"], "none.npy must be a file"),
        (["-o", "r.html", "--thumbnails", "captions.txt"], "must be an .npy file of pictures"),
        (["-o", "r.html", "--thumbnails", "index.npy"], "thumbnails must be of length 60"),
        (["-o", "r.html", "--thumbnails", "images.npy"], "thumbnails must be uint8"),
        (["-o", "r.html", "--image-index", "none.npy"], "none.npy"),
        ([], "Missing option '--out'"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    folder, capsys, words: list[str], problem: str
) -> None:
    Path("old.html").write_text("old")
    before = sorted(folder.iterdir())
    assert run(["report", *FILES, *words, "--quick"]) == 2
    said = capsys.readouterr()
    assert problem in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert sorted(folder.iterdir()) == before
    assert Path("old.html").read_text() == "old"


@pytest.mark.parametrize("out", ["r.pdf", "old.html", "nowhere/r.html"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    folder, capsys, monkeypatch, out: str
) -> None:
    Path("old.html").write_text("old")
    monkeypatch.setattr("fillgap.report.build_report", None)  # not reached
    assert run(["report", *FILES, "-o", out]) == 2
    assert out in capsys.readouterr().err


def test_an_aligner_of_another_dimension_is_refused(folder, capsys) -> None:
    other = np.random.default_rng(0).normal(size=(40, 5))
    save_aligner(make_aligner("balanced").fit(other, other + 1), "mine.safetensors")
    assert run(["report", *FILES, "--aligner", "mine.safetensors", "-o", "r.html"]) == 2
    assert "must be of dimension 5, as in the fit of the aligner" in capsys.readouterr().err


def test_rows_that_cannot_be_measured_are_refused(folder, capsys) -> None:
    X = np.load("images.npy")
    X[7, 3] = np.nan
    np.save("images.npy", X)
    assert run(["report", *FILES, "-o", "r.html"]) == 2
    assert "the first in row 7" in capsys.readouterr().err
    assert not Path("r.html").exists()


def test_an_interrupted_report_leaves_the_old_one(folder, capsys, monkeypatch) -> None:
    Path("r.html").write_text("old")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "compare", interrupt)
    assert run(["report", *FILES, "--quick", "--overwrite", "-o", "r.html"]) == 130
    assert Path("r.html").read_text() == "old"
    assert not list(folder.glob(".fillgap-*"))


def test_the_captions_are_never_overwritten(folder, capsys) -> None:
    Path("captions.json").write_text(json.dumps(pair_with_everything().captions))
    words = ["--captions", "captions.json", "--overwrite", "-o", "captions.json"]
    assert run(["report", *FILES, *words]) == 2
    assert "must be another file than the input captions.json" in capsys.readouterr().err
    assert json.loads(Path("captions.json").read_text())[0].startswith("scene 0")
