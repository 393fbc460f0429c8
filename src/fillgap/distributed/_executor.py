"""The contract of an engine: map over items, and merge what comes back."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Protocol, TypeVar

from fillgap._checks import InputError
from fillgap._progress import Progress, silent
from fillgap._threads import one_blas_thread

__all__ = ["EngineError", "Executor", "ThisProcess", "knock"]

#: Seconds in which a machine of a cluster must take a connection.
SECONDS_TO_ANSWER = 5.0
T = TypeVar("T")
R = TypeVar("R")


class EngineError(InputError):
    """An engine that cannot go on: workers that keep dying, a scheduler that went away."""


def knock(address: str) -> None:
    """Raise an OSError where nothing takes a connection: engines wait half a minute and more.

    Parameters
    ----------
    address : str
        "host:port", with or without a protocol; others are not looked at.
    """
    found = re.fullmatch(r"(?:\w+://)?\[?([\w.:-]+?)\]?:(\d{1,5})", address)
    if found is not None:
        host, port = found.group(1), int(found.group(2))
        socket.create_connection((host, port), SECONDS_TO_ANSWER).close()


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

        `merge` is associative, and may change and return its first argument.
        """
        ...


class ThisProcess:
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
