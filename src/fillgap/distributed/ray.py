"""Ray: workers of a cluster, or of this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any, Self, TypeVar

from fillgap._checks import require
from fillgap._progress import Progress, silent
from fillgap.distributed._executor import EngineError, knock
from fillgap.distributed.processes import AHEAD

__all__ = ["RayCluster"]

T = TypeVar("T")
R = TypeVar("R")


class RayCluster:
    """Workers of Ray.

    Parameters
    ----------
    address : str, optional
        Of a cluster that runs ("auto" on one of its machines). Left out, Ray is started here.
    n_workers : int, optional
        How many items are worked on at a time; left out, as many as Ray has cores.
    """

    def __init__(self, address: str | None = None, n_workers: int | None = None) -> None:
        ray = self._ray = require("ray", "ray", "The engine Ray")
        local = {} if address else {"num_cpus": n_workers, "include_dashboard": False}
        try:
            if address is not None:
                knock(address)
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **local)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise _gone(error) from error
        self.n_workers = n_workers or int(ray.cluster_resources().get("CPU", 1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of Ray; what was started here is stopped."""
        self._ray.shutdown()

    def map(
        self, function: Callable[[T], R], items: Iterable[T], *, progress: Progress | None = None
    ) -> Iterator[R]:
        """Yield function(item) for each item, in the order of the items."""
        todo, report = list(items), progress or silent
        call = self._ray.remote(max_retries=3)(_call)
        shared, running = self._ray.put(function), deque[Any]()
        for done in range(len(todo)):
            while len(running) < AHEAD * self.n_workers and done + len(running) < len(todo):
                running.append(call.remote(shared, todo[done + len(running)]))
            yield self._result(running.popleft())
            report(done + 1, len(todo), f"{self.n_workers} workers of Ray")

    def map_reduce(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        merge: Callable[[R, R], R],
        *,
        progress: Progress | None = None,
    ) -> R:
        """Return function(item) merged over all items, in their order."""
        from copy import deepcopy

        results = self.map(function, items, progress=progress)
        return reduce(merge, results, deepcopy(next(results)))  # what Ray hands out is read-only

    def _result(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            raise _gone(error) from error


def _call(function: Callable[[T], R], item: T) -> R:
    return function(item)


def _gone(error: BaseException) -> EngineError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return EngineError(
        f"Ray must be reachable and its workers alive, got {reason[:120]}. "
        "Start it again and run the same command: finished shards are kept."
    )
