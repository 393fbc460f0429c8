"""A function of blocks on all cores: one thread a core, each with matrix products of its own.

Products of many blocks at a time use the cores better than one product on many threads, and the
work between the products, which NumPy does on one core, is shared too.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

__all__ = ["MAX_THREADS", "map_blocks", "n_threads"]

#: Each thread holds a block; beyond this many they only wait for memory.
MAX_THREADS = 8

Block = TypeVar("Block")
Result = TypeVar("Result")


def n_threads() -> int:
    """Return how many threads to use: OMP_NUM_THREADS where it is set, else one a core."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(int(given) if given.isdecimal() else cores or 1, MAX_THREADS))


def map_blocks(
    function: Callable[[Block], Result], blocks: Iterable[Block], *, threads: int | None = None
) -> Iterator[Result]:
    """Yield function(block) in the order of the blocks.

    Parameters
    ----------
    function : callable
        Must not depend on the order of its calls.
    blocks : iterable
        Read in the thread that calls, and never further ahead than there are threads.
    threads : int, optional
        Default: `n_threads()`. With 1, blocks are worked on where they are read.
    """
    count = n_threads() if threads is None else threads
    if count == 1:
        yield from map(function, blocks)
        return
    waiting: deque[Future[Any]] = deque()
    with one_blas_thread(), ThreadPoolExecutor(count) as pool:
        for block in blocks:
            waiting.append(pool.submit(function, block))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Limit:
    """The limit that is in force, and for how many callers."""

    lock = threading.Lock()
    holders = 0
    limit: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Give BLAS one thread; the last caller to leave gives it back what the first one found.

    The limit is that of the whole process: each caller for itself would give back what it found,
    which between two overlapping ones is 1, for good.
    """
    with _Limit.lock:
        if _Limit.holders == 0:
            _Limit.limit = _controller().limit(limits=1, user_api="blas")
        _Limit.holders += 1
    try:
        yield
    finally:
        with _Limit.lock:
            _Limit.holders -= 1
            if _Limit.holders == 0:
                _Limit.limit.restore_original_limits()


@cache
def _controller() -> Any:
    """Return what limits the threads of BLAS; to look for the libraries takes milliseconds."""
    import scipy.linalg  # noqa: F401  (its BLAS is another one)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
