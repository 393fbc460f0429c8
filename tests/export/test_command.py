"""fillgap export: files that appear whole, and every refusal in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from export_spaces import needed, small_space
from fillgap.aligners import LaplaceTransport, MeanCentering, save_aligner
from fillgap.cli.app import run
from fillgap.search import create_index
from fillgap.space import save_space
from worlds import make_gapped


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a calibrated space and an aligner."""
    monkeypatch.chdir(tmp_path)
    save_space(small_space(), "space.safetensors")
    save_aligner(MeanCentering().fit(*make_gapped(30, 12, seed=1)), "aligner.safetensors")
    return tmp_path


def words(command: str) -> list[str]:
    return ["export", *command.split()]


def test_what_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words("space.safetensors pgvector -o out --name photos")) == 0
    told = capsys.readouterr().out.split()
    assert sorted(Path(path).name for path in told) == ["README.md", "schema.sql", "search.sql"]
    assert "CREATE TABLE photos (" in (folder / "out" / "schema.sql").read_text()
    create_index("photos", small_space()).close()
    written = []
    for source in ("photos", "space.safetensors"):  # an index is exported by its space
        assert run(words(f"{source} qdrant -o {source}-recipe --json")) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["format"] == "qdrant"
        written.append([Path(path).read_text() for path in told["written"]])
    assert written[0] == written[1]
    needed("onnx")
    assert run(words("aligner.safetensors onnx -o graphs --dtype float16")) == 0
    assert {path.name for path in (folder / "graphs").iterdir()} == {"image.onnx", "text.onnx"}
    session = needed("onnxruntime").InferenceSession(folder / "graphs" / "text.onnx")
    (rows,) = session.run(["aligned"], {"rows": np.ones((2, 12), np.float16)})
    assert rows.shape == (2, 12)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("none.safetensors onnx -o out", "must be a file or folder that exists"),
        ("space.safetensors pytorch -o out", "made in Python, by fillgap.export.torch_module."),
        ("space.safetensors onyx -o out", "Did you mean onnx?"),
        ("space.safetensors qdrant -o taken", "must be a new name"),
        ("space.safetensors qdrant -o taken --overwrite", "must be a folder, got a file"),
        ("space.safetensors qdrant -o no/where", "must be in a folder that exists"),
        ("space.safetensors qdrant -o out --name 9x", "the name must be lower-case letters"),
        ("space.safetensors sentence-transformers -o out", "the model must be given"),
        ("space.safetensors onnx -o out --dtype int8", "--dtype"),
        ("empty onnx -o out", "must be a file, got a folder"),
        ("rows.npy onnx -o out", "must be a whole safetensors file"),
        ("nearest.safetensors qdrant -o out", "must be an affine map"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    command: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "taken").write_text("kept")
    (folder / "empty").mkdir()
    np.save("rows.npy", np.ones((3, 12)))
    nearest = LaplaceTransport(max_iter=2, extension="nearest").fit(*make_gapped(20, 12, seed=1))
    save_aligner(nearest, "nearest.safetensors")
    before = sorted(path.name for path in folder.iterdir())
    assert run(words(command)) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert message in err
    assert sorted(path.name for path in folder.iterdir()) == before
    assert (folder / "taken").read_text() == "kept"
