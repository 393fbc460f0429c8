"""How work is done: progress that is told, threads over blocks, and devices of PyTorch."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, require
from fillgap.pair import EmbeddingPair, RowSource

#: Called as progress(done, total, what); total is None where it is not known beforehand.
Progress: TypeAlias = Callable[[int, int | None, str], None]


def silent(done: int, total: int | None, what: str) -> None:
    """Report nothing: what `progress=None` means."""


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

    They are read in the thread that calls, never further ahead than there are threads, and are
    worked on there too where `threads` is 1. The function must not depend on the order of its
    calls.
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


def choose_device(name: str) -> Any:
    """Return the device of PyTorch of a name ("cpu", "cuda", "cuda:1", "mps"), if it works here."""
    torch = require("torch", "torch", "--device")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"device must be one that PyTorch can use here, got {name!r} ({reason[:120]}). "
            "Write cpu, or cuda where PyTorch was installed for it."
        ) from error
    return device


def to_device(rows: NDArray[Any], device: Any) -> Any:
    """Return an array as a tensor of a device, in its own type where the device has that."""
    import torch

    array = rows if rows.flags.writeable and rows.flags.c_contiguous else np.array(rows)
    if array.dtype == np.float64 and device.type == "mps":  # which has no float64
        array = array.astype(np.float32)
    return torch.from_numpy(array).to(device)


def to_host(rows: Any) -> NDArray[Any]:
    """Return a tensor, or an array, as an array of this machine's memory."""
    return rows.detach().cpu().numpy() if hasattr(rows, "detach") else np.asarray(rows)


class OnDevice:
    """A `RowSource` whose blocks are tensors of a device."""

    def __init__(self, source: RowSource, device: Any) -> None:
        self._source, self.device = source, device
        self.shape, self.dtype, self.name = source.shape, source.dtype, source.name

    def iter_blocks(self, block_rows: int) -> Iterator[Any]:
        """Yield tensors of exactly `block_rows` rows, the last one shorter, from the start."""
        for block in self._source.iter_blocks(block_rows):
            yield to_device(block, self.device)


def pair_on_device(pair: EmbeddingPair, device: Any) -> EmbeddingPair:
    """Return a pair with both sides as tensors of a device."""
    return pair.with_vectors(*(to_device(side, device) for side in (pair.images, pair.texts)))
