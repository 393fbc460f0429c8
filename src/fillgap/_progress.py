"""The progress callback that long functions accept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Progress", "silent"]

#: Called as progress(done, total, what); total is None where it is not known beforehand.
Progress: TypeAlias = Callable[[int, int | None, str], None]


def silent(done: int, total: int | None, what: str) -> None:
    """Report nothing: what `progress=None` means."""
