"""--dry-run of embed and compare: what would be done, and nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from datasets_in_memory import scenes
from fillgap.cli.app import run
from fillgap.embed import embed_dataset, plan_embed
from fillgap.encoders import open_encoder
from fillgap.errors import InputError
from fillgap.evaluation.compare import compare, plan_compare
from fillgap.io.pairs import take_rows
from worlds import captioned


def files_in(folder: Path) -> dict[Path, int]:
    """Bytes of each file."""
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_a_plan_knows_what_embedding_writes_and_refuses(tmp_path: Path) -> None:
    data, encoder, out = scenes(40), open_encoder("digit-scenes"), tmp_path / "out"

    def planned(*names: str, **options: int) -> tuple:
        plan = plan_embed(data, out, **options)
        return tuple(plan[name] for name in names)

    rows, shards, kept, files = planned("n_rows", "n_shards", "kept", "n_files", shard_rows=8)
    assert (rows, shards, kept, out.exists()) == (40, 5, 0, False)
    embed_dataset(data, encoder, out, shard_rows=8)
    assert files == len(files_in(out))
    (out / "img_emb" / "img_emb_0003.npy").unlink()
    before = files_in(out)
    assert planned("n_rows", "n_shards", "kept") == (8, 1, 4)
    assert files_in(out) == before
    embed_dataset(data, encoder, out)
    assert planned("n_rows", "n_files", "kept") == (0, 0, 5)
    with pytest.raises(InputError, match="of one size of the dataset"):
        plan_embed(scenes(5), out)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="must be a new folder"):
        plan_embed(scenes(4), tmp_path)


def test_the_command_line_plans_an_embedding(tmp_path: Path, ok, document, monkeypatch) -> None:
    out = tmp_path / "out"
    words = ["embed", "digit-scenes", "digit-scenes", "-o", out, "--shard-rows", "1000"]
    for options in ([], ["--workers", "1"]):
        said = ok(*words, "--dry-run", *options)
        assert "Would read 2,500 records of digit scenes (evaluation), once" in said
        assert f"Would write 10 files: {out}" in said
        assert said.endswith("Nothing was written.\n")
        assert not out.exists()
    ok(*words, "-q")
    (out / "text_emb" / "text_emb_0001.npy").unlink()
    monkeypatch.setattr("fillgap.encoders.open_encoder", None)  # not needed
    assert "Finished, and would be kept: 2 of 3 shards." in ok(*words, "--dry-run")
    assert document(*words, "--dry-run")["kept"] == 2
    assert not (out / "text_emb" / "text_emb_0001.npy").exists()


def test_a_plan_counts_what_a_comparison_fits() -> None:
    pair, methods = captioned(80, 2), ["balanced", "shared-space-projection"]
    found = compare(pair, methods, n_splits=3, n_resamples=200)
    plan = plan_compare(80, methods, n_splits=3)
    sizes = {"n_images": 80, "n_fit": found.n_fit, "n_test": found.n_test, "n_splits": 3}
    assert plan == {**sizes, "n_methods": 2, "n_fits": 6}
    many = plan_compare(10**8)
    assert (many["n_fit"], many["n_test"]) == (10**8 - 2000, 2000)
    with pytest.raises(InputError, match="at least 4 different ones"):
        plan_compare(3)


def test_the_command_line_plans_a_comparison(tmp_path: Path, ok, document, capsys) -> None:
    images, texts, index = files = [tmp_path / f"{name}.npy" for name in "itx"]
    pair = captioned(80, 2)
    for file, rows in zip(files, (pair.images, pair.texts, pair.image_index), strict=True):
        np.save(file, rows)
    words = ["compare", images, texts, "--image-index", index, "--splits", "2", "--dry-run"]
    words += ["-m", "balanced", "-m", "refined"]
    for options, times in (([], "once"), (["--workers", "1"], "twice")):
        said = ok(*words, *options)
        assert f"Would read 2 shards with 240 rows of 12 numbers, 23.0 kB, {times}." in said
        assert "Would fit 2 methods on 2 splits, 4 fits: each to 40 images, judged on 40" in said
        assert said.endswith("Nothing was written.\n")
    found = document(*words)
    assert (found["n_rows"], found["n_fits"]) == (240, 4)
    assert run(["compare", str(images), str(texts), "--dry-run"]) == 2
    assert "must be paired" in capsys.readouterr().err


def test_first_rows_are_read_and_no_more() -> None:
    read: list[int] = []

    def blocks(block_rows: int) -> Iterator[np.ndarray]:
        for start in range(0, 40_000, block_rows):
            read.append(start)
            yield np.arange(start, start + block_rows, dtype="f4")[:, None]

    source = SimpleNamespace(shape=(40_000, 1), dtype=np.dtype("f4"), iter_blocks=blocks)
    np.testing.assert_array_equal(take_rows(source, np.arange(9000))[:, 0], np.arange(9000))
    assert len(read) == 2
