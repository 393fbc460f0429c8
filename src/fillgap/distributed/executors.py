"""Engines, which map a function over items and merge what comes back: here, processes, Dask."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from copy import deepcopy
from functools import reduce
from typing import Any, Protocol, Self, TypeVar

from fillgap.errors import InputError, check_choice, check_integer, require
from fillgap.runtime import Progress, one_blas_thread, silent

T = TypeVar("T")
R = TypeVar("R")

ENGINES = ("processes", "dask")
#: Items that are handed out beyond the one whose result is next, for each worker: results wait
#: there for their turn, so this bounds what the parent holds.
AHEAD = 3
#: Times that workers may die without any item being finished in between.
MAX_DEATHS = 3
#: Results that one task of Dask merges: what moves between workers, not to the scheduler.
MERGED_AT_ONCE = 8
#: Seconds in which a machine of a cluster must take a connection.
SECONDS_TO_ANSWER = 5.0
#: The variable by which the C library is told what to do with freed memory.
_FREED_MEMORY = "MALLOC_TRIM_THRESHOLD_"


class EngineError(InputError):
    """An engine that cannot go on: workers that keep dying, a scheduler that went away."""


class Executor(Protocol):
    """What runs one function over many items, on however many workers, and merges the results.

    Functions, items and results travel to other processes: they must be picklable, and a function
    must give the same result when an item is run again after its worker was lost.

    Attributes
    ----------
    n_workers : int
        How many items are worked on at a time.
    """

    n_workers: int

    def map(
        self, function: Callable[[T], R], items: Iterable[T], *, progress: Progress | None = None
    ) -> Iterator[R]:
        """Yield function(item) for each item, in the order of the items."""
        ...

    def map_reduce(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        merge: Callable[[R, R], R],
        *,
        progress: Progress | None = None,
    ) -> R:
        """Return function(item) merged over all items, of which there is at least one.

        `merge` is associative, and may change and return its first argument. An engine that does
        not say otherwise merges in the order of the items.
        """
        return reduce(merge, self.map(function, items, progress=progress))


class ThisProcess(Executor):
    """No workers: items one after the other, here."""

    n_workers = 1

    def map(
        self, function: Callable[[T], R], items: Iterable[T], *, progress: Progress | None = None
    ) -> Iterator[R]:
        """Yield function(item) for each item, in the order of the items."""
        todo, report = list(items), progress or silent
        for done, item in enumerate(todo, start=1):
            with one_blas_thread():
                result = function(item)
            report(done, len(todo), "this process")
            yield result


class ProcessPool(Executor):
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
                        raise EngineError(
                            f"workers must live through {_name(todo[lost[0]])}, got {deaths} that "
                            "were killed in a row without finishing anything. Look for too little "
                            "memory: use fewer workers or smaller shards."
                        ) from error
                except BaseException:
                    self.close()  # an item failed: the others are of no use any more
                    raise
            yield done.pop(turn)

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

    def end_with_parent() -> None:
        parent: Any = parent_process()
        parent.join()
        os._exit(1)  # nobody would read the results

    os.environ["OMP_NUM_THREADS"] = "1"  # for what is loaded later, such as PyTorch
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    Thread(target=end_with_parent, daemon=True).start()


def _name(item: Any) -> str:
    return getattr(item, "name", None) or "an item"


class DaskCluster(Executor):
    """Workers of Dask; results are merged where they are, in a tree.

    `address` is that of a scheduler that runs, for example "tcp://10.0.0.1:8786", or a cluster that
    this process started, which is left running. It and its workers must have fillgap installed, and
    the workers see the shards under the same names. Left out, `n_workers` are started here, one for
    each core if that is left out too. After `patience` seconds a scheduler that does not answer has
    gone away.
    """

    def __init__(
        self, address: Any = None, n_workers: int | None = None, *, patience: float = 30.0
    ) -> None:
        distributed = require("distributed", "dask", "The engine Dask")
        self._address, self._cluster = address, None
        try:
            if isinstance(address, str):
                _knock(address)
            elif address is None:
                self._cluster = _started_here(distributed, n_workers)
            self._client = _within(
                2 * patience, lambda: distributed.Client(self._cluster or address, timeout=patience)
            )
        except MemoryError as error:  # words of a web server, taken for the length of a message
            stranger = OSError("an answer that is not one of Dask, as from its page in a browser")
            raise self._gone(stranger) from error
        except (OSError, TimeoutError, ValueError) as error:
            raise self._gone(error) from error
        self.n_workers = max(1, len(self._client.scheduler_info()["workers"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the cluster; workers that were started here are stopped."""
        self._client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=5)

    def map(
        self, function: Callable[[T], R], items: Iterable[T], *, progress: Progress | None = None
    ) -> Iterator[R]:
        """Yield function(item) for each item, in the order of the items."""
        todo, report = list(items), progress or silent
        futures = self._client.map(_call, todo, function=function, pure=False)
        for number, item in enumerate(todo):
            yield self._result(futures[number], item)
            futures[number] = None  # the cluster may forget this result
            report(number + 1, len(todo), f"{self.n_workers} workers of Dask")

    def map_reduce(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        merge: Callable[[R, R], R],
        *,
        progress: Progress | None = None,
    ) -> R:
        """Return function(item) merged over all items, by a tree of tasks."""
        todo, report = list(items), progress or silent
        leaves = level = self._client.map(_call, todo, function=function, pure=False)
        while len(level) > 1:
            starts = range(0, len(level), MERGED_AT_ONCE)
            groups = [level[at : at + MERGED_AT_ONCE] for at in starts]
            level = [
                self._client.submit(_merged, merge, *group, pure=False) if group[1:] else group[0]
                for group in groups
            ]

        def say(_: Any) -> None:
            done = sum(leaf.done() for leaf in leaves)
            report(done, len(todo), f"{self.n_workers} workers")

        for leaf in leaves:
            leaf.add_done_callback(say)
        return self._result(level[0], todo[0])

    def _result(self, future: Any, item: Any) -> Any:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        try:
            return future.result()
        except _TaskError as error:
            raise error.args[0] from None
        except KilledWorker as error:
            raise EngineError(
                f"workers must live through the items of this job, got one that killed several "
                f"({_name(item)} or one beside it). Look for too little memory on the workers."
            ) from error
        except (CancelledError, OSError) as error:  # also timeouts, and a connection that was cut
            raise self._gone(error) from error

    def _gone(self, error: BaseException) -> EngineError:
        reason = str(error).partition("\n")[0] or type(error).__name__
        return EngineError(
            f"the scheduler of Dask at {self._address or 'this machine'} must be reachable, got "
            f"{reason[:120]}. Start it again and run the same command: finished shards are kept."
        )


def _started_here(distributed: Any, n_workers: int | None) -> Any:
    """Return a cluster on this machine.

    Dask makes the workers that it starts give freed memory back to the system at once. With that
    setting the C library also maps every array anew, page by page, which costs a third of the time
    of blocks that come and go; in workers that live as long as one job it gains nothing.
    """
    import dask

    class Nanny(distributed.Nanny):
        """Starts a worker, and another one where that dies, without the setting."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            with dask.config.set({f"distributed.nanny.pre-spawn-environ.{_FREED_MEMORY}": None}):
                super().__init__(*arguments, **options)

    return distributed.LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        worker_class=Nanny,
        dashboard_address=None,
        # Even without a dashboard it serves its state: on a port that is free.
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        silence_logs=50,
    )


def _knock(address: str) -> None:
    """Raise an OSError where nothing takes a connection: engines wait half a minute and more."""
    found = re.fullmatch(r"(?:\w+://)?\[?([\w.:-]+?)\]?:(\d{1,5})", address)
    if found is not None:  # others are not looked at
        host, port = found.group(1), int(found.group(2))
        socket.create_connection((host, port), SECONDS_TO_ANSWER).close()


def _within(seconds: float, start: Callable[[], R]) -> R:
    """Return start(), for which something that is no scheduler lets Dask wait for ever."""
    found: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(start())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not found:
        raise TimeoutError(f"no answer of Dask in {seconds:.0f} s")
    return found[0]


class _TaskError(Exception):
    """An OSError of a task, which must not be taken for one of the connection."""


def _call(item: T, *, function: Callable[[T], R]) -> R:
    try:
        return function(item)
    except OSError as error:
        raise _TaskError(error) from error


def _merged(merge: Callable[[R, R], R], first: R, *others: R) -> R:
    """Merge into a copy: Dask may need the first one again, where a worker is lost."""
    return reduce(merge, others, deepcopy(first))


def make_executor(
    engine: str = "processes", *, n_workers: int | None = None, address: Any = None
) -> AbstractContextManager[Any]:
    """Return the executor of that name, to be used in a ``with`` statement.

    Parameters
    ----------
    engine : {"processes", "dask"}
        Processes of this machine, or workers of Dask.
    n_workers : int, optional
        How many to start; left out, one for each core.
    address : str, or cluster of Dask, optional
        Of a cluster of Dask that runs; left out, workers are started here.

    Raises
    ------
    InputError
        If there is no such engine, or it has no address.
    EngineError
        If nothing answers at the address.
    """
    check_choice(engine, "the engine", ENGINES)
    if engine == "processes":
        if address is not None:
            raise InputError(
                f"the address must be of a cluster of Dask, got {address!r} for processes. "
                "Name the engine too: --engine dask"
            )
        return ProcessPool(n_workers)
    return DaskCluster(address, n_workers)
