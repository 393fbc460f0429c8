"""--dry-run of embed and compare: what would be done, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import captioned
from datasets_in_memory import scenes
from fillgap.cli.app import run
from fillgap.embed import embed_dataset, plan_embed
from fillgap.encoders import open_encoder
from fillgap.errors import InputError
from fillgap.evaluation.compare import compare, plan_compare
from fillgap.io.pairs import take_rows


def files_in(folder: Path) -> dict[str, int]:
    """Bytes of each file."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_plan_knows_what_embedding_writes(tmp_path: Path) -> None:
    data, encoder, out = scenes(40), open_encoder("digit-scenes"), tmp_path / "out"
    plan = plan_embed(data, out, shard_rows=8)
    assert not out.exists()
    assert (plan["n_rows"], plan["n_shards"], plan["kept"]) == (40, 5, 0)
    embed_dataset(data, encoder, out, shard_rows=8)
    assert plan["n_files"] == len(files_in(out))
    (out / "img_emb" / "img_emb_0003.npy").unlink()
    before = files_in(out)
    later = plan_embed(data, out)
    assert (later["n_rows"], later["n_shards"], later["kept"]) == (8, 1, 4)
    assert files_in(out) == before
    embed_dataset(data, encoder, out)
    done = plan_embed(data, out)
    assert (done["n_rows"], done["n_files"], done["kept"]) == (0, 0, 5)


def test_a_plan_of_embedding_refuses_what_the_job_refuses(tmp_path: Path) -> None:
    encoder = open_encoder("digit-scenes")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="must be a new folder"):
        plan_embed(scenes(4), tmp_path)
    embed_dataset(scenes(4), encoder, tmp_path / "out")
    with pytest.raises(InputError, match="of one size of the dataset"):
        plan_embed(scenes(5), tmp_path / "out")


def test_the_command_line_plans_an_embedding(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = ["embed", "digit-scenes", "digit-scenes", "-o", str(out), "--shard-rows", "1000"]
    for options in ([], ["--workers", "1"]):
        assert run([*words, "--dry-run", *options]) == 0
        said = capsys.readouterr().out
        assert "Would read 2,500 records of digit scenes (evaluation), once" in said
        assert f"Would write 10 files: {out}" in said
        assert said.endswith("Nothing was written.\n")
        assert not out.exists()
    assert run([*words, "-q"]) == 0
    (out / "text_emb" / "text_emb_0001.npy").unlink()
    capsys.readouterr()
    monkeypatch.setattr("fillgap.encoders.open_encoder", lambda *a, **k: 1 / 0)  # not needed
    assert run([*words, "--dry-run"]) == 0
    assert "Finished, and would be kept: 2 of 3 shards." in capsys.readouterr().out
    assert run([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 2
    assert not (out / "text_emb" / "text_emb_0001.npy").exists()


def test_a_plan_counts_what_a_comparison_fits() -> None:
    pair, methods = captioned(80, 2), ["balanced", "shared-space-projection"]
    found = compare(pair, methods, n_splits=3, n_resamples=200)
    plan = plan_compare(80, methods, n_splits=3)
    assert (plan["n_fit"], plan["n_test"], plan["n_splits"]) == (found.n_fit, found.n_test, 3)
    assert (plan["n_methods"], plan["n_fits"]) == (2, 6)
    many = plan_compare(10**8)
    assert (many["n_fit"], many["n_test"]) == (10**8 - 2000, 2000)
    with pytest.raises(InputError, match="at least 4 different ones"):
        plan_compare(3)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root, pair = tmp_path_factory.mktemp("pair"), captioned(80, 2)
    for name in ("images", "texts", "image_index"):
        np.save(root / f"{name}.npy", getattr(pair, name))
    return {name: str(root / f"{name}.npy") for name in ("images", "texts", "image_index")}


def test_the_command_line_plans_a_comparison(files: dict[str, str], capsys) -> None:
    words = ["compare", files["images"], files["texts"], "--image-index", files["image_index"]]
    words += ["-m", "balanced", "-m", "refined", "--splits", "2", "--dry-run"]
    for options, times in (([], "once"), (["--workers", "1"], "twice")):
        assert run([*words, *options]) == 0
        said = capsys.readouterr().out
        assert f"Would read 2 shards with 240 rows of 12 numbers, 23.0 kB, {times}." in said
        assert "Would fit 2 methods on 2 splits, 4 fits: each to 40 images, judged on 40" in said
        assert said.endswith("Nothing was written.\n")
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_rows"], found["n_fits"]) == (240, 4)
    assert run(["compare", files["images"], files["texts"], "--dry-run"]) == 2
    assert "must be paired" in capsys.readouterr().err


class Counted:
    """Rows that count the blocks that were read."""

    shape, dtype, name, blocks = (40_000, 1), np.dtype("f4"), "counted", 0

    def iter_blocks(self, block_rows: int):
        for start in range(0, self.shape[0], block_rows):
            self.blocks += 1
            stop = min(start + block_rows, self.shape[0])
            yield np.arange(start, stop, dtype="f4")[:, None]


def test_first_rows_are_read_and_no_more() -> None:
    source = Counted()
    np.testing.assert_array_equal(take_rows(source, np.arange(9000))[:, 0], np.arange(9000))
    assert source.blocks == 2
