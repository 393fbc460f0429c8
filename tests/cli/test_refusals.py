"""Bad files, rows, words and parameters: one sentence, exit code 2, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import safetensors.numpy

from fillgap.aligners import METHODS, BalancedAligner, save_aligner
from fillgap.cli.app import run
from io_formats import FORMATS
from worlds import make_gapped

WORDS = {
    "grid": "grid-search gaussian-transport images.npy texts.npy --splits 2",
    "long": "x" * 300,
}
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


#: What is wrong with files of embeddings.
FAULTY = {
    "{name} must be a file or folder that exists": "missing.npy",
    "Did you mean images.npy": "image.npy",
    "must be 2-D": "one_d.npy three_d.npy",
    "got 0": "empty.npy",
    "at least 2 rows, got 1": "one_row.npy",
    "dimensions": "no_columns.npy one_column.npy",
    "must be of one dimension, got 5 and 8": "narrow.npy",
    "must be floating point": "integers.npy booleans.npy strings.npy complex.npy",
    "objects": "objects.npy",
    "{name} must be": "truncated.npy text.npy wrong.parquet wrong.safetensors",
    "{name} must": "wrong.npz wrong.arrow notes.txt folder",
    "must be read with the name of one array": "several.npz",
    "must hold the array 'd'": "several.npz:d",
    "1 row holds NaN or infinity among the images, the first in row 17": "nan.npy inf.npy",
    "1 row holds nothing but zeros among the images": "zero.npy",
    "60 rows hold NaN or infinity among the images": "all_nan.npy",
}
#: What is wrong with a command; {} is a good pair of files.
FAULTS = {
    "measure images.npy": "texts",
    "measure texts.npy images.npy": "must be given before texts",
    "measure images.npy images.npy": "must be two sets of embeddings",
    "measure {} --image-index index_short.npy": "60 texts",
    "measure {} --image-index index_high.npy": "between 0 and 59, got 99",
    "measure {} --image-index index_float.npy": "must be",
    "measure {} --image-index missing.npy": "must be a file",
    "measure {} --captions missing.txt": "must be a file",
    "measure {} --captions notes.txt": "must be",
    "measure {} --nonsense": "No such option",
    "measure": "Missing argument",
    "measur {}": "No such command",
    "compare images.npy few_texts.npy": "must be paired to be judged",
    "compare {} -m nonsense": "the method must be one of",
    "compare {} --splits 0": "splits",
    "compare {} --max-loss -1": "max_loss must be at least 0",
    "compare nan.npy texts.npy": "NaN or infinity in row 17",
    "fit nonsense {} -o out": "the method must be one of",
    "fit spectrl {} -o out": "Did you mean spectral",
    "fit balanced {}": "Missing option",
    "fit balanced nan.npy texts.npy -o out": "NaN or infinity in row 17",
    "fit balanced all_nan.npy texts.npy -o out": "NaN or infinity in row 0",
    "fit balanced constant.npy texts.npy -o out": "must be different embeddings",
    "fit spectral constant.npy texts.npy -o out": "must have a non-trivial eigenvector",
    "fit balanced narrow.npy texts.npy -o out": "of one dimension, got 5 and 8",
    "fit cca images.npy few_texts.npy -o out": "must be paired",
    "fit refined images.npy few_texts.npy -o out": "must be paired",
    "fit balanced {} -o out --set n_components=9": "between 1 and 8, got 9",
    "fit balanced {} -o out --set ridge=-1": "ridge must be at least 0",
    "fit balanced {} -o out --set k=3": "a parameter of balanced must be one",
    "fit balanced {} -o out --set ridge": "--set must be NAME=VALUE",
    "fit pca-projection {} -o out": "n_components must be between 1 and 8",
    "fit balanced {} -o existing": "must be a new name",
    "fit balanced {} -o no/such/folder/out": "must be in a folder that exists",
    "fit balanced {} -o folder --overwrite": "folder",
    "apply missing.safetensors images.npy --modality image -o out.npy": "must be a file",
    "apply images.npy images.npy --modality image -o out.npy": "images.npy must be",
    "apply good.safetensors narrow.npy --modality image -o out.npy": "must be of dimension 8",
    "apply good.safetensors images.npy --modality audio -o out.npy": "audio",
    "apply good.safetensors images.npy -o out.npy": "Missing option",
    "apply good.safetensors texts.npy --modality image -o out.npy": "Pass --modality text",
    "apply good.safetensors images.npy --modality image -o images.npy": "got the same",
    "apply good.safetensors images.npy --modality image -o images.npy --overwrite": "same",
    "apply good.safetensors images.npy --modality image -o existing": "existing",
    "apply good.safetensors images.npy --modality image -o out.parquet": "must end in .npy",
    "apply good.safetensors --modality image -o out.npy": "Missing argument",
    "apply good.safetensors missing.npy --modality image -o out.npy": "must be a file",
    "apply good.safetensors truncated.npy --modality image -o out.npy": "truncated.npy must be",
    "demo -o existing": "must be a new name",
    "measure {} --seed 4294967296": "Invalid value",
    "measure {} --max-images 1": "Invalid value",
    "fit balanced {} -o images.npy": "must",
    "fit balanced {} -o images.npy --overwrite": "must",
    "fit balanced {} -o . --overwrite": "must",
    "fit balanced {} -o {long}": "must",
    "measure {long}.npy texts.npy": "must",
    "{grid}": "Missing option '--grid'",
    "{grid} --grid ridge": "--grid must be NAME=VALUE, got 'ridge'",
    "{grid} --grid ridge=": "a sequence of values for ridge, got []",
    "{grid} --grid rigde=1": "a parameter of gaussian-transport must be one of",
    "{grid} --grid ridge=-1": "got none: ridge must be at least 0, got -1",
    "{grid} --grid ridge=soft": "ridge must be a number, got 'soft'",
    "{grid} --grid ridge=1 --measure joy": "measure must be one of",
    "theory -o existing.html": "got one that exists already",
    "theory --seed -1": "--seed",
    "bench mixed {} -o b.pdf": "--out must end in .html or .md",
    "recommend {} --fit-on-texts t.npy": "must be given with --fit-on, got none",
    "recommend {} -o existing": "must be a new name",
}
CASES = [
    (f"measure {name} texts.npy", sentence.replace("{name}", name))
    for sentence, names in FAULTY.items()
    for name in names.split()
]
CASES += [(words.format("images.npy texts.npy", **WORDS), said) for words, said in FAULTS.items()]


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


OF_OURS = {"format_version": 1, "kind": "aligner"}
HEADERS = {
    "no fillgap": None,
    "not JSON": "{",
    "a list": [],
    "another kind": OF_OURS | {"kind": "encoder"},
    "newer": OF_OURS | {"format_version": 99},
    "version as text": OF_OURS | {"format_version": "1"},
    "no method": OF_OURS,
    "unknown method": OF_OURS | {"method": "magic", "parameters": {}},
}
APPLY_ODD = ["apply", "odd.safetensors", "images.npy", "--modality", "image", "-o", "out.npy"]


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_file_that_is_no_aligner_of_ours(header, folder: Path, refused) -> None:
    text = header if isinstance(header, str) else json.dumps(header)
    metadata = None if header is None else {"fillgap": text}
    safetensors.numpy.save_file({"mean_x_": np.zeros(8)}, folder / "odd.safetensors", metadata)
    assert "odd.safetensors must" in refused(*APPLY_ODD)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in ("mean_x_", "singular_values_", "map_x.matrix", "map_y.center")
        for damage in ("absent", "narrow", "nan")
        if not (damage == "absent" and name.startswith("map"))  # a map may lack any part
        if (damage, name) != ("narrow", "singular_values_")  # they are in no map
    ],
)
def test_an_aligner_with_a_damaged_part(name: str, damage: str, folder: Path, refused) -> None:
    with safetensors.safe_open(folder / "good.safetensors", framework="numpy") as file:
        metadata = file.metadata()
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    array = arrays.pop(name)
    if damage != "absent":
        arrays[name] = array[:3].copy() if damage == "narrow" else array * np.nan
    safetensors.numpy.save_file(arrays, folder / "odd.safetensors", metadata)
    assert "odd.safetensors must" in refused(*APPLY_ODD)


@pytest.mark.parametrize(
    ("trouble", "code", "words"),
    [
        (ZeroDivisionError("division by zero"), 1, "fillgap: ZeroDivisionError: division by zero"),
        (MemoryError(), 2, "there is not enough memory for this"),
        (PermissionError(13, "x", "f.npy"), 2, "f.npy must be accessible, got 'Permission denied'"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_trouble_within_is_one_line_and_a_code(
    trouble: BaseException, code: int, words: str, folder: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("fillgap.metrics.summary.measure", Mock(side_effect=trouble))
    assert run(["measure", "images.npy", "texts.npy"]) == code
    err = capsys.readouterr().err
    assert words in err
    assert ("fault of fillgap" in err, err.count("\n")) == (code == 1, 1)
