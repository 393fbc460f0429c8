"""The device of a worker, and the blocks that it moves there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from multiprocessing import current_process
from typing import Any

from fillgap._checks import InputError
from fillgap._device import choose_device, to_device
from fillgap.distributed._executor import EngineError
from fillgap.distributed._pieces import Piece

__all__ = ["blocks_on", "device_here", "name_here", "shared_out", "worker_number"]


def shared_out(name: str | None, worker: int, count: int) -> str | None:
    """Return the device of one of several workers: GPUs that are not numbered are dealt out.

    Parameters
    ----------
    name : str or None
        As it was given: "cuda" is shared out, "cuda:1" and others are meant as they are written.
    worker : int
        Number of the worker.
    count : int
        GPUs of its machine.
    """
    return f"cuda:{worker % count}" if name == "cuda" and count > 1 else name


def name_here(name: str | None) -> str | None:
    """Return the device of this worker by its name."""
    if name != "cuda":
        return name
    import torch

    return shared_out(name, worker_number(), torch.cuda.device_count())


def worker_number() -> int:
    """Return the number of this process among those that one parent started, from 0."""
    identity = getattr(current_process(), "_identity", ())
    return int(identity[-1]) - 1 if identity else 0


@cache
def device_here(name: str) -> Any:
    """Return the device of this worker.

    Raises
    ------
    EngineError
        If there is none of that name: no shard is to blame, and none may be skipped for it.
    """
    try:
        return choose_device(str(name_here(name)))
    except InputError as error:
        raise EngineError(f"of a worker, {error}") from error


def blocks_on(piece: Piece, name: str | None) -> Iterator[tuple[int, Any | None, Any | None]]:
    """Yield the blocks of a piece, as tensors of the worker's device where one is named."""
    if name is None:
        yield from piece.blocks()
        return
    device = device_here(name)
    for first_row, *sides in piece.blocks():
        x, y = (None if side is None else to_device(side, device) for side in sides)
        yield first_row, x, y
