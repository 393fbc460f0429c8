"""Questions to stores that fsspec reaches: answered in time, or refused in one sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable
from errno import ENOENT
from typing import Any, TypeVar, cast

from fillgap._checks import InputError, require

__all__ = [
    "PATIENCE_FOR_BYTES",
    "PATIENCE_FOR_FILES",
    "ask",
    "first_line",
    "open_store",
]

T = TypeVar("T")

#: Seconds in which a store must answer a question, and bring a block, or bring or take a file.
PATIENCE = 30.0
PATIENCE_FOR_BYTES = 300.0
PATIENCE_FOR_FILES = 3600.0


def open_store(url: str, shown: str) -> tuple[Any, str]:
    """Return the file system of an address, and the name of the file there.

    Parameters
    ----------
    url, shown : str
        The address, and what messages show of it.
    """
    protocol = url.partition("://")[0]
    fsspec = require("fsspec", "remote", f"Reading {protocol}://")
    try:
        system, name = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ImportError(
            f"{protocol}:// needs a package that is not installed ({error}). "
            "Run: pip install 'fillgap[remote]'"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{shown} must be of a protocol that fsspec knows, got {protocol!r}. "
            "Write for example s3://bucket/folder."
        ) from error
    return system, name


def ask(shown: str, question: Callable[..., T], *args: Any, seconds: float | None = None) -> T:
    """Return question(*args), which a store must answer in time.

    Parameters
    ----------
    shown : str
        What messages call the file.
    question : callable
        Asked in a thread of its own, since libraries of stores wait for minutes.
    seconds : float, optional
        Default: `PATIENCE`.

    Raises
    ------
    FileNotFoundError
        If the answer is that nothing is there.
    InputError
        If the store cannot be reached, refuses, or does not answer.
    """
    limit = PATIENCE if seconds is None else seconds
    answer: dict[str, Any] = {}

    def run() -> None:
        try:
            answer["value"] = question(*args)
        except BaseException as error:
            answer["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    error = answer.get("error", None if "value" in answer else TimeoutError())
    if error is None:
        return cast("T", answer["value"])
    if isinstance(error, FileNotFoundError) and _says_missing(error):
        raise FileNotFoundError(ENOENT, "No such file or directory", shown) from error
    if isinstance(error, (InputError, ImportError)):
        raise error
    waited = isinstance(error, TimeoutError) and not str(error)
    reason = f"no answer in {limit:.0f} s" if waited else first_line(error.__cause__ or error)
    raise InputError(
        f"{shown} must be reachable, got {reason!r}. Check the address, the network, and the "
        "credentials in fsspec's own configuration."
    ) from error


def first_line(error: BaseException) -> str:
    """Return what an error says, in a line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def _says_missing(error: FileNotFoundError) -> bool:
    """Tell an answer that nothing is there from what fsspec makes of a web server's silence."""
    cause = error.__cause__
    if cause is None:
        return True
    silent = "Connect" in type(cause).__name__ or isinstance(cause, TimeoutError)
    return not silent and getattr(cause, "status", 404) in {404, 410}
