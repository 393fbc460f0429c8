"""compare by workers that are lost, with shards that are bad."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from conftest import make_gapped
from fillgap.cli.app import run
from fillgap.cli.inputs import PairFrom
from fillgap.distributed import ProcessPool, ThisProcess, find_bad_shards, load_readable_pair
from fillgap.errors import InputError
from fillgap.evaluation import compare
from fillgap.io import load_pair

N, D = 200, 12
OPTIONS = {"n_splits": 2, "n_resamples": 100}


def write(root: Path) -> Path:
    for side, rows in zip(("img_emb", "text_emb"), make_gapped(N, D, seed=2), strict=True):
        (root / side).mkdir(parents=True)
        for i, part in enumerate(np.split((rows + 0.5).astype("f4"), [40, 90, 160])):
            np.save(root / side / f"{side}_{i}.npy", part)
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "shards")


def spoil(folder: Path) -> tuple[Path, Path]:
    """Make a file of images unreadable, and one row of texts of another shard zero."""
    torn, zero = folder / "img_emb" / "img_emb_1.npy", folder / "text_emb" / "text_emb_3.npy"
    torn.write_bytes(b"no array")
    rows = np.load(zero)
    rows[5] = 0
    np.save(zero, rows)
    return torn, zero


def test_bad_shards_are_found_and_left_out_with_their_partners(folder: Path) -> None:
    whole = load_pair(folder)
    torn, zero = spoil(folder)
    bad = find_bad_shards(folder, executor=ThisProcess())
    assert {str(torn), str(zero)} <= bad.names
    assert len(bad.skipped) == 2
    assert "all zeros in row" in next(text for name, text in bad.skipped.items() if "_3" in name)
    left = np.r_[0:40, 90:160]
    pair = load_readable_pair(folder, None, bad.names)
    np.testing.assert_array_equal(pair.images, whole.images[left])
    np.testing.assert_array_equal(pair.texts, whole.texts[left])
    few = load_readable_pair(folder, None, bad.names, max_images=5)
    assert few.texts.shape == (5, D)
    assert few.name == "shards, a sample of 5 of 110 images"


def test_without_bad_shards_nothing_is_left_out(folder: Path) -> None:
    bad = find_bad_shards(folder, executor=ThisProcess())
    assert (bad.skipped, bad.names) == ({}, frozenset())


def test_nothing_but_bad_shards_is_refused(folder: Path) -> None:
    for file in (folder / "text_emb").glob("*.npy"):
        np.save(file, np.zeros_like(np.load(file)))
    with pytest.raises(InputError, match="all zeros"):
        find_bad_shards(folder, executor=ThisProcess())


def test_the_command_line_compares_what_is_left(folder: Path, capsys) -> None:
    words = ["compare", str(folder), "-m", "balanced", "--splits", "1"]
    torn, zero = spoil(folder)
    assert run(words) == 2
    assert run([*words, "--workers", "1"]) == 2
    assert f"{torn}" in capsys.readouterr().err
    assert run([*words, "--workers", "1", "--skip-bad-shards", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["n_images"] == found["n_texts"] == 110
    skipped = found["job"]["skipped"]
    assert str(torn) in skipped
    assert any(str(zero) in name for name in skipped)
    assert run([*words, "--workers", "1", "--skip-bad-shards"]) == 3
    said = capsys.readouterr().out
    assert said.count("Skipped: ") == 2
    np.save(zero, np.ones((N - 160, D), "f4"))
    assert run([*words, "--workers", "1", "--skip-bad-shards", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "Would read 6 shards with 300 rows of 12 numbers" in said
    assert f"Would skip: {torn}" in said
    index = folder / "index.npy"
    np.save(index, np.arange(N))
    assert run([*words, "--skip-bad-shards", "--image-index", str(index)]) == 2
    assert "--image-index must be left out" in capsys.readouterr().err


@dataclass(frozen=True)
class FatalPair:
    """Reads a pair, and kills the first process that does so."""

    source: PairFrom
    mark: str

    def __call__(self):
        if not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source()


def test_a_worker_that_is_killed_costs_a_comparison_nothing(folder: Path, tmp_path: Path) -> None:
    source = PairFrom(str(folder), None, None, None, 0)
    alone = compare(source(), ["balanced", "cca"], **OPTIONS)
    with ProcessPool(2) as pool:
        shared = compare(
            source(),
            ["balanced", "cca"],
            executor=pool,
            source=FatalPair(source, str(tmp_path / "fallen")),
            **OPTIONS,
        )
    assert (tmp_path / "fallen").exists()
    for name, result in alone.results.items():
        for measure, directions in result.estimates.items():
            for direction, item in directions.items():
                other = shared.results[name].estimates[measure][direction]
                assert other.value == pytest.approx(item.value, abs=1e-6)
