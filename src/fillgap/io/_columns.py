"""What stands beside embeddings: captions, names of rows, and the image of each text."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, InputTypeError
from fillgap.files import missing_path
from fillgap.io._names import SUFFIXES, full_name, listed, split_key
from fillgap.io._reading import open_binary, reading

__all__ = [
    "CAPTIONS",
    "IDS",
    "INDEX",
    "TABLE_SUFFIXES",
    "find_column",
    "read_captions",
    "read_column",
    "read_index",
]

#: Names under which people keep them, the likeliest first; compared without regard to case.
CAPTIONS = ("caption", "captions", "text", "texts")
IDS = ("id", "key", "image_path", "url")
INDEX = ("image_index",)
#: Suffixes of the formats that have columns beside the embeddings.
TABLE_SUFFIXES = (".parquet", ".arrow", ".feather")


def read_captions(spec: str | Path) -> list[str]:
    """Return the texts in a file.

    Parameters
    ----------
    spec : str or path
        A .txt file with one a line, a .json file with a list of strings, or a .csv, .parquet,
        .arrow or .feather file with a column `caption` or one named as in "file.csv:title".

    Raises
    ------
    InputError, InputTypeError
        If the file is missing, damaged or of another kind, or does not hold texts.
    """
    path, key = _existing(spec)
    readers: dict[str, Callable[[], Any]] = {
        ".txt": partial(_lines, path),
        ".json": partial(_json_list, path),
        ".csv": partial(_csv_column, path, key),
    }
    suffix = path.suffix.lower()
    values = readers[suffix]() if suffix in readers else _table_column(path, key, CAPTIONS)
    return _as_texts(values, full_name(path, key))


def read_index(spec: str | Path) -> NDArray[np.integer[Any]]:
    """Return row numbers: a 1-D .npy file, or a column (default `image_index`) of a table."""
    path, key = _existing(spec)
    if path.suffix.lower() == ".npy":
        with reading(str(path), "an .npy file of row numbers"):
            index = _array(path)
    else:
        index = np.asarray(_table_column(path, key, INDEX))
    if index.dtype.kind not in "iu" or index.ndim != 1:
        raise InputTypeError(
            f"{full_name(path, key)} must be a 1-D list of row numbers, "
            f"got {index.dtype} of shape {index.shape}. Count the rows of the images from 0."
        )
    return index


def _array(path: Path) -> NDArray[Any]:
    with open_binary(path) as stream:
        return np.load(stream, allow_pickle=False)


def find_column(paths: Sequence[Path], names: Sequence[str]) -> str | None:
    """Return the first of `names` that every table has as a column of plain values."""
    flat = [
        {name.lower(): name for name, is_flat in _columns(path).items() if is_flat}
        for path in paths
    ]
    shared = [name for name in names if all(name in columns for columns in flat)]
    return flat[0][shared[0]] if shared else None


def read_column(paths: Sequence[Path], name: str) -> list[Any]:
    """Return one column of several tables, one after the other, as plain Python values."""
    values: list[Any] = []
    for path in paths:
        table = _table(path)
        with reading(full_name(path, name), table.KIND):
            for batch in table.batches(path, [name], 1 << 16):
                values += batch.column(name).to_pylist()
    return values


def _existing(spec: str | Path) -> tuple[Path, str | None]:
    path, key = split_key(spec)
    if not path.is_file():
        raise missing_path(path)
    return path, key


def _lines(path: Path) -> list[str]:
    """Return the lines, split at line ends alone: a caption may hold other separators."""
    with reading(str(path), "a text file in UTF-8"):
        text = path.read_text(encoding="utf-8-sig")
    return text.removesuffix("\n").split("\n")


def _json_list(path: Path) -> list[Any]:
    with reading(str(path), "a JSON file"):
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(values, list):
        raise InputTypeError(
            f"{path} must be a list of texts, got {type(values).__name__}. "
            "Write one JSON list with a string for each row."
        )
    return values


def _csv_column(path: Path, key: str | None) -> list[Any]:
    with (
        reading(str(path), "a CSV file in UTF-8"),
        path.open(encoding="utf-8-sig", newline="") as f,
    ):
        rows = list(csv.reader(f, strict=True))
    header = rows[0] if rows else []
    lowered = [name.lower() for name in header]
    wanted = [header.index(key)] if key in header else []
    if key is None:
        wanted = [lowered.index(name) for name in CAPTIONS if name in lowered]
    if not wanted:
        raise _no_column(path, (key,) if key is not None else CAPTIONS, header)
    return [row[wanted[0]] if wanted[0] < len(row) else None for row in rows[1:] if row]


def _table_column(path: Path, key: str | None, names: Sequence[str]) -> list[Any]:
    column = find_column([path], names) if key is None else key
    present = list(_columns(path))
    if column is None or column not in present:
        raise _no_column(path, names if key is None else (key,), present)
    return read_column([path], column)


def _no_column(path: Path, wanted: Sequence[str | None], present: Sequence[str]) -> InputError:
    return InputError(
        f"{path} must hold the column {' or '.join(repr(name) for name in wanted)}, "
        f"got {listed(present)}. Name one of these behind a colon."
    )


def _columns(path: Path) -> dict[str, bool]:
    """Return the names of the columns, and whether each holds plain values."""
    table = _table(path)
    with reading(str(path), table.KIND):
        return {field.name: not field.type.num_fields for field in table.read_schema(path)}


def _table(path: Path) -> Any:
    """Return the adapter of a format that has columns."""
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise InputError(
            f"{path} must be a file with columns ({', '.join(TABLE_SUFFIXES)}), "
            f"got {path.suffix!r}. Convert it first."
        )
    return import_module(f"fillgap.io.{SUFFIXES[suffix]}")


def _as_texts(values: Sequence[Any], name: str) -> list[str]:
    """Return the values with nothing for what is missing; refuse what is no text."""
    texts = ["" if value is None else value for value in values]
    for row, value in enumerate(texts):
        if not isinstance(value, str):
            raise InputTypeError(
                f"{name} must be text in every row, got {value!r:.40} in row {row}. "
                "Name the column that holds the captions."
            )
    return texts
