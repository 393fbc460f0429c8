"""Bad input: one sentence, exit code 2, nothing on stdout, nothing written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import make_gapped
from fillgap.aligners import BalancedAligner, save_aligner
from fillgap.cli.app import run

MEASURE = "measure {} texts.npy"


def write_everything(folder: Path) -> None:
    """Write good files, and one bad file for each fault."""
    X, Y = (side.astype(np.float32) for side in make_gapped(60, 8, seed=0))
    good = {"images": X, "texts": Y, "few_texts": Y[:20]}
    bad = {
        "one_d": X[0], "three_d": X[None], "empty": X[:0], "one_row": X[:1],
        "no_columns": X[:, :0], "one_column": X[:, :1], "narrow": X[:, :5],
        "integers": np.ones((60, 8), dtype=np.int64), "booleans": np.ones((60, 8), dtype=bool),
        "strings": np.full((60, 8), "x"), "complex": X.astype(np.complex64),
        "nan": np.where(np.arange(60)[:, None] == 17, np.nan, X),
        "inf": np.where(np.arange(60)[:, None] == 17, np.inf, X),
        "zero": np.where(np.arange(60)[:, None] == 17, 0, X), "all_nan": X * np.nan,
        "constant": np.ones_like(X),
    }  # fmt: skip
    for name, array in {**good, **bad}.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "objects.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    np.savez(folder / "several.npz", a=X, b=Y, c=X)
    np.savez(folder / "index.npz", index=np.arange(60))
    np.save(folder / "index_short.npy", np.arange(5))
    np.save(folder / "index_high.npy", np.full(60, 99))
    np.save(folder / "index_float.npy", np.arange(60.0))
    whole = (folder / "images.npy").read_bytes()
    (folder / "truncated.npy").write_bytes(whole[:300])
    (folder / "header.npy").write_bytes(whole[:20])
    (folder / "nothing.npy").write_bytes(b"")
    (folder / "text.npy").write_text("hello")
    (folder / "wrong.parquet").write_bytes(whole)
    (folder / "wrong.safetensors").write_bytes(whole)
    (folder / "wrong.npz").write_bytes(whole)
    (folder / "wrong.arrow").write_bytes(whole)
    (folder / "notes.txt").write_text("hello")
    (folder / "folder").mkdir()
    save_aligner(BalancedAligner().fit(X, Y), folder / "good.safetensors")
    for name in ("existing", "existing.html"):
        (folder / name).write_text("precious")


CASES = [
    ("measure missing.npy texts.npy", "must be a file or folder that exists"),
    ("measure image.npy texts.npy", "Did you mean images.npy"),
    (MEASURE.format("one_d.npy"), "must be 2-D"),
    (MEASURE.format("three_d.npy"), "must be 2-D"),
    (MEASURE.format("empty.npy"), "got 0"),
    (MEASURE.format("one_row.npy"), "at least 2 rows, got 1"),
    (MEASURE.format("no_columns.npy"), "dimensions"),
    (MEASURE.format("one_column.npy"), "dimensions"),
    (MEASURE.format("narrow.npy"), "must be of one dimension, got 5 and 8"),
    (MEASURE.format("integers.npy"), "must be floating point"),
    (MEASURE.format("booleans.npy"), "must be floating point"),
    (MEASURE.format("strings.npy"), "must be floating point"),
    (MEASURE.format("complex.npy"), "must be floating point"),
    (MEASURE.format("objects.npy"), "objects"),
    (MEASURE.format("truncated.npy"), "truncated.npy must be"),
    (MEASURE.format("header.npy"), "header.npy must be"),
    (MEASURE.format("nothing.npy"), "nothing.npy must"),
    (MEASURE.format("text.npy"), "text.npy must be"),
    (MEASURE.format("wrong.parquet"), "wrong.parquet must be"),
    (MEASURE.format("wrong.safetensors"), "wrong.safetensors must be"),
    (MEASURE.format("wrong.npz"), "wrong.npz must be"),
    (MEASURE.format("wrong.arrow"), "wrong.arrow must be"),
    (MEASURE.format("notes.txt"), "notes.txt must"),
    (MEASURE.format("folder"), "folder must"),
    (MEASURE.format("several.npz"), "must be read with the name of one array"),
    (MEASURE.format("several.npz:d"), "must hold the array 'd'"),
    ("measure images.npy", "texts"),
    ("measure texts.npy images.npy", "must be given before texts"),
    ("measure images.npy images.npy", "must be two sets of embeddings"),
    ("measure images.npy texts.npy --image-index index_short.npy", "60 texts"),
    ("measure images.npy texts.npy --image-index index_high.npy", "between 0 and 59, got 99"),
    ("measure images.npy texts.npy --image-index index_float.npy", "must be"),
    ("measure images.npy texts.npy --image-index missing.npy", "must be a file"),
    ("measure images.npy texts.npy --captions missing.txt", "must be a file"),
    ("measure images.npy texts.npy --captions notes.txt", "must be"),
    ("measure images.npy texts.npy --seed -1", "seed"),
    ("measure images.npy texts.npy --nonsense", "No such option"),
    (
        MEASURE.format("nan.npy"),
        "1 row holds NaN or infinity among the images, the first in row 17",
    ),
    (
        MEASURE.format("inf.npy"),
        "1 row holds NaN or infinity among the images, the first in row 17",
    ),
    (MEASURE.format("zero.npy"), "1 row holds nothing but zeros among the images"),
    (MEASURE.format("all_nan.npy"), "60 rows hold NaN or infinity among the images"),
    ("measure", "Missing argument"),
    ("measur images.npy texts.npy", "No such command"),
    ("compare images.npy few_texts.npy", "must be paired to be judged"),
    ("compare images.npy texts.npy -m nonsense", "the method must be one of"),
    ("compare images.npy texts.npy --splits 0", "splits"),
    ("compare images.npy texts.npy --max-loss -1", "max_loss must be at least 0"),
    ("compare nan.npy texts.npy", "NaN or infinity in row 17"),
    ("fit nonsense images.npy texts.npy -o out", "the method must be one of"),
    ("fit spectrl images.npy texts.npy -o out", "Did you mean spectral"),
    ("fit balanced images.npy texts.npy", "Missing option"),
    ("fit balanced nan.npy texts.npy -o out", "NaN or infinity in row 17"),
    ("fit balanced inf.npy texts.npy -o out", "NaN or infinity in row 17"),
    ("fit balanced zero.npy texts.npy -o out", "all zeros in row 17"),
    ("fit balanced all_nan.npy texts.npy -o out", "NaN or infinity in row 0"),
    ("fit balanced constant.npy texts.npy -o out", "must be different embeddings"),
    ("fit spectral constant.npy texts.npy -o out", "must have a non-trivial eigenvector"),
    ("fit balanced narrow.npy texts.npy -o out", "of one dimension, got 5 and 8"),
    ("fit cca images.npy few_texts.npy -o out", "must be paired"),
    ("fit refined images.npy few_texts.npy -o out", "must be paired"),
    ("fit balanced images.npy texts.npy -o out --set n_components=9", "between 1 and 8, got 9"),
    ("fit balanced images.npy texts.npy -o out --set ridge=-1", "ridge must be at least 0"),
    ("fit balanced images.npy texts.npy -o out --set ridge=much", "ridge must be a number"),
    ("fit balanced images.npy texts.npy -o out --set k=3", "a parameter of balanced must be one"),
    ("fit balanced images.npy texts.npy -o out --set ridge", "--set must be NAME=VALUE"),
    ("fit pca-projection images.npy texts.npy -o out", "n_components must be between 1 and 8"),
    ("fit balanced images.npy texts.npy -o existing", "must be a new name"),
    ("fit balanced images.npy texts.npy -o no/such/folder/out", "must be in a folder that exists"),
    ("fit balanced images.npy texts.npy -o folder --overwrite", "folder"),
    ("apply missing.safetensors images.npy --modality image -o out.npy", "must be a file"),
    ("apply images.npy images.npy --modality image -o out.npy", "images.npy must be"),
    ("apply good.safetensors narrow.npy --modality image -o out.npy", "must be of dimension 8"),
    ("apply good.safetensors nan.npy --modality image -o out.npy", "NaN or infinity in row 17"),
    ("apply good.safetensors images.npy --modality audio -o out.npy", "audio"),
    ("apply good.safetensors images.npy -o out.npy", "Missing option"),
    ("apply good.safetensors texts.npy --modality image -o out.npy", "Pass --modality text"),
    ("apply good.safetensors images.npy --modality image -o images.npy", "got the same"),
    ("apply good.safetensors images.npy --modality image -o images.npy --overwrite", "same"),
    ("apply good.safetensors images.npy --modality image -o existing", "existing"),
    ("apply good.safetensors images.npy --modality image -o out.parquet", "must end in .npy"),
    ("apply good.safetensors --modality image -o out.npy", "Missing argument"),
    ("apply good.safetensors missing.npy --modality image -o out.npy", "must be a file"),
    ("apply good.safetensors truncated.npy --modality image -o out.npy", "truncated.npy must be"),
    ("report images.npy texts.npy", "Missing option"),
    ("report missing.npy texts.npy -o out.html", "must be a file"),
    ("report images.npy texts.npy -o existing", "must end in one of .html"),
    ("report images.npy texts.npy -o existing.html", "must be a new name"),
    ("demo -o existing", "must be a new name"),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    write_everything(folder)
    return folder


@pytest.mark.parametrize(("command", "sentence"), CASES, ids=[case[0] for case in CASES])
def test_is_refused_in_one_sentence(
    command: str, sentence: str, template: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(template)
    before = {path: path.read_bytes() for path in template.rglob("*") if path.is_file()}
    code = run(command.split())
    captured = capsys.readouterr()
    assert code == 2, captured
    assert sentence in captured.err
    assert captured.err.startswith("fillgap: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert captured.out == ""
    after = {path: path.read_bytes() for path in template.rglob("*") if path.is_file()}
    assert after == before


def test_measure_calls_collapsed_embeddings_a_fault(
    template: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(template)
    assert run(["measure", "constant.npy", "texts.npy"]) == 0
    out = capsys.readouterr().out
    assert "Fault: All images have the same direction" in out


def test_a_fault_of_ours_is_code_1_and_no_traceback(
    template: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(template)
    monkeypatch.setattr("fillgap.metrics.summary.measure", lambda *a, **k: 1 / 0)
    assert run(["measure", "images.npy", "texts.npy"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "fault of fillgap" in err


def test_an_interrupt_is_code_130(template: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(template)
    monkeypatch.setattr("fillgap.metrics.summary.measure", interrupted)
    assert run(["measure", "images.npy", "texts.npy"]) == 130
    assert "interrupted" in capsys.readouterr().err
