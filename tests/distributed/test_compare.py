"""compare by workers: the numbers of one process, workers that are lost, shards that are bad."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from distributed_work import FatalOnce, write_shards
from fillgap.aligners import make_aligner
from fillgap.cli.app import run
from fillgap.cli.inputs import PairFrom
from fillgap.distributed import ProcessPool, ThisProcess, find_bad_shards, load_readable_pair
from fillgap.errors import InputError
from fillgap.evaluation import Comparison, compare, judge
from fillgap.evaluation.judge import JudgeCell
from fillgap.io import load_pair
from worlds import captioned, make_gapped

N, D = 200, 12
OPTIONS = {"n_splits": 3, "n_resamples": 200}
METHODS = ["balanced", "spectral", "cca"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Images, texts, and which image each text is of."""
    root = tmp_path_factory.mktemp("pair")
    pair = captioned(80, 2)
    names = ("images", "texts", "image_index")
    for name in names:
        np.save(root / f"{name}.npy", getattr(pair, name))
    return [str(root / f"{name}.npy") for name in names]


@pytest.fixture(scope="module")
def source(files: list[str]) -> PairFrom:
    return PairFrom(*files, None, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pairs in four shards a side."""
    X, Y = ((rows + 0.5).astype("f4") for rows in make_gapped(N, D, seed=2))
    return write_shards(tmp_path / "shards", X, Y, [40, 90, 160])


def spoil(folder: Path) -> tuple[Path, Path]:
    """Make a file of images unreadable, and one row of texts of another shard zero."""
    torn, zero = folder / "img_emb" / "img_emb_1.npy", folder / "text_emb" / "text_emb_3.npy"
    torn.write_bytes(b"no array")
    rows = np.load(zero)
    rows[5] = 0
    np.save(zero, rows)
    return torn, zero


def assert_same(one: Comparison, other: Comparison) -> None:
    assert list(one.results) == list(other.results)
    assert one.failures == other.failures
    assert one.recommendation == other.recommendation
    for name, result in one.results.items():
        assert result.notes == other.results[name].notes
        assert result.p_values == pytest.approx(other.results[name].p_values)
        assert result.scalars == pytest.approx(other.results[name].scalars, abs=1e-6)
        for measure, directions in result.estimates.items():
            for direction, item in directions.items():
                same = other.results[name].estimates[measure][direction]
                assert item.to_dict() == pytest.approx(same.to_dict(), abs=1e-6)


def test_workers_compare_what_one_process_compares_also_when_one_is_killed(
    source: PairFrom, tmp_path: Path
) -> None:
    methods = {name: make_aligner(name) for name in METHODS}
    methods["bad"] = make_aligner("pca-projection", n_components=10**6)
    alone = compare(source(), methods, **OPTIONS)
    assert list(alone.failures) == ["bad"]
    done: list[tuple[int, int]] = []
    with ProcessPool(2) as pool:
        shared = compare(
            source(),
            methods,
            executor=pool,
            source=FatalOnce(source, str(tmp_path)),
            progress=lambda *report: done.append(report[:2]),
            **OPTIONS,
        )
    assert (tmp_path / "fallen").exists()
    assert_same(shared, alone)
    assert done[-2] == (15, 15)  # four methods and raw on three splits


def test_the_pair_may_travel_instead(source: PairFrom) -> None:
    alone = compare(source(), ["balanced"], **OPTIONS)
    assert_same(compare(source(), ["balanced"], executor=ThisProcess(), **OPTIONS), alone)


def test_cells_of_one_split_share_it_and_it_is_let_go(source, monkeypatch) -> None:
    scans = []
    real = judge.scan_test_pair
    monkeypatch.setattr(judge, "scan_test_pair", lambda test: (scans.append(test), real(test))[1])
    compare(source(), METHODS, executor=ThisProcess(), source=source, **OPTIONS)
    assert len(scans) == 3 * (1 + len(METHODS))  # the raw rows once a split
    assert judge.Split.last is None
    assert source() is source()
    assert JudgeCell(source).source() is source()


def test_the_command_line_compares_with_workers(files: list[str], capsys) -> None:
    words = ["compare", *files[:2], "--image-index", files[2], "-m", "balanced", "--splits", "2"]
    printed = []
    for options in ([], ["--workers", "2"]):
        assert run([*words, "--json", *options]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0]["recommendation"] == printed[1]["recommendation"]
    assert printed[0]["data"] == printed[1]["data"] == "images"


def test_bad_shards_are_found_and_left_out_with_their_partners(folder: Path) -> None:
    whole = load_pair(folder)
    assert find_bad_shards(folder, executor=ThisProcess()) == ({}, frozenset())
    torn, zero = spoil(folder)
    skipped, bad = find_bad_shards(folder, executor=ThisProcess())
    assert {str(torn), str(zero)} <= bad
    assert len(skipped) == 2
    assert "all zeros in row" in next(text for name, text in skipped.items() if "_3" in name)
    left = np.r_[0:40, 90:160]
    pair = load_readable_pair(folder, None, bad)
    np.testing.assert_array_equal(pair.images, whole.images[left])
    np.testing.assert_array_equal(pair.texts, whole.texts[left])
    few = load_readable_pair(folder, None, bad, max_images=5)
    assert few.texts.shape == (5, D)
    assert few.name == "shards, a sample of 5 of 110 images"
    np.save(torn, whole.images[40:90])
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
    assert capsys.readouterr().out.count("Skipped: ") == 2
    np.save(zero, np.ones((N - 160, D), "f4"))
    assert run([*words, "--workers", "1", "--skip-bad-shards", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "Would read 6 shards with 300 rows of 12 numbers" in said
    assert f"Would skip: {torn}" in said
    index = folder / "index.npy"
    np.save(index, np.arange(N))
    assert run([*words, "--skip-bad-shards", "--image-index", str(index)]) == 2
    assert "--image-index must be left out" in capsys.readouterr().err
