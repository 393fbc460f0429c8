"""Bad files, rows, words and parameters: one sentence, exit code 2, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from conftest import make_gapped
from fillgap.aligners import METHODS, BalancedAligner, save_aligner
from fillgap.cli.app import run
from io_formats import FORMATS

MEASURE = "measure {} texts.npy"
GRID = "grid-search gaussian-transport images.npy texts.npy --splits 2"
CUT = ("npy", "npz", "npz deflated", "safetensors", "bfloat16", "parquet fixed", "arrow", "feather")
PLACES = (0, 1, 8, 9, 0.25, 0.5, -1)
BAD_VALUES = ("nonsense", "[[]]", "{}", "true")
#: Parameters that are read only where another one says so.
CONDITIONAL = {"bandwidth"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files, a good aligner, and one bad file for each fault."""
    folder = tmp_path_factory.mktemp("bad")
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
    indices = {"short": np.arange(5), "high": np.full(60, 99), "float": np.arange(60.0)}
    for name, index in indices.items():
        np.save(folder / f"index_{name}.npy", index)
    whole = (folder / "images.npy").read_bytes()
    (folder / "truncated.npy").write_bytes(whole[:300])
    for kind in ("parquet", "safetensors", "npz", "arrow"):
        (folder / f"wrong.{kind}").write_bytes(whole)
    for name in ("text.npy", "notes.txt"):
        (folder / name).write_text("hello")
    (folder / "folder").mkdir()
    save_aligner(BalancedAligner().fit(X, Y), folder / "good.safetensors")
    for name in ("existing", "existing.html"):
        (folder / name).write_text("precious")
    return folder


@pytest.fixture
def refused(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs a command and requires that it is refused."""
    monkeypatch.chdir(folder)

    def check(*words: str) -> str:
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        code = run(list(words))
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        assert err.startswith("fillgap: ")
        assert err.count("\n") == 1
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        return err

    return check


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
    ("fit balanced all_nan.npy texts.npy -o out", "NaN or infinity in row 0"),
    ("fit balanced constant.npy texts.npy -o out", "must be different embeddings"),
    ("fit spectral constant.npy texts.npy -o out", "must have a non-trivial eigenvector"),
    ("fit balanced narrow.npy texts.npy -o out", "of one dimension, got 5 and 8"),
    ("fit cca images.npy few_texts.npy -o out", "must be paired"),
    ("fit refined images.npy few_texts.npy -o out", "must be paired"),
    ("fit balanced images.npy texts.npy -o out --set n_components=9", "between 1 and 8, got 9"),
    ("fit balanced images.npy texts.npy -o out --set ridge=-1", "ridge must be at least 0"),
    ("fit balanced images.npy texts.npy -o out --set k=3", "a parameter of balanced must be one"),
    ("fit balanced images.npy texts.npy -o out --set ridge", "--set must be NAME=VALUE"),
    ("fit pca-projection images.npy texts.npy -o out", "n_components must be between 1 and 8"),
    ("fit balanced images.npy texts.npy -o existing", "must be a new name"),
    ("fit balanced images.npy texts.npy -o no/such/folder/out", "must be in a folder that exists"),
    ("fit balanced images.npy texts.npy -o folder --overwrite", "folder"),
    ("apply missing.safetensors images.npy --modality image -o out.npy", "must be a file"),
    ("apply images.npy images.npy --modality image -o out.npy", "images.npy must be"),
    ("apply good.safetensors narrow.npy --modality image -o out.npy", "must be of dimension 8"),
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
    ("demo -o existing", "must be a new name"),
    ("measure images.npy texts.npy --seed 4294967296", "Invalid value"),
    ("measure images.npy texts.npy --max-images 1", "Invalid value"),
    ("fit balanced images.npy texts.npy -o images.npy", "must"),
    ("fit balanced images.npy texts.npy -o images.npy --overwrite", "must"),
    ("fit balanced images.npy texts.npy -o . --overwrite", "must"),
    (f"fit balanced images.npy texts.npy -o {'x' * 300}", "must"),
    (f"measure {'x' * 300}.npy texts.npy", "must"),
    (GRID, "Missing option '--grid'"),
    (f"{GRID} --grid ridge", "--grid must be NAME=VALUE, got 'ridge'"),
    (f"{GRID} --grid ridge=", "a sequence of values for ridge, got []"),
    (f"{GRID} --grid rigde=1", "a parameter of gaussian-transport must be one of"),
    (f"{GRID} --grid ridge=-1", "got none: ridge must be at least 0, got -1"),
    (f"{GRID} --grid ridge=soft", "ridge must be a number, got 'soft'"),
    (f"{GRID} --grid ridge=1 --measure joy", "measure must be one of"),
    ("theory -o missing/theory.html", "must be in a folder that exists"),
    ("theory -o existing.html", "got one that exists already"),
    ("theory --seed -1", "--seed"),
    ("theory --seed many", "--seed"),
    ("theory --fast", "--fast"),
    ("bench mixed images.npy texts.npy -o b.pdf", "--out must end in .html or .md"),
    (
        "recommend images.npy texts.npy --fit-on-texts t.npy",
        "must be given with --fit-on, got none",
    ),
    ("recommend images.npy texts.npy -o existing", "must be a new name"),
]


@pytest.mark.parametrize(("command", "sentence"), CASES, ids=[case[0] for case in CASES])
def test_is_refused_in_one_sentence(command: str, sentence: str, refused) -> None:
    assert sentence in refused(*command.split())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CUT)
def test_a_file_cut_anywhere(name: str, place: float, folder: Path, refused) -> None:
    kind = FORMATS[name]
    whole = folder / f"whole{kind.suffix}"
    kind.write(whole, kind.key or "", np.load(folder / "images.npy"))
    data = whole.read_bytes()
    length = int(len(data) * place) if isinstance(place, float) else place % len(data)
    cut = folder / f"cut{kind.suffix}"
    cut.write_bytes(data[:length])
    assert "cut" in refused("measure", kind.spec(cut), "texts.npy")
    refused("fit", "balanced", kind.spec(cut), "texts.npy", "-o", "out.safetensors")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_a_row_that_no_method_can_use(dtype: str, value: float, folder: Path, refused) -> None:
    rows = np.load(folder / "images.npy").astype(dtype)
    rows[41] = value
    np.save(folder / "bad.npy", np.asfortranarray(rows))
    assert "row 41" in refused("measure", "bad.npy", "texts.npy")
    assert "row 41" in refused("fit", "spectral", "bad.npy", "texts.npy", "-o", "out")
    words = ("apply", "good.safetensors", "bad.npy", "--modality", "image", "-o", "out.npy")
    assert "row 41" in refused(*words)


def parameters() -> list[tuple[str, str, str]]:
    return [
        (method, name, value)
        for method, cls in METHODS.items()
        for name, default in cls().get_params().items()
        for value in BAD_VALUES
        if name not in CONDITIONAL and not (isinstance(default, bool) and value == "true")
    ]


@pytest.mark.parametrize(("method", "name", "value"), parameters())
def test_a_parameter_of_another_kind(method: str, name: str, value: str, refused) -> None:
    words = ("fit", method, "images.npy", "texts.npy", "-o", "out", "--set", f"{name}={value}")
    assert f"{name} must be" in refused(*words)


HEADERS = {
    "no fillgap": None,
    "not JSON": "{",
    "a list": "[]",
    "another kind": json.dumps({"format_version": 1, "kind": "encoder"}),
    "newer": json.dumps({"format_version": 99, "kind": "aligner"}),
    "version as text": json.dumps({"format_version": "1", "kind": "aligner"}),
    "no method": json.dumps({"format_version": 1, "kind": "aligner"}),
    "unknown method": json.dumps(
        {"format_version": 1, "kind": "aligner", "method": "magic", "parameters": {}}
    ),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_file_that_is_no_aligner_of_ours(header: str | None, folder: Path, refused) -> None:
    metadata = None if header is None else {"fillgap": header}
    safetensors.numpy.save_file({"mean_x_": np.zeros(8)}, folder / "odd.safetensors", metadata)
    words = ("apply", "odd.safetensors", "images.npy", "--modality", "image", "-o", "out.npy")
    assert "odd.safetensors must" in refused(*words)


@pytest.mark.parametrize("name", ["mean_x_", "map_x.matrix", "map_y.center", "singular_values_"])
@pytest.mark.parametrize("damage", ["absent", "narrow", "nan"])
def test_an_aligner_with_a_damaged_part(name: str, damage: str, folder: Path, refused) -> None:
    with safetensors.safe_open(folder / "good.safetensors", framework="numpy") as file:
        metadata = file.metadata()
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if damage == "absent" and name.startswith("map"):
        pytest.skip("a map may lack any part")
    if damage == "narrow" and name == "singular_values_":
        pytest.skip("they are kept for people and enter no map")
    array = arrays.pop(name)
    if damage != "absent":
        arrays[name] = array[:3].copy() if damage == "narrow" else array * np.nan
    safetensors.numpy.save_file(arrays, folder / "odd.safetensors", metadata)
    words = ("apply", "odd.safetensors", "images.npy", "--modality", "image", "-o", "out.npy")
    assert "odd.safetensors must" in refused(*words)


def test_measure_calls_collapsed_embeddings_a_fault(
    folder: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run(["measure", "constant.npy", "texts.npy"]) == 0
    out = capsys.readouterr().out
    assert "Fault: All images have the same direction" in out


def test_a_fault_of_ours_is_code_1_and_no_traceback(
    folder: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("fillgap.metrics.summary.measure", lambda *a, **k: 1 / 0)
    assert run(["measure", "images.npy", "texts.npy"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "fault of fillgap" in err


def test_an_interrupt_is_code_130(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(folder)
    monkeypatch.setattr("fillgap.metrics.summary.measure", interrupted)
    assert run(["measure", "images.npy", "texts.npy"]) == 130
    assert "interrupted" in capsys.readouterr().err
