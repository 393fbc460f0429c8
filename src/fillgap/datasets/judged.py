"""Queries, documents and judgements in the folders of MixBench and of BEIR."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fillgap.datasets.records import Dataset, ListedDataset, Record
from fillgap.datasets.tables import TableRow, read_table
from fillgap.errors import InputError
from fillgap.files import missing_path

_SUFFIXES: Final = (".jsonl", ".parquet")
_QUERIES: Final = ("queries", "query")
#: MixBench has both; its mixed one is the one that is searched.
_CORPORA: Final = ("mixed_corpus", "corpus")
_ID: Final = ("_id", "id")
_QUERY_ID: Final = ("query_id", "query-id", *_ID)
_CORPUS_ID: Final = ("corpus_id", "corpus-id", *_ID)


@dataclass(frozen=True)
class JudgedItem:
    """A query or a document: a text, a picture, or both."""

    id: str
    text: str | None  # with the title before it where there is one
    image: str | bytes | None  # as the folder names it, or the encoded picture

    @property
    def kind(self) -> str:
        """What it is of: "image", "text" or "image+text"."""
        parts = [name for name in ("image", "text") if getattr(self, name) is not None]
        return "+".join(parts)


@dataclass(frozen=True)
class Judged:
    """Queries and documents in the order of a folder, and which of them belong together."""

    folder: Path
    queries: list[JudgedItem]  # also those without a relevant document
    documents: list[JudgedItem]
    #: Number of a query, number of a document, and how relevant it is, above 0.
    relevant: list[tuple[int, int, float]]


def is_judged(folder: str | Path) -> bool:
    """Return whether a path is a folder with queries, a corpus or judgements in it."""
    path = Path(folder)
    return path.is_dir() and (
        (path / "qrels").is_dir() or any(_found(path, names) for names in (_QUERIES, _CORPORA))
    )


def open_judged(folder: str | Path, *, split: str | None = None) -> Judged:
    """Read a folder of judged search; `split` names a file of `qrels/`: `test`, or the only one.

    MixBench: `queries`, `mixed_corpus` (else `corpus`) as .jsonl or .parquet with the columns
    `query_id` or `corpus_id`, `text` and `image`, and `qrels/qrels.tsv`. BEIR: `queries.jsonl` and
    `corpus.jsonl` with `_id`, `title` and `text`, and `qrels/SPLIT.tsv`. What has a text and a
    picture is of both. What is missing or damaged is refused, and a judgement of what is not there.
    """
    path = Path(folder)
    queries, documents = _read_items(path)
    numbers = {item.id: i for i, item in enumerate(documents)}
    judged: dict[str, dict[int, float]] = {item.id: {} for item in queries}
    file = _judgements(path, split)
    for row in _whole(file):
        query, document = _value(row, _QUERY_ID[:2]), _value(row, _CORPUS_ID[:2])
        for what, name, there in (("query", query, judged), ("document", document, numbers)):
            if name not in there:
                raise InputError(
                    f"{row.place} must judge a {what} of this folder, got {name!r}. "
                    "Take queries, corpus and judgements of one version of the data."
                )
        try:
            grade = float(_value(row, ("score", "relevance")))
        except ValueError:
            grade = math.nan
        if not math.isfinite(grade):
            raise InputError(
                f"{row.place} must have a number as its score, got {row.values.get('score')!r}. "
                "Mend that row."
            )
        if grade > 0:
            judged[query][numbers[document]] = grade
    relevant = [
        (number, document, grade)
        for number, item in enumerate(queries)
        for document, grade in judged[item.id].items()
    ]
    if not relevant:
        raise InputError(
            f"{file} must judge at least one document relevant, got none. Choose another split."
        )
    return Judged(path, queries, documents, relevant)


def open_halves(path: Path) -> Dataset:
    """Open the queries and documents of a judged folder as what is to be embedded.

    Every image and every text is a record of its own, and is needed: one vector each. Judgements
    are not read.
    """
    records = [
        Record(name, _picture(path, item), ())
        if side == "image"
        else Record(name, None, (str(item.text),))
        for name, item, side in halves_of(*_read_items(path))
    ]
    return ListedDataset(path.name, records)


def halves_of(
    queries: list[JudgedItem], documents: list[JudgedItem]
) -> list[tuple[str, JudgedItem, Literal["image", "text"]]]:
    """Return every image and text to be embedded: its name, for example "query_texts/ID"."""
    return [
        (f"{who}_{side}s/{item.id}", item, side)
        for who, items in (("query", queries), ("corpus", documents))
        for side in ("image", "text")
        for item in items
        if getattr(item, side) is not None
    ]


def _picture(folder: Path, item: JudgedItem) -> Path | bytes:
    """Return the picture of an item; its name may be one within `images/`."""
    if isinstance(item.image, bytes):
        return item.image
    name = str(item.image)
    for path in (folder / name, folder / "images" / name, folder / "images" / Path(name).name):
        if path.is_file():
            return path
    raise InputError(
        f"the image of {item.id!r} must be a file of {folder} or of its images/, got {name!r}, "
        "which is in neither. Copy the images there, or bench vectors of them with --embeddings."
    )


def _read_items(path: Path) -> tuple[list[JudgedItem], list[JudgedItem]]:
    """Return queries and documents."""
    if not path.is_dir():
        raise missing_path(path)
    documents = _items(_table(path, _CORPORA), _CORPUS_ID)
    return _items(_table(path, _QUERIES), _QUERY_ID), documents


def _found(folder: Path, names: tuple[str, ...]) -> Path | None:
    files = (folder / f"{name}{suffix}" for name in names for suffix in _SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _table(folder: Path, names: tuple[str, ...]) -> Path:
    file = _found(folder, names)
    if file is None:
        inside = [file.parent.name for file in sorted(folder.glob(f"*/{names[-1]}.*"))]
        remedy = f"Pass one of its folders: {', '.join(inside)}." if inside else "Copy it there."
        raise InputError(f"{folder} must hold {names[0]}.jsonl or .parquet, got neither. {remedy}")
    return file


def _judgements(folder: Path, split: str | None) -> Path:
    files = {file.stem: file for file in sorted((folder / "qrels").glob("*.tsv"))}
    wanted = [split] if split is not None else ["test", *(files if len(files) == 1 else ())]
    for name in wanted:
        if name in files:
            return files[name]
    listed = ", ".join(files) or "none"
    remedy = "Choose one of them." if files else "Judgements say what is relevant: copy them there."
    raise InputError(
        f"{folder / 'qrels'} must hold the judgements {wanted[0]}.tsv, got {listed}. {remedy}"
    )


def _items(file: Path, id_columns: tuple[str, ...]) -> list[JudgedItem]:
    items, seen = [], set[str]()
    for row in _whole(file):
        parts = (row.values.get(name) for name in ("title", "text"))
        words = " ".join(part.strip() for part in parts if isinstance(part, str) and part.strip())
        image = row.values.get("image")
        if isinstance(image, Mapping):  # Hugging Face keeps an image as a mapping of both
            image = image.get("bytes") or image.get("path")
        image = image if isinstance(image, (str, bytes)) and image else None
        item = JudgedItem(_value(row, id_columns), words or None, image)
        if item.id in seen or not item.kind:
            what = f"{item.id!r} twice" if item.kind else "neither a text nor an image"
            raise InputError(
                f"{row.place} must be an item of its own with a text or an image, got {what}. "
                "Remove that row."
            )
        seen.add(item.id)
        items.append(item)
    if not items:
        raise InputError(f"{file} must hold at least one row, got none. Copy it again.")
    return items


def _whole(file: Path) -> Iterator[TableRow]:
    for row in read_table(file):
        if row.fault is not None:
            raise InputError(f"{row.place} must be a whole row, got {row.fault}. Copy it again.")
        yield row


def _value(row: TableRow, names: tuple[str, ...]) -> str:
    for name in names:
        if row.values.get(name) is not None:
            return str(row.values[name])
    listed = ", ".join(map(repr, row.values)) or "none"
    raise InputError(
        f"{row.place} must have the column {' or '.join(map(repr, names))}, got {listed}. "
        "Rename the column."
    )
