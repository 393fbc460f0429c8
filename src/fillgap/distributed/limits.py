"""How far a job was from what this machine can do: its storage, its memory, its matrix products."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from fillgap._remote import as_path
from fillgap._threads import one_blas_thread
from fillgap.distributed._work import JobReport
from fillgap.rows import BLOCK_ROWS

__all__ = ["Limit", "limits_of"]

#: What is read to know how fast the storage is.
_READ_BYTES = 1 << 28
_COPIED_BYTES = 1 << 26
_SECONDS = 0.3
#: Bytes that move between memory and the cores for each number of a block beyond those of its own
#: type, which are written once and read once: as float32 it is written, read for the norm, scaled,
#: centred, and packed for the product.
_FLOAT32_MOVES = 4 * (1 + 1 + 2 + 2 + 2)


@dataclass(frozen=True)
class Limit:
    """One limit of the machine, and how near a job came to it.

    Attributes
    ----------
    name, unit : str
        What it is, and in which unit a second.
    job, machine : float
        What the job did in a second, and what the machine does when it does nothing else.
    """

    name: str
    unit: str
    job: float
    machine: float

    @property
    def share(self) -> float:
        """Part of the limit that was used."""
        return self.job / self.machine

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"unit": self.unit, "job": self.job, "machine": self.machine, "share": self.share}


def limits_of(report: JobReport, file: str | Path, n_features: int) -> list[Limit]:
    """Return the limits of this machine beside what a job did, in a second or two.

    Parameters
    ----------
    report : JobReport
        Of a job by workers of this machine.
    file : str or path
        One of the shards that it read, from which storage is timed, past the cache.
    n_features : int
        Dimension of the rows.

    Returns
    -------
    list of Limit
        Storage and memory in GB, matrix products in GFLOP. Memory is what copies of blocks move,
        which is known only about.
    """
    threads = max(1, min(len(report.workers), os.cpu_count() or 1))
    seconds = report.seconds or 1.0
    moved = 2 * report.n_bytes + _FLOAT32_MOVES * report.n_rows * n_features
    storage = _storage(as_path(file))
    with one_blas_thread():
        memory = _rate(_copy, threads)
        products = _rate(_product(n_features), threads)
    found = [
        Limit("storage", "GB", report.n_bytes / seconds / 1e9, storage / 1e9),
        Limit("memory", "GB", moved / seconds / 1e9, memory / 1e9),
        Limit("matrix products", "GFLOP", report.flops / seconds / 1e9, products / 1e9),
    ]
    return [limit for limit in found if limit.job and limit.machine]


def _storage(path: Path) -> float:
    """Return bytes a second of one file, read past the cache where the system can be asked to."""
    with path.open("rb") as stream:
        with suppress(AttributeError, OSError):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started, done = perf_counter(), 0
        while done < _READ_BYTES and perf_counter() - started < 5 * _SECONDS:
            piece = stream.read(1 << 23)
            if not piece:
                break
            done += len(piece)
        return done / (perf_counter() - started)


def _rate(step: Callable[[], Callable[[], float]], threads: int) -> float:
    """Return how much several threads do in a second, each by a step of its own."""

    def run(prepared: Callable[[], float]) -> float:
        prepared()
        started, done = perf_counter(), 0.0
        while perf_counter() - started < _SECONDS:
            done += prepared()
        return done / (perf_counter() - started)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(run, [step() for _ in range(threads)]))


def _copy() -> Callable[[], float]:
    source, target = np.ones((2, _COPIED_BYTES // 8))

    def copy() -> float:
        np.copyto(target, source)
        return 2.0 * source.nbytes

    return copy


def _product(n_features: int) -> Callable[[], Callable[[], float]]:
    def prepare() -> Callable[[], float]:
        rows = np.ones((BLOCK_ROWS, n_features), np.float32)

        def multiply() -> float:
            rows.T @ rows
            return 2.0 * BLOCK_ROWS * n_features**2

        return multiply

    return prepare
