"""Rows of CSV, TSV, JSON lines and Parquet files, one by one; damaged rows are handed out too."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from fillgap.errors import InputError
from fillgap.files import missing_path
from fillgap.io.names import reading

TABLE_SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".parquet")


class TableRow(NamedTuple):
    """A row, or why it cannot be used."""

    place: str  # for messages, for example "captions.csv, line 7"
    values: Mapping[str, Any]  # by the name of the column
    fault: str | None = None


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; refuse one that is missing, cut off, or not UTF-8."""
    if not path.is_file():
        raise missing_path(path)
    with reading(str(path), "a whole JSON file in UTF-8"):
        return json.loads(path.read_text(encoding="utf-8-sig"))


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, text) of each line that is not empty.

    Bytes that are not UTF-8 come out as lone surrogates, which tell that line apart.
    """
    _check_encoding(path)
    # Only a line feed ends a line: captions hold the other characters that str.splitlines knows.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if text := line.rstrip("\r\n"):
                yield number, text


def _check_encoding(path: Path) -> None:
    """Refuse a text file that is missing or begins as UTF-16 or as binary data do."""
    if not path.is_file():
        raise missing_path(path)
    with reading(str(path), "a text file"), path.open("rb") as file:
        start = file.read(1024)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        raise InputError(
            f"{path} must be text in UTF-8, got UTF-16 or binary data. Save it as UTF-8."
        )


def read_table(path: Path) -> Iterator[TableRow]:
    """Yield the rows of a .csv, .tsv, .jsonl or .parquet file; refuse one of another suffix."""
    if not path.is_file():
        raise missing_path(path)
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise InputError(
            f"{path} must end in {', '.join(TABLE_SUFFIXES)}, got {path.suffix!r}. Convert it."
        )
    if suffix == ".parquet":
        yield from _parquet_rows(path)
    elif suffix == ".jsonl":
        for number, line in read_lines(path):
            values: Any = None
            with suppress(ValueError, RecursionError):
                values = json.loads(line)
            fault = None if isinstance(values, dict) else "no whole JSON object"
            yield TableRow(f"{path.name}, line {number}", {} if fault else values, fault)
    else:
        yield from read_separated(path, "\t" if suffix == ".tsv" else ",")


def read_separated(
    path: Path, separator: str, header: Sequence[str] | None = None
) -> Iterator[TableRow]:
    """Yield the rows of a CSV file; the first line names the columns unless `header` does."""
    _check_encoding(path)
    # In tab-separated files a quotation mark is a character like any other.
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file, delimiter=separator, quoting=quoting, strict=True)
        try:
            names = header if header is not None else next(rows, [])
            for cells in rows:
                place = f"{path.name}, line {rows.line_num}"
                values = dict(zip(names, cells, strict=False))
                short = len(cells) < len(names)
                if cells:
                    yield TableRow(place, values, "row with too few columns" if short else None)
        except csv.Error as error:
            place = f"{path.name}, line {rows.line_num}"
            yield TableRow(place, {}, f"rest of the file unreadable ({error})")


def _parquet_rows(path: Path) -> Iterator[TableRow]:
    import pyarrow.parquet as pq

    with reading(str(path), "a whole Parquet file"):
        file = pq.ParquetFile(path)
    number = 0
    with file:
        for group in range(file.metadata.num_row_groups):
            with reading(str(path), "a whole Parquet file"):
                rows = file.read_row_group(group).to_pylist()
            for values in rows:
                yield TableRow(f"{path.name}, row {number}", values)
                number += 1


def choose_column(
    present: Sequence[str], wanted: str | None, usual: Sequence[str], what: str, where: object
) -> str:
    """Return the column asked for, or the first of the usual names; refuse if there is none."""
    lowered = {name.lower().strip(): name for name in present}
    for name in [wanted] if wanted is not None else usual:
        if name in present:
            return name
        if wanted is None and name in lowered:
            return lowered[name]
    sought = repr(wanted) if wanted is not None else " or ".join(repr(name) for name in usual)
    listed = ", ".join(repr(name) for name in present) or "none at all"
    raise InputError(
        f"{where} must hold the column of the {what} ({sought}), got {listed}. "
        f"Name it with the option {what}_column."
    )
