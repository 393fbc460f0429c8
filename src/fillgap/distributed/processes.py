"""Processes of this machine: the engine that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import reduce
from typing import Any, Self, TypeVar

from fillgap._checks import check_integer
from fillgap._progress import Progress, silent
from fillgap.distributed._executor import EngineError

__all__ = ["ProcessPool"]

T = TypeVar("T")
R = TypeVar("R")

#: Items that are handed out beyond the one whose result is next, for each worker: results wait
#: there for their turn, so this bounds what the parent holds.
AHEAD = 3
#: Times that workers may die without any item being finished in between.
MAX_DEATHS = 3


class ProcessPool:
    """Worker processes with one BLAS thread each; a worker that dies is replaced.

    Results are merged in the order of the items, so that they do not depend on the number of
    workers, not in the last digit.

    Parameters
    ----------
    n_workers : int, optional
        Left out, one for each core that this process may use.

    Notes
    -----
    Workers are started anew (spawn), not forked, so a script that uses this must keep its own code
    under ``if __name__ == "__main__":``.

    Examples
    --------
    >>> with ProcessPool(2) as pool:  # doctest: +SKIP
    ...     report = fit_shards(aligner, "laion/img_emb", "laion/text_emb", executor=pool)
    """

    def __init__(self, n_workers: int | None = None) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.n_workers = check_integer(n_workers or cores, "n_workers", low=1)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers, also those in the middle of an item."""
        pool, self._pool = self._pool, None
        if pool is not None:
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()

    def map(
        self, function: Callable[[T], R], items: Iterable[T], *, progress: Progress | None = None
    ) -> Iterator[R]:
        """Yield function(item) for each item, in the order of the items.

        Raises
        ------
        EngineError
            If workers keep dying; what `function` raises is raised here.
        """
        todo, report = list(items), progress or silent
        done: dict[int, R] = {}
        running: dict[Future[R], int] = {}
        lost: list[int] = []
        deaths, fresh, finished = 0, 0, 0
        for turn in range(len(todo)):
            while turn not in done:
                try:
                    while len(running) < AHEAD * self.n_workers and (lost or fresh < len(todo)):
                        item = lost[0] if lost else fresh
                        running[self._submit(function, todo[item])] = item
                        lost, fresh = lost[1:], fresh + (item == fresh)
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        done[running[future]] = future.result()
                        del running[future]
                        deaths, finished = 0, finished + 1
                        report(finished, len(todo), f"{self.n_workers} workers")
                except BrokenProcessPool as error:
                    lost = sorted([*lost, *running.values()])
                    running.clear()
                    self.close()
                    deaths += 1
                    if deaths > MAX_DEATHS:
                        raise _keeps_dying(todo[lost[0]]) from error
                except BaseException:
                    self.close()  # an item failed: the others are of no use any more
                    raise
            yield done.pop(turn)

    def map_reduce(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        merge: Callable[[R, R], R],
        *,
        progress: Progress | None = None,
    ) -> R:
        """Return function(item) merged over all items, in their order."""
        return reduce(merge, self.map(function, items, progress=progress))

    def _submit(self, function: Callable[[T], R], item: T) -> Future[R]:
        if self._pool is None:
            from multiprocessing import get_context

            self._pool = ProcessPoolExecutor(
                self.n_workers, mp_context=get_context("spawn"), initializer=_prepare_worker
            )
        return self._pool.submit(function, item)


def _prepare_worker() -> None:
    """Give this worker one BLAS thread, leave Ctrl-C to its parent, and let it end with that."""
    import signal
    from multiprocessing import parent_process
    from threading import Thread

    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be limited)
    from threadpoolctl import threadpool_limits

    os.environ["OMP_NUM_THREADS"] = "1"  # for what is loaded later, such as PyTorch
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    """End this process when its parent is gone: nobody would read its results."""
    parent.join()
    os._exit(1)


def _keeps_dying(item: Any) -> EngineError:
    name = getattr(item, "name", None) or "an item"
    return EngineError(
        f"workers must live through {name}, got {MAX_DEATHS + 1} that were killed in a row without "
        "finishing anything. Look for too little memory: use fewer workers or smaller shards."
    )
