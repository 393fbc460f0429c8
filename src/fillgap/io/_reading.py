"""What all readers share: damage put into words, the rules of shape, blocks of exact size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from errno import EINVAL
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, InputTypeError, check_integer, check_matrix
from fillgap.remote import is_remote

__all__ = [
    "WRITE_AGAIN",
    "Apply",
    "Block",
    "check_stored",
    "exact_blocks",
    "guarded",
    "open_binary",
    "read_ahead",
    "reading",
]

#: What to do about a damaged file.
WRITE_AGAIN = "Write the file again, or copy it again if the transfer broke off."
Block: TypeAlias = NDArray[np.floating[Any]]
#: Called as apply(rows, number of the first one); returns as many rows to write instead.
Apply: TypeAlias = Callable[[Block, int], Block]
_T = TypeVar("_T")


def open_binary(path: Path) -> BufferedReader:
    """Open a file for reading: the one place that knows where bytes come from."""
    return path.open("rb")  # of this machine, or in a store


@contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """Turn whatever a parser raises over damaged bytes into one sentence about the file.

    Parsers of damaged files raise nearly anything (KeyError, zlib.error, RecursionError,
    MemoryError), so everything is caught, and bodies are kept to the call of the parser.

    Parameters
    ----------
    name : str
        The path, with the key where there is one.
    kind : str
        For example "an .npz archive".
    """
    try:
        yield
    except (InputError, InputTypeError):
        raise
    except Exception as error:
        # Seeking to where a damaged header points is an invalid argument, no fault of the system.
        if isinstance(error, OSError) and error.errno not in (None, EINVAL):
            raise InputError(
                f"{name} must be readable, got {os.strerror(error.errno)!r}. "
                "Check that the file is there and that you may read it."
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"{name} must be {kind}, got other or damaged content ({reason[:120]}). {WRITE_AGAIN}"
        ) from error


def guarded(items: Iterable[_T], name: str, kind: str) -> Iterator[_T]:
    """Yield from `items`; an error while the next one is made is one about the file."""
    iterator = iter(items)
    while True:
        with reading(name, kind):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def check_stored(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
    """Refuse an array that cannot be embeddings, judged by its shape and type alone.

    Raises
    ------
    InputTypeError
        If the entries are not float16, float32 or float64.
    InputError
        If it is not 2-D or has no rows.
    """
    if dtype.hasobject:
        raise InputTypeError(
            f"{name} must be floating point numbers, got pickled objects, which are never loaded. "
            "Save one 2-D array made with numpy.stack."
        )
    if dtype.kind == "f" and dtype.itemsize not in (2, 4, 8):
        raise InputTypeError(
            f"{name} must be float16, float32 or float64, got {dtype}. "
            "Convert it with .astype('float64')."
        )
    with reading(name, "an array of embeddings"):
        # No memory lies behind these entries; the shape and the type are all that is looked at.
        check_matrix(np.broadcast_to(np.empty((), dtype), shape), name)


def exact_blocks(chunks: Iterable[Block], block_rows: int) -> Iterator[Block]:
    """Yield the rows of `chunks` in blocks of exactly `block_rows`, the last one shorter."""
    check_integer(block_rows, "block_rows", low=1)
    kept: list[Block] = []
    count = 0
    for chunk in chunks:
        start = 0
        while count + len(chunk) - start >= block_rows:
            stop = start + block_rows - count
            kept.append(chunk[start:stop])
            yield _joined(kept)
            kept, count, start = [], 0, stop
        if start < len(chunk):
            kept.append(chunk[start:])
            count += len(chunk) - start
    if kept:
        yield _joined(kept)


def read_ahead(path: Path, blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks of a file; of one in a store, the next comes while this one is worked on."""
    if not is_remote(path):
        yield from blocks
        return
    iterator = iter(blocks)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, iterator, None)
        while (block := coming.result()) is not None:
            coming = thread.submit(next, iterator, None)
            yield block


def _joined(parts: list[Block]) -> Block:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
