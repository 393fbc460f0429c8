"""Dask: a real scheduler and real workers, one of which is killed, and a scheduler that goes."""

from __future__ import annotations

import operator
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from distributed_work import Broken, Fatal, Slow, write_shards
from fillgap.aligners import make_aligner
from fillgap.distributed import EngineError, Executor, fit_shards, make_executor
from fillgap.distributed.executors import DaskCluster
from worlds import make_gapped

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning:distributed")
N, D = 200, 12
FREED_MEMORY = "MALLOC_TRIM_THRESHOLD_"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Executor]:
    with pytest.MonkeyPatch.context() as patch:
        # A cluster that was started before, in this process, has left it in the environment.
        patch.delenv(FREED_MEMORY, raising=False)
        with DaskCluster(n_workers=2) as started:
            yield started


@pytest.fixture
def shards(tmp_path: Path) -> tuple[Path, Path]:
    folder = write_shards(tmp_path / "shards", *make_gapped(N, D, seed=4), [30, 31, 120])
    return folder / "img_emb", folder / "text_emb"


@contextmanager
def scheduler() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a scheduler with one worker in processes of their own, as on a cluster."""
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--port", "0"]
    # Both import what they are sent.
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    started = subprocess.Popen(
        [*dask, "--host", "127.0.0.1"], stderr=subprocess.PIPE, text=True, env=paths
    )
    assert started.stderr is not None
    address = ""
    while not address:
        found = re.search(r"tcp://127\.0\.0\.1:\d+", started.stderr.readline())
        address = found.group() if found else ""
    drain = threading.Thread(target=started.stderr.read, daemon=True)
    drain.start()
    dask_worker = [sys.executable, "-m", "distributed.cli.dask_worker", address]
    worker = subprocess.Popen(
        [*dask_worker, "--no-dashboard", "--no-nanny", "--nthreads", "1"],
        stderr=subprocess.DEVNULL,
        env=paths,
    )
    try:
        yield started, address
    finally:
        for process in (worker, started):
            process.kill()
            process.wait()
        drain.join()
        started.stderr.close()


@pytest.mark.parametrize("method", ["balanced", "cca"])
def test_dask_fits_what_one_process_fits(method, shards, cluster) -> None:
    X, Y = make_gapped(N, D, seed=4)
    shared, alone = make_aligner(method), make_aligner(method).fit(X, Y)
    done: list[int] = []
    report = fit_shards(shared, *shards, executor=cluster, progress=lambda n, *_: done.append(n))
    np.testing.assert_allclose(shared.transform(X), alone.transform(X), atol=1e-9)
    assert report.n_rows == 2 * N
    assert max(done) <= 8


def test_a_worker_of_dask_that_is_killed_costs_no_result(cluster: Executor, tmp_path: Path) -> None:
    items = list(range(10))
    assert list(cluster.map(Fatal(str(tmp_path), 4), items)) == [i * i for i in items]
    assert (tmp_path / "fallen").exists()


def test_an_item_that_kills_every_worker_ends_the_job(cluster: Executor, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="must live through"):
        list(cluster.map(Fatal(str(tmp_path), 0, always=True), [0]))


def test_a_scheduler_that_goes_away_ends_the_job_with_a_sentence(tmp_path: Path) -> None:
    with scheduler() as (process, address), DaskCluster(address, patience=3.0) as cluster:

        def kill() -> None:
            while not list(tmp_path.glob("*")):
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        with pytest.raises(EngineError, match=rf"Dask at {address} must be reachable"):
            list(cluster.map(Slow(str(tmp_path)), list(range(200))))
        killer.join()


def test_nothing_at_the_address_is_a_sentence(unused_port: int) -> None:
    address = f"tcp://127.0.0.1:{unused_port}"
    with pytest.raises(EngineError, match=f"Dask at {address} must be reachable, got .*again"):
        DaskCluster(address)  # with all its patience: nobody listens, which is known at once


def test_a_cluster_that_is_at_hand_is_used_and_left_running(cluster: Executor) -> None:
    at_hand = cluster._cluster
    with make_executor("dask", address=at_hand) as executor:
        assert executor.n_workers == 2
        assert list(executor.map(operator.neg, [1, 2, 3])) == [-1, -2, -3]
    assert list(cluster.map(operator.neg, [4])) == [-4]


def test_what_takes_the_connection_and_is_no_scheduler_is_a_sentence() -> None:
    """As the address of Dask's own page, which is the one that people have at hand."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(EngineError, match=f"Dask at {address} must be reachable"):
            DaskCluster(address, patience=0.5)


def test_an_error_of_the_system_in_a_task_is_no_lost_scheduler(cluster: Executor) -> None:
    with pytest.raises(OSError, match="the disk is broken") as caught:
        list(cluster.map(Broken(), [0, 1, 2]))
    assert caught.value.errno == 5
    with pytest.raises(OSError, match="the disk is broken"):
        cluster.map_reduce(Broken(), list(range(12)), operator.add)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_workers_started_here_keep_freed_memory(cluster: Executor) -> None:
    """Dask's own setting would have them map every block anew; also one that takes a place."""
    assert isinstance(cluster, DaskCluster)
    cluster._cluster.scale(3)
    cluster._client.wait_for_workers(3)
    assert list(cluster._client.run(os.getenv, FREED_MEMORY).values()) == [None] * 3
    cluster._cluster.scale(2)
