"""--device with workers: each computes in PyTorch, and the results are those of NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import make_gapped
from devices import on_each, strict, torch  # noqa: F401
from distributed_work import numbered
from fillgap.aligners import load_aligner, make_aligner, save_aligner
from fillgap.cli.app import run
from fillgap.cli.inputs import PairFrom
from fillgap.distributed import (
    EngineError,
    Executor,
    ThisProcess,
    apply_shards,
    fit_shards,
    make_executor,
    measure_shards,
)
from fillgap.distributed.pieces import blocks_on, cut, device_here, open_sides, shared_out
from fillgap.io import load_rows
from fillgap.metrics.summary import measure

N, D = 700, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    for side, rows in zip(("img_emb", "text_emb"), make_gapped(N, D, seed=5), strict=True):
        (root / side).mkdir()
        for i, part in enumerate(np.split((rows + 1).astype("f2"), [150, 151, 400])):
            np.save(root / side / f"{side}_{i}.npy", part)
    return root


@pytest.fixture(scope="module", params=["this process", "processes"])
def executor(request: pytest.FixtureRequest):
    if request.param == "this process":
        yield ThisProcess()
        return
    with make_executor(request.param, n_workers=1) as started:
        yield started


@on_each
@pytest.mark.parametrize("method", ["balanced", "spectral", "cca"])
def test_workers_fit_on_a_device_what_numpy_fits(
    method: str, device: str, folder: Path, executor: Executor
) -> None:
    parameters = {"n_components": 6} if method == "spectral" else {}
    here, there = (make_aligner(method, **parameters) for _ in range(2))
    expected = fit_shards(here, folder, executor=ThisProcess())
    report = fit_shards(there, folder, executor=executor, device=device)
    rows = load_rows(folder / "img_emb").astype("f4")
    np.testing.assert_allclose(there.transform(rows), here.transform(rows), atol=1e-5)
    assert report.n_rows == expected.n_rows


@on_each
def test_workers_align_on_a_device_what_numpy_aligns(
    device: str, folder: Path, executor: Executor, tmp_path: Path
) -> None:
    aligner = make_aligner("balanced")
    fit_shards(aligner, folder, executor=ThisProcess())
    path = save_aligner(aligner, tmp_path / "a.fit")
    job = (path, folder / "text_emb")
    apply_shards(*job, tmp_path / "here", modality="text", executor=ThisProcess())
    apply_shards(*job, tmp_path / "there", modality="text", executor=executor, device=device)
    here, there = (load_rows(tmp_path / name).astype("f4") for name in ("here", "there"))
    np.testing.assert_allclose(there, here, atol=1e-3)  # half precision in the files


@on_each
@pytest.mark.parametrize("paired", [True, False])
def test_workers_measure_on_a_device_what_numpy_measures(
    paired: bool, device: str, folder: Path, executor: Executor
) -> None:
    options = {"paired": paired, "max_queries": 600, "n_neighbors": 9}
    here, _ = measure_shards(folder, executor=ThisProcess(), **options)
    there, _ = measure_shards(folder, executor=executor, device=device, **options)
    assert here.verdict == there.verdict
    assert here.values.keys() == there.values.keys()
    for name, parts in here.values.items():
        for part, value in parts.items():
            other = there.values[name][part].value
            assert other == pytest.approx(value.value, abs=1e-5, rel=1e-5, nan_ok=True), name


def test_ties_are_those_of_a_scan_in_memory_on_a_device_too(tmp_path: Path) -> None:
    """Many equal rows: what is level is counted, wherever the cosines are computed."""
    rng = np.random.default_rng(0)
    few = rng.standard_normal((2, 12, D)).astype("f2")
    sides = [rows[rng.integers(0, 12, 300)] for rows in few]
    files = [tmp_path / "images.npy", tmp_path / "texts.npy"]
    for file, rows in zip(files, sides, strict=True):
        np.save(file, rows)
    expected = measure(*sides, n_neighbors=5)
    arbitrary = {"mutual_knn"}  # it depends on which of equal neighbours are kept
    for device in (None, "cpu"):
        found, _ = measure_shards(*files, executor=ThisProcess(), device=device, n_neighbors=5)
        assert found.values.keys() == expected.values.keys()
        for name, parts in expected.values.items():
            for part, value in parts.items() if name not in arbitrary else ():
                other = found.values[name][part].value
                near = pytest.approx(value.value, rel=1e-4, abs=1e-4, nan_ok=True)
                assert other == near, (name, part)


@on_each
def test_blocks_of_a_worker_are_tensors_of_its_device(device: str, folder: Path) -> None:
    sides = open_sides(folder, None, skip_bad_shards=False)
    seen = 0
    for piece in cut(sides, paired=False)[1]:
        for _, *blocks in blocks_on(piece, device):
            for block in (block for block in blocks if block is not None):
                assert block.device.type == device
                seen += len(block)
    assert seen == 2 * N


@pytest.mark.parametrize(
    ("name", "worker", "count", "expected"),
    [
        ("cuda", 0, 2, "cuda:0"),
        ("cuda", 5, 4, "cuda:1"),
        ("cuda", 3, 1, "cuda"),
        ("cuda", 3, 0, "cuda"),
        ("cuda:1", 0, 4, "cuda:1"),
        ("cpu", 3, 4, "cpu"),
        (None, 3, 4, None),
    ],
)
def test_gpus_are_dealt_out(name, worker: int, count: int, expected) -> None:
    assert shared_out(name, worker, count) == expected


def test_each_process_takes_another_gpu() -> None:
    with make_executor("processes", n_workers=2) as pool:
        found = sorted(set(pool.map(numbered, range(6))))
    assert len(found) == 2
    assert found[1] == found[0] + 1


def test_a_device_that_workers_lack_is_no_bad_shard(folder: Path, tmp_path: Path) -> None:
    aligner = make_aligner("balanced")
    fit_shards(aligner, folder, executor=ThisProcess())
    path = save_aligner(aligner, tmp_path / "a.fit")
    where = {"executor": ThisProcess(), "device": "nonsense"}
    side = {"modality": "image", **where}
    for job in (
        lambda: fit_shards(make_aligner("balanced"), folder, skip_bad_shards=True, **where),
        lambda: measure_shards(folder, skip_bad_shards=True, **where),
        lambda: apply_shards(
            path, folder / "img_emb", tmp_path / "out", skip_bad_shards=True, **side
        ),
    ):
        device_here.cache_clear()
        with pytest.raises(EngineError, match="of a worker, device must be one that PyTorch"):
            job()


def test_the_command_line_takes_a_device_for_workers(folder: Path, tmp_path: Path, capsys) -> None:
    where = ["--workers", "1", "--device", "cpu"]
    fit = ["fit", "balanced", str(folder), "-o"]
    assert run([*fit, str(tmp_path / "here")]) == 0
    assert run([*fit, str(tmp_path / "there"), *where]) == 0
    rows = load_rows(folder / "img_emb").astype("f4")
    here, there = (load_aligner(tmp_path / name).transform(rows) for name in ("here", "there"))
    np.testing.assert_allclose(there, here, atol=1e-5)
    apply = ["apply", str(tmp_path / "here"), str(folder / "img_emb"), "--modality", "image"]
    assert run([*apply, "-o", str(tmp_path / "out"), *where]) == 0
    np.testing.assert_allclose(load_rows(tmp_path / "out").astype("f4"), here, atol=1e-3)
    capsys.readouterr()
    compare = ["compare", str(folder), "-m", "balanced", "--splits", "1", "--json"]
    printed = []
    for options in ([], where):
        assert run([*compare, *options]) == 0
        printed.append(json.loads(capsys.readouterr().out))
    one, other = (found["results"]["balanced"]["estimates"] for found in printed)
    for name, parts in one.items():
        for part, item in parts.items():
            assert other[name][part]["value"] == pytest.approx(item["value"], abs=1e-5), name
    assert run(["measure", str(folder), *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["job"]["n_rows"] == 6 * N
    for command in (["measure", str(folder)], [*fit, str(tmp_path / "no")]):
        assert run([*command, "--workers", "1", "--device", "nonsense"]) == 2
        assert "device must be one that PyTorch can use here" in capsys.readouterr().err


@on_each
def test_workers_of_a_comparison_read_the_pair_onto_the_device(device: str, folder: Path) -> None:
    pair = PairFrom(str(folder), None, None, None, 0, device)()
    assert pair.images.device.type == pair.texts.device.type == device
