"""Workers with a clock: what each of them did, for jobs that are no sums over shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar

from fillgap._progress import Progress
from fillgap.distributed._executor import Executor
from fillgap.distributed._work import JobReport, name_of_worker, with_rate

__all__ = ["Watched"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Timed(Generic[T, R]):
    """A function that also says who ran it, and for how long."""

    function: Callable[[T], R]

    def __call__(self, item: T) -> tuple[R, str, float]:
        """Return what the function makes of the item, the worker, and its seconds."""
        started = perf_counter()
        result = self.function(item)
        return result, name_of_worker(), perf_counter() - started


class Watched:
    """An executor that reports what its workers did.

    Parameters
    ----------
    executor : Executor
        Who does the work.
    what : str
        What is counted.
    size : callable
        How much of it an item is.

    Attributes
    ----------
    report : JobReport
        With what was counted as its rows.
    """

    def __init__(
        self, executor: Executor, what: str, size: Callable[[Any], int] = lambda _: 1
    ) -> None:
        self._executor, self._what, self._size = executor, what, size
        self.n_workers, self.report = executor.n_workers, JobReport()

    def map(
        self, function: Callable[[T], R], items: Iterable[T], *, progress: Progress | None = None
    ) -> Iterator[R]:
        """Yield function(item) for each item, in the order of the items."""
        todo, started = list(items), perf_counter()
        count = sum(map(self._size, todo))
        shown = with_rate(progress, count, self.n_workers, self._what)
        results = self._executor.map(Timed(function), todo, progress=shown)
        for item, (result, worker, seconds) in zip(todo, results, strict=True):
            n = self._size(item)
            self.report.add(
                JobReport(n_rows=n, workers={worker: seconds}, rows_of_workers={worker: n})
            )
            yield result
        self.report.seconds += perf_counter() - started

    def map_reduce(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        merge: Callable[[R, R], R],
        *,
        progress: Progress | None = None,
    ) -> R:
        """Return function(item) merged over all items, which is not watched."""
        return self._executor.map_reduce(function, items, merge, progress=progress)
