"""Interleaved timing: every contestant once a round, so that drift of the machine hits all."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import numpy as np


def interleaved(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    summary: Callable[[Sequence[float]], float] = median,
) -> dict[str, float]:
    """Return the median or another summary of the seconds of each; the first round is left out."""
    return {name: summary(values) for name, values in by_round(contestants, rounds).items()}


def by_round(
    contestants: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each in each round; the first round is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def describe_machine() -> str:
    """Return what the numbers were measured on."""
    from threadpoolctl import threadpool_info

    threads = max((pool["num_threads"] for pool in threadpool_info()), default=1)
    return f"{platform.machine()}, {threads} BLAS threads, NumPy {np.__version__}"
