"""compare by workers: the numbers of one process, whoever computes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import captioned
from fillgap.aligners import make_aligner
from fillgap.cli.app import run
from fillgap.cli.inputs import PairFrom
from fillgap.distributed import ProcessPool, ThisProcess
from fillgap.evaluation import Comparison, compare, judge
from fillgap.evaluation.judge import JudgeCell

OPTIONS = {"n_splits": 3, "n_resamples": 200}
METHODS = ["balanced", "spectral", "cca"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("pair")
    pair = captioned(80, 2)
    for name in ("images", "texts", "image_index"):
        np.save(root / f"{name}.npy", getattr(pair, name))
    return {name: str(root / f"{name}.npy") for name in ("images", "texts", "image_index")}


@pytest.fixture(scope="module")
def source(files: dict[str, str]) -> PairFrom:
    return PairFrom(files["images"], files["texts"], files["image_index"], None, 0)


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


def test_workers_compare_what_one_process_compares(source: PairFrom) -> None:
    alone = compare(source(), METHODS, **OPTIONS)
    done: list[tuple[int, int]] = []
    with ProcessPool(2) as pool:
        shared = compare(
            source(),
            METHODS,
            executor=pool,
            source=source,
            progress=lambda *report: done.append(report[:2]),
            **OPTIONS,
        )
    assert_same(shared, alone)
    assert done[-2] == (12, 12)  # three methods and raw on three splits


def test_the_pair_may_travel_instead(source: PairFrom) -> None:
    alone = compare(source(), ["balanced"], **OPTIONS)
    assert_same(compare(source(), ["balanced"], executor=ThisProcess(), **OPTIONS), alone)


def test_a_method_that_cannot_run_is_a_failure_with_workers_too(source: PairFrom) -> None:
    methods = {"good": make_aligner("balanced"), "bad": make_aligner("pca-projection")}
    methods["bad"].set_params(n_components=10**6)
    alone = compare(source(), methods, **OPTIONS)
    shared = compare(source(), methods, executor=ThisProcess(), **OPTIONS)
    assert list(alone.failures) == ["bad"]
    assert_same(shared, alone)


def test_cells_of_one_split_share_it_and_it_is_let_go(
    source: PairFrom, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = []
    real = judge.scan_test_pair
    monkeypatch.setattr(judge, "scan_test_pair", lambda test: (scans.append(test), real(test))[1])
    compare(source(), METHODS, executor=ThisProcess(), source=source, **OPTIONS)
    assert len(scans) == 3 * (1 + len(METHODS))  # the raw rows once a split
    assert judge.Split.last is None
    assert source() is source()
    assert JudgeCell(source).source() is source()


def test_the_command_line_compares_with_workers(files: dict[str, str], capsys) -> None:
    words = ["compare", files["images"], files["texts"], "--image-index", files["image_index"]]
    words += ["-m", "balanced", "--splits", "2", "--json"]
    printed = []
    for options in ([], ["--workers", "2"]):
        assert run([*words, *options]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    here, there = printed
    assert here["recommendation"] == there["recommendation"]
    assert here["data"] == there["data"] == Path(files["images"]).stem
