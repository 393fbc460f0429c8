"""The contract of an engine: map over items, and merge what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from fillgap._checks import InputError
from fillgap._progress import Progress

__all__ = ["EngineError", "Executor"]

T = TypeVar("T")
R = TypeVar("R")


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

        `merge` is associative, and may change and return its first argument.
        """
        ...
