"""Dask: workers of a cluster, or of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import reduce
from typing import Any, Self, TypeVar

from fillgap._checks import require
from fillgap._progress import Progress, silent
from fillgap.distributed._executor import EngineError, knock

__all__ = ["DaskCluster"]

T = TypeVar("T")
R = TypeVar("R")

#: Results that one task merges: what moves between workers, not to the scheduler.
MERGED_AT_ONCE = 8
#: The variable by which the C library is told what to do with freed memory.
_FREED_MEMORY = "MALLOC_TRIM_THRESHOLD_"


class DaskCluster:
    """Workers of Dask; results are merged where they are, in a tree.

    Parameters
    ----------
    address : str or cluster of Dask, optional
        Of a scheduler that runs, for example "tcp://10.0.0.1:8786", or a cluster that this process
        started, which is left running. It and its workers must have fillgap installed, and the
        workers see the shards under the same names. Left out, workers are started here.
    n_workers : int, optional
        How many to start here; left out, one for each core.
    patience : float
        Seconds after which a scheduler that does not answer has gone away.
    """

    def __init__(
        self, address: Any = None, n_workers: int | None = None, *, patience: float = 30.0
    ) -> None:
        distributed = require("distributed", "dask", "The engine Dask")
        self._address, self._cluster = address, None
        try:
            if isinstance(address, str):
                knock(address)
            elif address is None:
                self._cluster = _started_here(distributed, n_workers)
            self._client = _within(
                2 * patience,
                lambda: distributed.Client(self._cluster or address, timeout=patience),
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
        futures = self._start(function, todo)
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
        leaves = level = self._start(function, todo)
        while len(level) > 1:
            groups = [
                level[at : at + MERGED_AT_ONCE] for at in range(0, len(level), MERGED_AT_ONCE)
            ]
            level = [
                self._client.submit(_merged, merge, *group, pure=False) if group[1:] else group[0]
                for group in groups
            ]
        for leaf in leaves:
            leaf.add_done_callback(
                lambda _: report(
                    sum(other.done() for other in leaves), len(todo), f"{self.n_workers} workers"
                )
            )
        return self._result(level[0], todo[0])

    def _start(self, function: Callable[[T], R], items: list[T]) -> list[Any]:
        return self._client.map(_call, items, function=function, pure=False)

    def _result(self, future: Any, item: Any) -> Any:
        from concurrent.futures import CancelledError

        from distributed import KilledWorker

        try:
            return future.result()
        except _TaskError as error:
            raise error.args[0] from None
        except KilledWorker as error:
            name = getattr(item, "name", None) or "an item"
            raise EngineError(
                f"workers must live through the items of this job, got one that killed several "
                f"({name} or one beside it). Look for too little memory on the workers."
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
