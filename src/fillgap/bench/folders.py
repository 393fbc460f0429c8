"""The embeddings of the queries and documents of a judged folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap.calibration.base import MODALITIES, Modality
from fillgap.datasets.judged import Judged, JudgedItem, halves_of
from fillgap.errors import InputError, row_scales
from fillgap.files import missing_path
from fillgap.io.embedded import (
    Manifest,
    check_complete,
    check_hashes,
    read_manifest,
    read_metadata,
)
from fillgap.io.names import SUFFIXES
from fillgap.io.shards import load_rows
from fillgap.io.tables import find_column, read_captions, read_column
from fillgap.metrics.pool import Array

_SIDES: Final[dict[Modality, str]] = {"image": "images", "text": "texts"}
_IDS: Final = ("id", "_id", "query_id", "query-id", "corpus_id", "corpus-id")


@dataclass(frozen=True, eq=False)
class EmbeddedItems:
    """Queries or documents as vectors; one of both kinds has two."""

    kinds: NDArray[np.str_]  # "image", "text" or "image+text"
    rows: dict[Modality, Array]  # what the model gave
    of: dict[Modality, NDArray[np.intp]]  # the item that each row is of, ascending

    def part(self, modality: Modality, chosen: NDArray[np.bool_]) -> tuple[Array, Any]:
        """Return the rows of one modality of the chosen items, and which items they are of."""
        if modality not in self.rows:
            return np.empty((0, 0)), np.empty(0, dtype=np.intp)
        kept = chosen[self.of[modality]]
        return self.rows[modality][kept], self.of[modality][kept]


def read_embeddings(judged: Judged, folder: str | Path) -> tuple[EmbeddedItems, EmbeddedItems]:
    """Read the embeddings of the queries and of the documents.

    The folder is what `fillgap embed judged:FOLDER` wrote, or one with `query_texts`,
    `query_images`, `corpus_texts` and `corpus_images`, those that are needed, in any format of
    `load_rows`. A table with a column `id` is sorted by it; beside another file a `.ids.txt` may
    name its rows, one a line; else row i is that of the i-th item with such a half.
    """
    root = Path(folder)
    if not root.is_dir():
        raise missing_path(root)
    manifest = read_manifest(root)
    if manifest is not None:
        return _embedded(judged, root, manifest)
    queries, documents = (
        _items(
            items,
            {
                side: _read(root, f"{who}_{_SIDES[side]}", items, side)
                for side in MODALITIES
                if _items_with(items, side)
            },
        )
        for who, items in (("query", judged.queries), ("corpus", judged.documents))
    )
    return queries, documents


def _embedded(
    judged: Judged, root: Path, manifest: Manifest
) -> tuple[EmbeddedItems, EmbeddedItems]:
    """Return what `fillgap embed judged:FOLDER` wrote; refuse vectors of other data."""
    check_complete(root, manifest)
    check_hashes(root, manifest)
    if manifest.skipped:
        first = manifest.skipped[0]
        raise InputError(
            f"{judged.folder} must have images that can all be read, got {first['id']}: "
            f"{first['reason']}"
        )
    halves = halves_of(judged.queries, judged.documents)
    metadata = read_metadata(root, manifest)
    texts = [item.text for _, item, side in halves if side == "text"]
    if (metadata["image_ids"], metadata["captions"]) != ([name for name, *_ in halves], texts):
        raise InputError(
            f"{root} must hold vectors of the queries and documents of {judged.folder}, got those "
            f"of {manifest.dataset['name']}, or of another version. Embed this one: "
            f"fillgap embed judged:{judged.folder} MODEL -o OUT"
        )
    parts = {}
    for side in MODALITIES:
        if any(half == side for *_, half in halves):
            rows = load_rows(root, modality=side)
            parts[side] = np.split(rows, [len(_items_with(judged.queries, side))])
    queries, documents = (
        {side: split[i] for side, split in parts.items() if len(split[i])} for i in range(2)
    )
    return _items(judged.queries, queries), _items(judged.documents, documents)


def _items_with(items: Sequence[JudgedItem], side: Modality) -> list[JudgedItem]:
    """Return the items that have a text, or an image."""
    return [item for item in items if getattr(item, side) is not None]


def _items(items: Sequence[JudgedItem], rows: dict[Modality, Array]) -> EmbeddedItems:
    of = {
        side: np.flatnonzero([getattr(item, side) is not None for item in items]) for side in rows
    }
    return EmbeddedItems(np.array([item.kind for item in items]), rows, of)


def _read(root: Path, name: str, items: Sequence[JudgedItem], side: Modality) -> Array:
    wanted = [item.id for item in _items_with(items, side)]
    path = next((p for p in (root / f"{name}{s}" for s in ("", *SUFFIXES)) if p.exists()), None)
    if path is None:
        raise InputError(
            f"{root} must hold {name}.npy, .parquet or the like, for {len(wanted)} {_SIDES[side]}, "
            "got none. Embed them (fillgap embed judged:FOLDER MODEL), or name an encoder with "
            "--encoder."
        )
    rows, ids = load_rows(path, modality=side), _ids(path)
    row_scales(rows, f"the rows of {path}")
    if ids is not None and len(ids) != len(rows):
        raise InputError(
            f"the ids of {path} must be one for each of its {len(rows)} rows, got {len(ids)}. "
            "Write both again."
        )
    if ids is None:
        if len(rows) != len(wanted):
            raise InputError(
                f"{path} must hold one row for each of the {len(wanted)} {_SIDES[side]} of the "
                f"folder, in its order, got {len(rows)}. Name the rows with a column id, or with "
                f"{name}.ids.txt."
            )
        return rows
    place = {identity: i for i, identity in enumerate(ids)}
    missing = [identity for identity in wanted if identity not in place]
    if missing:
        raise InputError(
            f"{path} must hold every one of the {len(wanted)} {_SIDES[side]} of the folder, got "
            f"none for {missing[0]!r} and {len(missing) - 1} others. Embed them too."
        )
    return rows[[place[identity] for identity in wanted]]


def _ids(path: Path) -> list[str] | None:
    """Return the ids that stand in or beside a file, or None."""
    beside = path.with_name(f"{path.stem}.ids.txt")
    if beside.is_file():
        return read_captions(beside)
    if path.suffix not in {".parquet", ".arrow", ".feather"}:
        return None
    column = find_column([path], _IDS)
    return None if column is None else [str(value) for value in read_column([path], column)]
