"""The command line: what each command does, and one JSON document where asked."""

from __future__ import annotations

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


class TestMeasure:
    def test_begins_with_the_verdict(self, folder, ok) -> None:
        out = ok("measure", "images.npy", "texts.npy")
        first = out.splitlines()[0]
        assert first.startswith("A text query sees")
        assert "would be fair" in first
        assert "80 images, 80 texts, 10 dimensions" in out

    def test_json_has_the_names_of_the_functions_and_no_infinity(self, folder, document) -> None:
        found = document("measure", "images.npy", "texts.npy")
        assert found["verdict"]["kind"] == "gap"
        itr = found["measures"]["itr"]
        assert itr["value"]["value"] is None
        assert itr["numerator"]["value"] == 80
        assert itr["denominator"]["value"] == 0
        assert 0 <= found["measures"]["exposure_at_10"]["image_to_text"]["value"] < 0.1

    def test_sides_of_one_file(self, folder, document) -> None:
        expected = document("measure", "images.npy", "texts.npy")["measures"]
        assert document("measure", "both.npz")["measures"] == expected
        named = document("measure", "both.npz:images", "both.npz:texts")["measures"]
        assert named == expected

    def test_unpaired_sets(self, folder, document) -> None:
        found = document("measure", "images.npy", "texts.npy", "--unpaired")
        assert "recall_at_10" in found["skipped"]
        assert "recall_at_10" not in found["measures"]

    def test_several_texts_for_each_image(self, folder, document) -> None:
        Y = np.load("texts.npy")
        np.save("more.npy", np.vstack([Y, Y + 0.01]))
        np.save("index.npy", np.tile(np.arange(80), 2))
        words = ("measure", "images.npy", "more.npy", "--image-index", "index.npy")
        found = document(*words)
        assert found["n_texts"] == 160
        assert found["one_text"]["recall_at_1"]["image_to_text"]["value"] > 0


class TestFitAndApply:
    def test_fit_writes_what_the_library_would(self, folder, ok) -> None:
        out = ok("fit", "balanced", "images.npy", "texts.npy", "-o", "a.safetensors")
        assert "fitted to 80 images and 80 texts in 10 dimensions: a.safetensors" in out
        X, Y = np.load("images.npy"), np.load("texts.npy")
        expected = BalancedAligner().fit(X, Y).transform(X)
        np.testing.assert_allclose(load_aligner("a.safetensors").transform(X), expected, atol=1e-6)

    def test_parameters_and_provenance(self, folder, document) -> None:
        words = ["fit", "spectral", "both.npz", "-o", "a", "--model", "clip"]
        found = document(*words, "--set", "n_components=3", "--set", "negative=shift")
        assert found["parameters"]["n_components"] == 3
        assert len(found["notes"]) == 1
        header = load_aligner("a").metadata_
        assert header["model"] == "clip"
        assert len(header["data_hash"]) == 64
        assert header["created"].startswith("20")

    @pytest.mark.parametrize("method", sorted(METHODS))
    def test_every_method_can_be_fitted_and_applied(self, method, folder, ok) -> None:
        small = [] if "n_components" not in METHODS[method]().get_params() else ["n_components=4"]
        words = [word for value in small for word in ("--set", value)]
        if method == "dimension-removal":
            words = ["--set", "n_removed=2"]
        ok("fit", method, "images.npy", "texts.npy", "-o", "a", *words, "-q")
        ok("apply", "a", "images.npy", "--modality", "image", "-o", "out.npy")
        expected = load_aligner("a").transform(np.load("images.npy"))
        np.testing.assert_allclose(np.load("out.npy"), expected, atol=1e-5)

    def test_apply_keeps_type_and_other_columns(self, folder, ok) -> None:
        X, Y = np.load("images.npy"), np.load("texts.npy")
        save_aligner(BalancedAligner().fit(X, Y), "a")
        np.save("half.npy", X.astype(np.float16))
        ok("apply", "a", "half.npy", "--modality", "image", "-o", "out.npy")
        assert np.load("out.npy").dtype == np.float16
        table = pa.table({"url": [f"u{i}" for i in range(80)], "embedding": list(Y)})
        pq.write_table(table, "texts.parquet")
        ok("apply", "a", "texts.parquet", "--modality", "text", "-o", "out.parquet")
        written = pq.read_table("out.parquet")
        assert written["url"].to_pylist() == table["url"].to_pylist()
        got = np.array(written["embedding"].to_pylist())
        np.testing.assert_allclose(got, load_aligner("a").transform_y(Y), atol=1e-6)

    def test_the_side_of_a_file_with_both_is_chosen(self, folder, ok) -> None:
        X, Y = np.load("images.npy"), np.load("texts.npy")
        aligner = BalancedAligner().fit(X, Y)
        save_aligner(aligner, "a")
        ok("apply", "a", "both.npz", "--modality", "text", "-o", "out.npz")
        with np.load("out.npz") as written:
            np.testing.assert_allclose(written["texts"], aligner.transform_y(Y), atol=1e-6)
            assert written.files == ["texts"]

    def test_several_files_make_a_folder(self, folder, ok) -> None:
        X, Y = np.load("images.npy"), np.load("texts.npy")
        save_aligner(BalancedAligner().fit(X, Y), "a")
        np.save("images_2.npy", X[:7])
        words = ("images.npy", "images_2.npy", "--modality", "image", "-o", "out")
        out = ok("apply", "a", *words)
        assert sorted(out.split()) == ["out/images.npy", "out/images_2.npy"]
        assert np.load("out/images_2.npy").shape[0] == 7

    @pytest.mark.parametrize("name", ["texts.npy", "vectors.npy"])
    def test_swapped_sides_are_found_by_name_or_by_mean(self, name, folder, capsys) -> None:
        X, Y = np.load("images.npy"), np.load("texts.npy")
        save_aligner(BalancedAligner().fit(X, Y), "a")
        np.save("vectors.npy", Y)
        assert run(["apply", "a", name, "--modality", "image", "-o", "out.npy"]) == 2
        assert "are text embeddings. Pass --modality text" in capsys.readouterr().err
        assert not Path("out.npy").exists()


class TestCompare:
    def test_prints_the_advice_first(self, folder, ok) -> None:
        words = ("compare", "both.npz", "-m", "balanced", "-m", "mean-centering", "--splits", "2")
        out = ok(*words)
        assert out.startswith(("Use ", "Leave the embeddings as they are"))
        assert "40 images fitted on and 40 others tested on" in out
        assert "Two-sided search: not available" in out

    def test_json(self, folder, document) -> None:
        words = ("compare", "both.npz", "-m", "balanced", "--splits", "2")
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
