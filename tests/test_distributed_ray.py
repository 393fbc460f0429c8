"""Ray, where it is installed: the results of one process, and workers that are really killed."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray")

from conftest import make_gapped
from distributed_work import Fatal
from fillgap._checks import InputError
from fillgap.aligners import make_aligner, save_aligner
from fillgap.distributed import (
    EngineError,
    Executor,
    apply_shards,
    fit_shards,
    make_executor,
    measure_shards,
)
from fillgap.io import load_rows, open_sides
from fillgap.metrics.summary import measure

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
N, D = 200, 12


@pytest.fixture(scope="module")
def cluster() -> Iterator[Executor]:
    paths = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{Path(__file__).parent}{os.pathsep}{paths}"
    with make_executor("ray", n_workers=2) as started:
        yield started
    os.environ["PYTHONPATH"] = paths


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shards")
    for side, rows in zip(("img_emb", "text_emb"), make_gapped(N, D, seed=4), strict=True):
        (root / side).mkdir()
        for i, part in enumerate(np.split(rows + 1.5, [30, 31, 120])):
            np.save(root / side / f"{side}_{i}.npy", part)
    return root


@pytest.mark.parametrize("method", ["balanced", "spectral", "cca"])
def test_ray_fits_what_one_process_fits(method: str, folder: Path, cluster: Executor) -> None:
    parameters = {"n_components": 5} if method == "spectral" else {}
    alone = make_aligner(method, **parameters).fit(*open_sides(folder))
    shared = make_aligner(method, **parameters)
    done: list[int] = []
    report = fit_shards(shared, folder, executor=cluster, progress=lambda n, *_: done.append(n))
    rows = load_rows(folder, modality="image")
    np.testing.assert_allclose(shared.transform(rows), alone.transform(rows), atol=1e-9)
    assert report.n_rows == 2 * N * alone.passes
    assert done


def test_ray_aligns_and_measures(folder: Path, cluster: Executor, tmp_path: Path) -> None:
    fitted = make_aligner("balanced").fit(*open_sides(folder))
    path = save_aligner(fitted, tmp_path / "a.safetensors")
    report = apply_shards(
        path, folder / "img_emb", tmp_path / "out", modality="image", executor=cluster
    )
    assert len(report.written) == 4
    expected = fitted.transform(load_rows(folder, modality="image"))
    np.testing.assert_allclose(load_rows(tmp_path / "out"), expected, atol=1e-6)
    found, _ = measure_shards(folder, executor=cluster, n_neighbors=20)
    alone = measure(
        *(load_rows(folder, modality=side) for side in ("image", "text")), n_neighbors=20
    )
    for name, parts in alone.values.items():
        for part, value in parts.items():
            assert found.values[name][part].value == pytest.approx(value.value, rel=1e-4, abs=1e-4)


def test_a_killed_worker_costs_no_result(cluster: Executor, tmp_path: Path) -> None:
    items = list(range(12))
    total = cluster.map_reduce(Fatal(str(tmp_path), 5), items, operator.add)
    assert total == sum(i * i for i in items)
    assert (tmp_path / "fallen").exists()


def test_a_worker_that_keeps_dying_ends_the_job(cluster: Executor, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="workers alive"):
        list(cluster.map(Fatal(str(tmp_path), 0, always=True), [0]))


def test_a_shard_that_cannot_be_read_is_named(
    folder: Path, cluster: Executor, tmp_path: Path
) -> None:
    rows = load_rows(folder / "text_emb" / "text_emb_2.npy").copy()
    rows[3] = np.nan
    np.save(tmp_path / "text_emb_2.npy", rows)
    sides = folder / "img_emb", tmp_path / "text_emb_2.npy"
    with pytest.raises(InputError, match=r"text_emb_2\.npy.*finite"):
        fit_shards(make_aligner("balanced"), *sides, executor=cluster)


def test_an_address_where_nothing_answers_is_refused(cluster: Executor) -> None:
    cluster.close()  # Ray is one for a process
    with pytest.raises(EngineError, match="Ray must be reachable"):
        make_executor("ray", address="127.0.0.1:1")
