"""The command line: what each command does, and one JSON document where asked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.main import get_command

from fillgap.aligners import METHODS, BalancedAligner, load_aligner, save_aligner
from fillgap.cli.app import app, run

PAIR = ("images.npy", "texts.npy")


def test_measure_begins_with_the_verdict(folder, ok) -> None:
    out = ok("measure", *PAIR)
    assert re.match(r"A text query sees .* would be fair", out)
    assert "80 images, 80 texts, 10 dimensions" in out
    np.save("constant.npy", np.ones_like(np.load("images.npy")))
    assert "\nFault: All images have the same direction" in ok("measure", "constant.npy", PAIR[1])


def test_measure_of_every_kind_of_files(folder, document) -> None:
    found = document("measure", *PAIR)
    assert found["verdict"]["kind"] == "gap"
    itr = {part: told["value"] for part, told in found["measures"]["itr"].items()}
    assert (itr["value"], itr["numerator"], itr["denominator"]) == (None, 80, 0)  # infinite
    assert 0 <= found["measures"]["exposure_at_10"]["image_to_text"]["value"] < 0.1
    for words in (["both.npz"], ["both.npz:images", "both.npz:texts"]):
        assert document("measure", *words)["measures"] == found["measures"]
    unpaired = document("measure", *PAIR, "--unpaired")
    assert "recall_at_10" in unpaired["skipped"].keys() - unpaired["measures"]
    Y = np.load("texts.npy")
    np.save("more.npy", np.vstack([Y, Y + 0.01]))
    np.save("index.npy", np.tile(np.arange(80), 2))
    more = document("measure", "images.npy", "more.npy", "--image-index", "index.npy")
    assert more["n_texts"] == 160
    assert more["one_text"]["recall_at_1"]["image_to_text"]["value"] > 0


def test_fit_tells_parameters_and_provenance(folder, ok, document) -> None:
    said = ok("fit", "balanced", *PAIR, "-o", "b.safetensors")
    assert "fitted to 80 images and 80 texts in 10 dimensions: b.safetensors" in said
    words = ["fit", "spectral", "both.npz", "-o", "a", "--model", "clip"]
    found = document(*words, "--set", "n_components=3", "--set", "negative=shift")
    assert found["parameters"]["n_components"] == 3
    assert len(found["notes"]) == 1
    header = load_aligner("a").metadata_
    assert header["model"] == "clip"
    assert len(header["data_hash"]) == 64
    assert header["created"].startswith("20")


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_can_be_fitted_and_applied(method, folder, ok) -> None:
    small = {"n_components": 4, "n_removed": 2}
    aligner = METHODS[method]()
    given = aligner.get_params().keys() & small
    words = [word for name in given for word in ("--set", f"{name}={small[name]}")]
    ok("fit", method, *PAIR, "-o", "a", *words, "-q")
    ok("apply", "a", "images.npy", "--modality", "image", "-o", "out.npy")
    aligner.set_params(**{name: small[name] for name in given})
    X, Y = (np.load(file) for file in PAIR)
    expected = aligner.fit(X, Y).transform(X)
    np.testing.assert_allclose(np.load("out.npy"), expected, atol=1e-5)


@pytest.fixture
def balanced(folder) -> BalancedAligner:
    """The aligner in the file a."""
    aligner = BalancedAligner().fit(*(np.load(file) for file in PAIR))
    save_aligner(aligner, "a")
    return aligner


def test_apply_keeps_the_type_and_other_columns_of_tables(balanced, ok) -> None:
    X, Y = (np.load(file) for file in PAIR)
    np.save("half.npy", X.astype(np.float16))
    ok("apply", "a", "half.npy", "--modality", "image", "-o", "out.npy")
    assert np.load("out.npy").dtype == np.float16
    table = pa.table({"url": [f"u{i}" for i in range(80)], "embedding": list(Y)})
    pq.write_table(table, "texts.parquet")
    ok("apply", "a", "texts.parquet", "--modality", "text", "-o", "out.parquet")
    written = pq.read_table("out.parquet")
    assert written["url"].to_pylist() == table["url"].to_pylist()
    got = np.array(written["embedding"].to_pylist())
    np.testing.assert_allclose(got, balanced.transform_y(Y), atol=1e-6)
    ok("apply", "a", "both.npz", "--modality", "text", "-o", "out.npz")
    with np.load("out.npz") as both:
        np.testing.assert_allclose(both["texts"], balanced.transform_y(Y), atol=1e-6)
        assert both.files == ["texts"]


def test_several_files_make_a_folder(balanced, ok) -> None:
    np.save("images_2.npy", np.load("images.npy")[:7])
    words = ("images.npy", "images_2.npy", "--modality", "image", "-o", "out")
    assert sorted(ok("apply", "a", *words).split()) == ["out/images.npy", "out/images_2.npy"]
    assert np.load("out/images_2.npy").shape[0] == 7


@pytest.mark.parametrize("name", ["texts.npy", "vectors.npy"])
def test_swapped_sides_are_found_by_name_or_by_mean(name, balanced, capsys) -> None:
    np.save("vectors.npy", np.load("texts.npy"))
    assert run(["apply", "a", name, "--modality", "image", "-o", "out.npy"]) == 2
    assert "are text embeddings. Pass --modality text" in capsys.readouterr().err
    assert not Path("out.npy").exists()


def test_compare_prints_the_advice_first(folder, ok, document) -> None:
    words = ("compare", "both.npz", "-m", "balanced", "--splits", "2")
    out = ok(*words, "-m", "mean-centering")
    assert out.startswith(("Use ", "Leave the embeddings as they are"))
    assert "40 images fitted on and 40 others tested on" in out
    assert "Two-sided search: not available" in out
    found = document(*words)
    assert list(found["results"]) == ["raw", "balanced"]
    assert found["recommendation"]["objective"] == "mixed_ndcg_at_10"


def test_methods_lists_them_all(ok, document) -> None:
    found = document("methods")
    assert [row["method"] for row in found] == list(METHODS)
    table = ok("methods")
    assert all(name in table for name in METHODS)


@pytest.mark.parametrize("name", sorted(get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_and_option_has_help(name: str, ok) -> None:
    out = ok(name, "--help")
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    assert command.help
    for parameter in command.params:
        shown = max(parameter.opts, key=len) if parameter.opts[0][0] == "-" else parameter.metavar
        assert (shown or parameter.name) in out
        if parameter.param_type_name == "option":
            assert parameter.help, f"{name} {shown} is not explained"


def test_module_version_and_exit_codes() -> None:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fillgap", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert call("--version").stdout.startswith("fillgap ")
    bare = call()
    assert bare.returncode == 2
    assert "Usage" in bare.stdout + bare.stderr
    wrong = call("measure", "nothing.npy", "texts.npy")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("fillgap: nothing.npy must be a file or folder that exists")
    assert wrong.stderr.count("\n") == 1


def test_without_words_the_help_is_shown_line_by_line(capsys) -> None:
    assert run([]) == 2
    assert "\n  measure " in capsys.readouterr().err
