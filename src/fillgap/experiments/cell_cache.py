"""Cells that were computed before, by the hash of all that they depend on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fillgap import __version__
from fillgap._checks import InputError
from fillgap._files import atomic_file
from fillgap.experiments.experiment_cells import Cell

__all__ = ["CellCache", "cell_key", "default_cache"]

#: Raised when the same specification gives other numbers than before within a version.
_REVISION: Final = 1


def default_cache() -> Path:
    """Return the folder that $FILLGAP_CACHE names, or one in the user's folder of caches."""
    if named := os.environ.get("FILLGAP_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fillgap" / "cells"


def cell_key(depends: Mapping[str, Any]) -> str:
    """Return the hash of what a cell depends on, the version of this program included.

    Parameters
    ----------
    depends : mapping
        What JSON can hold.
    """
    whole = {**depends, "version": __version__, "revision": _REVISION}
    text = json.dumps(whole, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class CellCache:
    """A folder of cells, one small JSON file each; None keeps nothing.

    Parameters
    ----------
    folder : str, path or None
        Made when the first cell is kept.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)

    def get(self, key: str) -> Cell | None:
        """Return a cell, or None where it is not there or damaged."""
        if self._folder is None:
            return None
        try:
            found = json.loads(self._path(key).read_text(encoding="utf-8"))
            values = {part: float(value) for part, value in found["values"].items()}
            return Cell(values, found["reason"], found["note"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, key: str, cell: Cell) -> None:
        """Keep a cell.

        Raises
        ------
        InputError
            If the folder cannot be written.
        """
        if self._folder is None:
            return
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the cache {self._folder} must be a folder that can be written, got "
                f"{os.strerror(error.errno or 0)!r}. Choose another."
            ) from error
        # Python reads "inf" back as a number; JSON itself has no infinity.
        values = {part: repr(value) for part, value in cell.values.items()}
        document = {"values": values, "reason": cell.reason, "note": cell.note}
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")

    def _path(self, key: str) -> Path:
        return (self._folder or Path()) / key[:2] / f"{key}.json"
