"""--device with workers: each computes in PyTorch, and the results are those of NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from devices import on_each, strict, torch  # noqa: F401
from distributed_work import numbered, write_shards
from fillgap.aligners import make_aligner, save_aligner
from fillgap.cli.app import run
from fillgap.cli.inputs import PairFrom
from fillgap.distributed import (
    EngineError,
    ThisProcess,
    apply_shards,
    fit_shards,
    make_executor,
    measure_shards,
    pieces,
)
from fillgap.distributed.pieces import blocks_on, cut, device_here, open_sides
from fillgap.io import load_rows
from fillgap.metrics.summary import measure
from worlds import make_gapped

N, D = 700, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    X, Y = ((rows + 1).astype("f2") for rows in make_gapped(N, D, seed=5))
    return write_shards(tmp_path_factory.mktemp("shards"), X, Y, [150, 151, 400])


@pytest.fixture(scope="module", params=["this process", "processes"])
def executor(request: pytest.FixtureRequest):
    if request.param == "this process":
        yield ThisProcess()
        return
    with make_executor(request.param, n_workers=1) as started:
        yield started


@on_each
@pytest.mark.parametrize("method", ["balanced", "spectral", "cca"])
def test_workers_fit_on_a_device_what_numpy_fits(method, device, folder, executor) -> None:
    parameters = {"n_components": 6} if method == "spectral" else {}
    here, there = (make_aligner(method, **parameters) for _ in range(2))
    expected = fit_shards(here, folder, executor=ThisProcess())
    report = fit_shards(there, folder, executor=executor, device=device)
    rows = load_rows(folder / "img_emb").astype("f4")
    np.testing.assert_allclose(there.transform(rows), here.transform(rows), atol=1e-5)
    assert report.n_rows == expected.n_rows


@on_each
def test_workers_align_on_a_device_what_numpy_aligns(device, folder, executor, tmp_path) -> None:
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
def test_workers_measure_on_a_device_what_numpy_measures(paired, device, folder, executor) -> None:
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
        ("cuda:1", 0, 4, "cuda:1"),
        (None, 3, 4, None),
    ],
)
def test_gpus_are_dealt_out(name, worker: int, count: int, expected, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(pieces, "worker_number", lambda: worker)
    assert pieces.name_here(name) == expected


def test_each_process_takes_another_gpu() -> None:
    with make_executor("processes", n_workers=2) as pool:
        found = sorted(set(pool.map(numbered, range(6))))
    assert len(found) == 2
    assert found[1] == found[0] + 1


def test_a_device_that_workers_lack_is_no_bad_shard(folder: Path, tmp_path, capsys) -> None:
    aligner, fitted = make_aligner("balanced"), tmp_path / "a.fit"
    assert run(["fit", "balanced", str(folder), "-o", str(fitted)]) == 0
    where = {"executor": ThisProcess(), "device": "nonsense", "skip_bad_shards": True}
    copies = fitted, folder / "img_emb", tmp_path / "out"
    for job in (
        lambda: fit_shards(aligner, folder, **where),
        lambda: measure_shards(folder, **where),
        lambda: apply_shards(*copies, modality="image", **where),
    ):
        device_here.cache_clear()
        with pytest.raises(EngineError, match="of a worker, device must be one that PyTorch"):
            job()
    capsys.readouterr()
    for command in (
        ["measure", str(folder)],
        ["fit", "balanced", str(folder), "-o", str(tmp_path / "no")],
        ["compare", str(folder), "-m", "balanced"],
        ["apply", *map(str, copies[:2]), "--modality", "image", "-o", str(tmp_path / "no")],
    ):
        assert run([*command, "--workers", "1", "--device", "nonsense"]) == 2
        assert "device must be one that PyTorch can use here" in capsys.readouterr().err
    assert run(["measure", str(folder), "--workers", "1", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["job"]["n_rows"] == 6 * N


@on_each
def test_workers_of_a_comparison_read_the_pair_onto_the_device(device: str, folder: Path) -> None:
    pair = PairFrom(str(folder), None, None, None, 0, device)()
    assert pair.images.device.type == pair.texts.device.type == device
