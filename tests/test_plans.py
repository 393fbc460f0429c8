"""--dry-run of embed and compare: what would be done, and nothing written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from datasets_in_memory import scenes
from fillgap._checks import InputError
from fillgap.cli.app import run
from fillgap.cli.data import PairFrom
from fillgap.distributed import ThisProcess
from fillgap.encoders import open_encoder
from fillgap.evaluation import compare, plan_compare
from fillgap.evaluation.cells import Split
from fillgap.experiments.embed import embed_dataset
from fillgap.experiments.embed_plan import plan_embed
from fillgap.io import load_pair
from fillgap.io._sample import take_rows
from test_evaluation_parts import captioned


class Asked(ThisProcess):
    """Four workers that note what they are given."""

    def __init__(self) -> None:
        super().__init__(4)
        self.items: list = []

    def map(self, function, items, *, progress=None):
        items = list(items)
        self.items += items
        yield from super().map(function, items, progress=progress)


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file, without the header of 128 bytes that .npy has."""
    return {
        str(path.relative_to(folder)): path.stat().st_size - 128 * (path.suffix == ".npy")
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_plan_knows_what_embedding_writes(dtype: str, tmp_path: Path) -> None:
    data, encoder, out = scenes(40), open_encoder("digit-scenes"), tmp_path / "out"
    plan = plan_embed(data, encoder, out, shard_rows=8, dtype=dtype)
    assert not out.exists()
    assert (plan.n_rows, plan.n_shards, plan.kept, plan.n_workers) == (40, 5, 0, 1)
    assert plan.trial_rows == 8  # no more than the first shard
    assert plan.seconds == pytest.approx(40 * plan.seconds_per_row)
    embed_dataset(data, encoder, out, shard_rows=8, dtype=dtype)
    written = sizes(out)
    assert plan.n_files == len(written)
    assert plan.written_bytes == sum(n for name, n in written.items() if "_emb/" in name)
    (out / "img_emb" / "img_emb_0003.npy").unlink()
    before, workers = sizes(out), Asked()
    later = plan_embed(data, encoder, out, dtype=dtype, executor=workers)
    assert (later.n_rows, later.n_shards, later.kept, later.n_workers) == (8, 1, 4, 1)
    assert workers.items == [range(24, 32)]  # by a worker, of the shard that is missing
    assert sizes(out) == before
    embed_dataset(data, encoder, out, dtype=dtype)
    done = plan_embed(data, encoder, out, dtype=dtype)
    assert (done.n_rows, done.n_files, done.kept, done.trial_rows) == (0, 0, 5, 0)


def test_a_plan_of_embedding_refuses_what_the_job_refuses(tmp_path: Path) -> None:
    encoder = open_encoder("digit-scenes")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="must be a new folder"):
        plan_embed(scenes(4), encoder, tmp_path)
    embed_dataset(scenes(4), encoder, tmp_path / "out")
    with pytest.raises(InputError, match="of one size of the dataset"):
        plan_embed(scenes(5), encoder, tmp_path / "out")


def test_the_command_line_plans_an_embedding(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    words = ["embed", "digit-scenes", "digit-scenes", "-o", str(out), "--shard-rows", "1000"]
    for options in ([], ["--workers", "1"]):
        assert run([*words, "--dry-run", *options]) == 0
        said = capsys.readouterr().out
        assert "Would read 2,500 images of digit scenes (evaluation) with their captions" in said
        assert f"Would write 10 files, about 3.8 MB: {out}" in said
        assert "by one worker, not counting their start: one took " in said
        assert "Nothing was written." in said
        assert not out.exists()
    assert run([*words, "-q"]) == 0
    (out / "text_emb" / "text_emb_0001.npy").unlink()
    capsys.readouterr()
    assert run([*words, "--dry-run"]) == 0
    assert "Finished, and would be kept: 2 of 3 shards." in capsys.readouterr().out
    assert run([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 2
    assert not (out / "text_emb" / "text_emb_0001.npy").exists()


def test_a_plan_counts_what_a_comparison_fits() -> None:
    pair, methods = captioned(80, 2), ["balanced", "pca-projection", "shared-space-projection"]
    found = compare(pair, methods, n_splits=3, n_resamples=200)
    assert found.failures
    workers = Asked()
    for executor in (None, workers):
        plan = plan_compare(pair, methods, n_images=80, n_splits=3, executor=executor, n_workers=4)
        assert (plan.n_fit, plan.n_test, plan.n_splits) == (found.n_fit, found.n_test, 3)
        assert plan.n_fits == 9
        assert set(plan.failures) == set(found.failures)
        assert set(plan.seconds_of_methods) == set(found.results) - {"raw"}
        assert not plan.unknown
        shared = 3 / 4 * sum(plan.seconds_of_methods.values())
        assert plan.seconds == pytest.approx(plan.seconds_before + shared + plan.seconds_after)
    assert [cell.name for cell in workers.items] == ["raw", *methods]
    assert Split.last is None


def test_of_more_images_a_fit_takes_longer_or_is_not_known() -> None:
    pair = captioned(80, 2)
    few = plan_compare(pair, ["cca", "refined"], n_images=80)
    many = plan_compare(pair, ["cca", "refined"], n_images=10**8)
    assert (few.unknown, many.unknown) == ([], ["refined"])
    assert (many.n_fit, many.n_test) == (10**8 - 2000, 2000)
    assert math.isfinite(many.seconds)
    assert many.to_dict()["seconds"] == many.seconds


def test_the_slope_of_a_fit_is_for_each_image_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from fillgap.evaluation import plan as module

    now = [0.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    real = Split.aligned

    def slow(self, aligner):
        now[0] += 1 + 0.5 * self.train.n_images  # a second, and half of one for each image
        return real(self, aligner)

    monkeypatch.setattr(Split, "aligned", slow)
    plan = plan_compare(captioned(80, 1), ["balanced"], n_images=1000, n_splits=1)
    assert plan.n_fit == 500
    assert plan.seconds_of_methods == {"balanced": pytest.approx(1 + 0.5 * 500)}


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
        assert "from a trial of every method on one split of 80 images" in said
    assert run([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_rows"] == 240
    assert found["seconds"] > found["seconds_before"]
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


def test_first_images_are_read_and_no_more(files: dict[str, str]) -> None:
    source = Counted()
    np.testing.assert_array_equal(take_rows(source, np.arange(9000))[:, 0], np.arange(9000))
    assert source.blocks == 2
    whole = PairFrom(files["images"], files["texts"], files["image_index"], None, 0)()
    few = load_pair(
        files["images"],
        files["texts"],
        image_index=files["image_index"],
        max_images=7,
        random_state=None,
    )
    np.testing.assert_array_equal(few.images, whole.images[:7])
    np.testing.assert_array_equal(few.texts, whole.texts[whole.image_index < 7])
    assert few.name == "images, the first 7 of 80 images"
