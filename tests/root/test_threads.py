"""Functions of blocks on several threads: order, how far they read ahead, failures, and results."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fillgap.aligners import BalancedAligner, SpectralAligner
from fillgap.metrics.scan import scan_pool
from fillgap.runtime import MAX_THREADS, map_blocks, n_threads
from worlds import make_gapped


def test_results_come_in_order_and_blocks_are_not_read_far_ahead() -> None:
    begun: list[int] = []

    def blocks() -> Iterator[int]:
        for i in range(30):
            begun.append(i)
            yield i

    def work(i: int) -> int:
        time.sleep(0.02 if i == 0 else 0)
        return i

    for expected, i in enumerate(map_blocks(work, blocks(), threads=3)):
        assert i == expected
        assert len(begun) <= i + 5
    assert len(begun) == 30
    assert list(map_blocks(work, [], threads=4)) == []


def test_overlapping_callers_give_back_what_the_first_one_found() -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        first, second = (map_blocks(lambda i: i, range(9), threads=2) for _ in range(2))
        assert [next(first), next(second)] == [0, 0]
        assert len(list(first)) == 8
        assert threads() == {1}  # the second one is still at work
        assert len(list(second)) == 8
        assert threads() == {2}


def test_a_failure_comes_out_and_ends_the_work() -> None:
    begun = []

    def work(i: int) -> None:
        begun.append(i)
        if i == 3:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(map_blocks(work, range(1000), threads=2))
    assert len(begun) < 20


def test_the_environment_sets_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in (("3", 3), ("1", 1), ("0", 1), ("999", MAX_THREADS)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert n_threads() == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert n_threads() >= 1


def test_results_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = (side.astype(np.float32) for side in make_gapped(20_000, 8, seed=0))
    maps, scans = [], []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        fitted = (
            aligner(n_components=4).fit(X, Y) for aligner in (BalancedAligner, SpectralAligner)
        )
        maps.append([aligner.transform(X[:50]) for aligner in fitted])
        found = scan_pool(X[:700], Y[:700], n_neighbors=15, memory_bytes=200_000).image_queries
        scans.append(vars(found))
    np.testing.assert_allclose(*maps, atol=1e-6)
    for name in ("items", "mixed_rank", "cross_rank", "best_other_rank", "own_items"):
        np.testing.assert_array_equal(*(scan[name] for scan in scans))
