"""Functions that workers of other processes import in the tests of executors."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fillgap.distributed.pieces import worker_number


def write_shards(root: Path, X: np.ndarray, Y: np.ndarray, cuts: list[int]) -> Path:
    """Write pairs as a clip-retrieval folder."""
    for side, rows in (("img_emb", X), ("text_emb", Y)):
        (root / side).mkdir(parents=True)
        for i, part in enumerate(np.split(rows, cuts)):
            np.save(root / side / f"{side}_{i}.npy", part)
    return root


def snapshot(folder: Path) -> dict[str, bytes]:
    """What a folder holds, by the path within it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@dataclass(frozen=True)
class Fatal:
    """Kill the worker that gets the item `victim`, once; each call leaves a mark."""

    folder: str
    victim: int
    always: bool = False

    def __call__(self, item: int) -> int:
        mark = Path(self.folder) / f"{item}-{os.getpid()}-{os.urandom(4).hex()}"
        fallen = Path(self.folder) / "fallen"
        if item == self.victim and (self.always or not fallen.exists()):
            fallen.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        mark.touch()
        return item * item


@dataclass(frozen=True)
class FatalOnce:
    """Call a function, and kill the first process that does so."""

    function: Callable[[], Any]
    folder: str

    def __call__(self) -> Any:
        fallen = Path(self.folder) / "fallen"
        if not fallen.exists():
            fallen.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.function()


@dataclass(frozen=True)
class Slow:
    """Leave a mark, and take a moment."""

    folder: str

    def __call__(self, item: int) -> int:
        (Path(self.folder) / str(item)).touch()
        time.sleep(0.1)
        return item


@dataclass(frozen=True)
class Broken:
    """Fail as a disk does."""

    def __call__(self, item: int) -> int:
        raise OSError(5, "the disk is broken")


def numbered(_: int) -> int:
    """Return the number of this worker, after a moment in which others get an item."""
    time.sleep(0.2)
    return worker_number()
