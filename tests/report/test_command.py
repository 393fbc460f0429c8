"""fillgap report: from files to a page, what it refuses, and what the page says to run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fillgap.aligners import make_aligner, save_aligner
from fillgap.aligners.methods import Provenance
from fillgap.cli.app import run
from fillgap.io import load_rows
from fillgap.pair import fingerprint
from fillgap.report import build
from fillgap.report.build import explain
from fillgap.report.data import Usage
from report_pairs import pair_with_everything, two_methods
from worlds import make_gapped

FILES = ["images.npy", "texts.npy", "--image-index", "index.npy"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with files of every kind, where a comparison takes no time."""
    pair = pair_with_everything()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "compare", lambda *_, **__: two_methods())
    arrays = {"images": pair.images, "texts": pair.texts, "index": pair.image_index}
    for name, rows in {**arrays, "thumbnails": pair.thumbnails}.items():
        np.save(f"{name}.npy", rows)
    Path("captions.json").write_text(json.dumps(pair.captions))
    return tmp_path


def test_files_become_a_page(folder, ok) -> None:
    words = ["--captions", "captions.json", "--thumbnails", "thumbnails.npy", "--quick"]
    said = ok("report", *FILES, *words, "-o", "r.html")
    assert said.startswith("A text query sees 0 % images in its first 10;")
    assert "Use " in said
    assert said.endswith("Report: r.html\n")
    page = Path("r.html").read_text()
    for part in ("data:image/png;base64,", " in its first words", "fillgap fit ", *FILES[:2]):
        assert part in page


def test_one_json_document_says_all(folder, document) -> None:
    found = document("report", *FILES, "--quick", "-o", "r.md")
    assert found["written"] == "r.md"
    assert found["measured"]["verdict"]["kind"] == "gap"
    assert found["comparison"]["recommendation"]["method"] == found["shown"]["name"]
    assert Path("r.md").read_text().startswith("# images")


def test_a_method_or_a_file_of_choice_is_shown_and_named_in_the_lines(folder, document) -> None:
    words = ["report", *FILES, "--quick", "-o"]
    assert document(*words, "m.json", "-m", "mean-centering")["shown"]["name"] == "mean-centering"
    X, Y = np.load("images.npy"), np.load("texts.npy")
    known = Provenance(data_hash=fingerprint(X, Y))
    save_aligner(make_aligner("balanced").fit(X, Y), "mine.safetensors", provenance=known)
    document(*words, "r.json", "--aligner", "mine.safetensors")
    found = json.loads(Path("r.json").read_text())
    assert "fitted to these very rows" in found["shown"]["sentence"]
    assert found["usage"]["commands"][0].startswith("fillgap apply mine.safetensors images.npy")


def test_unpaired_sets_and_samples(folder, ok) -> None:
    ok("report", *FILES[:2], "--unpaired", "--max-images", "50", "--quick", "-o", "r.md")
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
        (["-o", "r.html", "--thumbnails", "captions.json"], "must be an .npy file of pictures"),
        (["-o", "r.html", "--thumbnails", "index.npy"], "thumbnails must be of length 60"),
        (["-o", "r.html", "--thumbnails", "images.npy"], "thumbnails must be uint8"),
        (["-o", "r.html", "--image-index", "none.npy"], "none.npy"),
        (["-o", "captions.json", "--captions", "captions.json"], "another file than the input"),
        ([], "Missing option '--out'"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    folder, capsys, monkeypatch, words: list[str], problem: str
) -> None:
    monkeypatch.setattr(build, "measure", None)  # refused before the work
    Path("old.html").write_text("old")
    before = sorted(folder.iterdir())
    assert run(["report", *FILES, *words, "--quick"]) == 2
    said = capsys.readouterr()
    assert problem in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert sorted(folder.iterdir()) == before
    assert Path("old.html").read_text() == "old"


def test_rows_that_cannot_be_measured_are_refused(folder, capsys) -> None:
    X = np.load("images.npy")
    X[7, 3] = np.nan
    np.save("images.npy", X)
    assert run(["report", *FILES, "-o", "r.html"]) == 2
    assert "the first in row 7" in capsys.readouterr().err
    assert not Path("r.html").exists()


# The lines at the end of a report do what they say

X, Y = (side.astype(np.float32) for side in make_gapped(60, 12, seed=0))
SOURCES = ("my images.npy", "texts.npy")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of 60 pairs, in files of several kinds."""
    monkeypatch.chdir(tmp_path)
    np.save(SOURCES[0], X)
    np.save(SOURCES[1], Y)
    np.savez("clip.npz", images=X, texts=Y)
    pq.write_table(pa.table({"images": list(X), "texts": list(Y)}), "clip.parquet")
    for name, rows in (("images", X), ("texts", Y)):
        Path(name).mkdir()
        for part in range(3):
            np.save(f"{name}/part_{part}.npy", rows[20 * part : 20 * part + 20])
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
    Path("aligner.safetensors").unlink(missing_ok=True)  # Python writes the same file
    names: dict[str, np.ndarray] = {}
    exec("\n".join(usage.python), names)
    return [names["images"], names["texts"]]


@pytest.mark.parametrize(
    ("method", "parameters", "sources"),
    [
        ("balanced", {"power": 0.25}, SOURCES),
        ("orthogonal-procrustes", {}, SOURCES),
        ("balanced", {}, ("clip.npz:images", "clip.npz:texts")),
        ("balanced", {}, ("clip.parquet:images", "clip.parquet:texts")),
        ("mean-centering", {}, ("images", "texts")),
        ("mean-centering", {}, ("images/part_*.npy", "texts/part_*.npy")),
    ],
)
def test_the_lines_fit_and_apply(empty: Path, method: str, parameters: dict, sources) -> None:
    needs_pairs = method == "orthogonal-procrustes"
    usage = explain(method, parameters, needs_pairs=needs_pairs, sources=sources)
    expected = make_aligner(method, **parameters).fit(X, Y).transform_pair(X, Y)
    for found in (run_commands(usage), run_python(usage)):
        for side, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(side, wanted, atol=1e-6)
    if sources[0] == "clip.npz:images":  # each side has an archive of its own
        with np.load("clip_images_aligned.npz") as file:
            assert file.files == ["images"]
    if sources[0] == "clip.parquet:images":  # a table keeps both
        both = pq.read_table("clip_aligned.parquet")
        np.testing.assert_allclose(both["images"].to_pylist(), expected[0], atol=1e-6)


def test_pairs_are_named_where_a_fit_needs_them(empty: Path) -> None:
    np.save("texts.npy", np.repeat(Y, 2, axis=0))
    np.save("index.npy", np.repeat(np.arange(60), 2))
    files = {"sources": SOURCES, "image_index": "index.npy"}
    usage = explain("ridge-regression", {}, needs_pairs=True, **files)
    assert "--image-index index.npy" in usage.commands[0]
    for side, other in zip(run_commands(usage), run_python(usage), strict=True):
        np.testing.assert_allclose(side, other, atol=1e-6)
    assert "index" not in " ".join(explain("balanced", {}, needs_pairs=False, **files).commands)


def test_an_aligner_that_has_a_file_is_loaded(empty: Path) -> None:
    file = str(save_aligner(make_aligner("balanced").fit(X, Y), "mine.safetensors"))
    usage = explain("balanced", {}, needs_pairs=False, sources=SOURCES, aligner_file=file)
    assert len(usage.commands) == 2
    before = sorted(empty.iterdir())
    run_python(usage)
    assert sorted(empty.iterdir()) == before  # no other aligner is written
    run_commands(usage)
    assert not any("make_aligner" in line for line in usage.python)


def test_without_files_there_are_names_to_fill_in() -> None:
    usage = explain("balanced", {}, needs_pairs=False)
    assert usage.commands[0] == "fillgap fit balanced IMAGES.npy TEXTS.npy -o aligner.safetensors"
