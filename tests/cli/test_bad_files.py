"""Bad files, rows and parameters, generated: one sentence, exit code 2, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from conftest import make_gapped
from fillgap.aligners import METHODS, BalancedAligner, save_aligner
from fillgap.cli.app import run
from io_formats import FORMATS, SINGLE

CUT = ("npy", "npz", "npz deflated", "safetensors", "bfloat16", "parquet fixed", "arrow", "feather")
PLACES = (0, 1, 8, 9, 0.25, 0.5, -1)
BAD_VALUES = ("nonsense", "[[]]", "{}", "true")
#: Parameters that are read only where another one says so.
CONDITIONAL = {"bandwidth"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files in every format, and a good aligner."""
    made = tmp_path_factory.mktemp("files")
    X, Y = (side.astype(SINGLE) for side in make_gapped(60, 8, seed=0))
    np.save(made / "images.npy", X)
    np.save(made / "texts.npy", Y)
    save_aligner(BalancedAligner().fit(X, Y), made / "good.safetensors")
    return made


@pytest.fixture
def refused(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs a command and requires that it is refused."""

    def check(*words: str) -> str:
        monkeypatch.chdir(folder)
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        code = run([str(word) for word in words])
        out, err = capsys.readouterr()
        assert code == 2, err
        assert out == ""
        assert err.startswith("fillgap: ")
        assert err.count("\n") == 1
        assert any(rule in err for rule in (" must ", "Invalid value", "holds n", "holds N")), err
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        return err

    return check


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


@pytest.mark.parametrize(
    "words",
    [
        ("measure", "x" * 300 + ".npy", "texts.npy"),
        ("measure", "images.npy", "texts.npy", "--seed", str(2**32)),
        ("measure", "images.npy", "texts.npy", "--max-images", "1"),
        ("fit", "balanced", "images.npy", "texts.npy", "-o", "images.npy"),
        ("fit", "balanced", "images.npy", "texts.npy", "-o", "images.npy", "--overwrite"),
        ("fit", "balanced", "images.npy", "texts.npy", "-o", ".", "--overwrite"),
        ("fit", "balanced", "images.npy", "texts.npy", "-o", "x" * 300),
    ],
)
def test_paths_and_numbers_out_of_bounds(words: tuple[str, ...], refused) -> None:
    refused(*words)
