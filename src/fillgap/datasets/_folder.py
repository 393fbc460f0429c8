"""A folder of images with captions in a table: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fillgap._checks import InputError
from fillgap._files import missing_path
from fillgap.datasets._collect import Collector
from fillgap.datasets._files import OUTSIDE, FolderImages, find_named, is_inside
from fillgap.datasets._record import Dataset
from fillgap.datasets._tables import TABLE_SUFFIXES, choose_column, read_table

__all__ = ["CAPTION_COLUMNS", "IMAGE_COLUMNS", "open_folder"]

IMAGE_COLUMNS: Final = (
    "file_name", "filename", "file", "image", "image_path", "filepath", "path", "img",
)  # fmt: skip
CAPTION_COLUMNS: Final = (
    "caption", "captions", "text", "title", "description", "sentence", "sentences", "raw",
)  # fmt: skip


def open_folder(
    path: Path, *, captions: str | None = None, image_column: str | None = None,
    caption_column: str | None = None,
) -> Dataset:  # fmt: skip
    """Open a folder of images with a table of file names and captions.

    Parameters
    ----------
    path : Path
        The folder.
    captions : str, optional
        The table, where it is not the only one in the folder: below `path`, or a path of its own.
        File names are relative to `path`.
    image_column, caption_column : str, optional
        Columns; left out, the usual names are tried (file_name, image, path; caption, text). A
        caption can be a list of texts. Rows of one image are its captions.
    """
    pictures = FolderImages(path)
    table = find_named(path, captions) if captions else _only_table(path)
    if not table.is_file():
        raise missing_path(table)
    found = Collector(path.name, table, read=pictures.path)
    texts: dict[str, list[Any]] = {}
    columns: tuple[str, str] | None = None
    for row in read_table(table):
        if row.fault:
            found.leave_out(row.place, row.fault)
            continue
        if columns is None:
            present = list(row.values)
            columns = (
                choose_column(present, image_column, IMAGE_COLUMNS, "image", table),
                choose_column(present, caption_column, CAPTION_COLUMNS, "caption", table),
            )
        name, caption = (row.values.get(column) for column in columns)
        if not isinstance(name, str) or not name:
            found.leave_out(row.place, "caption without an image left out")
            continue
        texts.setdefault(name, []).extend(caption if isinstance(caption, list) else [caption])
    for name, listed in texts.items():
        if not is_inside(name):
            found.leave_out(name, OUTSIDE)
        else:
            found.add(name, name if name in pictures else None, listed)
    return found.dataset()


def _only_table(path: Path) -> Path:
    there = [file for file in sorted(path.iterdir()) if file.suffix.lower() in TABLE_SUFFIXES]
    named = [file for file in there if file.stem in ("metadata", "captions")]
    if len(there) == 1 or len(named) == 1:
        return (named or there)[0]
    listed = ", ".join(file.name for file in there) or "none"
    raise InputError(
        f"{path} must hold one table of captions ({', '.join(TABLE_SUFFIXES)}), got {listed}. "
        "Name it with the option captions."
    )
