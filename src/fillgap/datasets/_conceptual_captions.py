"""Conceptual Captions: a table of captions and addresses, and the images that were fetched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from fillgap._checks import InputError, check_choice
from fillgap._files import missing_path
from fillgap.datasets._collect import Collector
from fillgap.datasets._files import OUTSIDE, FolderImages, find_folder, find_named, is_inside
from fillgap.datasets._record import Dataset
from fillgap.datasets._tables import read_separated
from fillgap.datasets._web import open_web

__all__ = ["open_conceptual_captions"]


def _last_part(row: int, url: str) -> str:  # noqa: ARG001
    return PurePosixPath(unquote(urlsplit(url).path)).stem if "://" in url else url


def _row_number(row: int, url: str) -> str:  # noqa: ARG001
    return str(row)


def _md5(row: int, url: str) -> str:  # noqa: ARG001
    return hashlib.md5(url.encode(errors="replace"), usedforsecurity=False).hexdigest()


#: How the images that were fetched are named: from the row, counted from 0, and the address.
NAMES: Final[dict[str, Callable[[int, str], str]]] = {
    "file": _last_part,
    "row": _row_number,
    "md5": _md5,
}


def open_conceptual_captions(
    path: Path, *, images: str | None = None, names: str = "file"
) -> Dataset:
    """Open Conceptual Captions: FOLDER/*.tsv of captions and addresses, or img2dataset shards.

    Parameters
    ----------
    path : Path
        The folder, or the TSV file; a folder of .tar files is read as they are.
    images : str, optional
        Folder of the images, where it is not named images beside the table: beside it, or a path.
    names : {"file", "row", "md5"}
        How the images are called: as in their address (or the path that stands in its place), by
        the number of the row from 0 (zeros before it do not matter), or by the MD5 of the address.
    """
    check_choice(names, "names", tuple(NAMES))
    if path.is_dir() and next(path.glob("*.tar"), None):
        return open_web(path)
    table = _table(path)
    usual = ("images", "training", "data")
    folder = find_named(table.parent, images) if images else find_folder(table.parent, usual)
    pictures = FolderImages(folder)
    by_stem = {_stem(name): name for name in pictures.walk()}
    found = Collector(f"Conceptual Captions ({table.stem})", table, read=pictures.path)
    rule = NAMES[names]
    for number, row in enumerate(read_separated(table, "\t", ("caption", "url"))):
        if row.fault:
            found.leave_out(row.place, row.fault)
            continue
        url = str(row.values["url"]).strip()
        if "://" not in url and not is_inside(url):
            found.leave_out(row.place, OUTSIDE)
            continue
        whole = url if names == "file" and url in pictures else None
        stem = _stem(rule(number, url))
        found.add(f"{number:08}", whole or by_stem.get(stem), [row.values["caption"]])
    return found.dataset()


def _table(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise missing_path(path)
    there = sorted(path.glob("*.tsv"))
    if len(there) != 1:
        listed = ", ".join(file.name for file in there) or "none"
        raise InputError(
            f"{path} must hold one .tsv file or .tar shards, got {listed}. Name the file itself."
        )
    return there[0]


def _stem(name: str) -> str:
    """Return a file name without its folder, suffix and leading zeros."""
    stem = PurePosixPath(name).name.rpartition(".")[0] or PurePosixPath(name).name
    return stem.lstrip("0") or "0" if stem.isdecimal() else stem
