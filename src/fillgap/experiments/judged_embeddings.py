"""The embeddings of a judged folder: read beside it, or made by an encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, row_scales
from fillgap._files import missing_path
from fillgap._progress import Progress, silent
from fillgap.datasets import Judged, JudgedItem
from fillgap.encoders import Encoder, load_picture
from fillgap.experiments.embed_shard import batch_size
from fillgap.io import load_rows, read_manifest
from fillgap.io._columns import find_column, read_captions, read_column
from fillgap.io._names import SUFFIXES
from fillgap.io._reading import reading
from fillgap.scores import Modality
from fillgap.scores.samples import MODALITIES

__all__ = [
    "EMBEDDINGS",
    "MANIFEST",
    "PARTS",
    "EmbeddedItems",
    "encode_judged",
    "encoded_items",
    "fingerprint_of",
    "items_with",
    "manifest_of",
    "picture_of",
    "read_embeddings",
]

Array = NDArray[Any]
_SIDES: Final[dict[Modality, str]] = {"image": "images", "text": "texts"}
#: Whose side each part is of.
PARTS: Final[dict[str, tuple[str, Modality]]] = {
    f"{who}_{name}": (who, side) for who in ("query", "corpus") for side, name in _SIDES.items()
}
#: Where the vectors lie in a judged folder, and what `fillgap embed` says of them there.
EMBEDDINGS: Final = "embeddings"
MANIFEST: Final = "manifest.json"
_IDS: Final = ("id", "_id", "query_id", "query-id", "corpus_id", "corpus-id")


@dataclass(frozen=True, eq=False)
class EmbeddedItems:
    """Queries or documents as vectors; one of both kinds has two.

    Attributes
    ----------
    kinds : array of str of shape (n_items,)
        "image", "text" or "image+text".
    rows : dict from modality to array of shape (n_of_modality, n_features)
        What the model gave.
    of : dict from modality to array of int of shape (n_of_modality,)
        The item that each row is of, ascending.
    """

    kinds: NDArray[np.str_]
    rows: dict[Modality, Array]
    of: dict[Modality, NDArray[np.intp]]

    def part(self, modality: Modality, chosen: NDArray[np.bool_]) -> tuple[Array, Any]:
        """Return the rows of one modality of the chosen items, and which items they are of."""
        if modality not in self.rows:
            return np.empty((0, 0)), np.empty(0, dtype=np.intp)
        kept = chosen[self.of[modality]]
        return self.rows[modality][kept], self.of[modality][kept]


def read_embeddings(judged: Judged, folder: str | Path) -> tuple[EmbeddedItems, EmbeddedItems]:
    """Read the embeddings of the queries and of the documents.

    Parameters
    ----------
    judged : Judged
    folder : str or path
        What `fillgap embed judged:FOLDER` wrote, or a folder with `query_texts`, `query_images`,
        `corpus_texts` and `corpus_images`, those that are needed, in any format of `load_rows`. A
        table with a column `id` is sorted by it; beside another file a `.ids.txt` may name its
        rows, one a line; else row i is that of the i-th item with such a half.

    Raises
    ------
    InputError
        If a file is missing or does not fit.
    """
    root = Path(folder)
    if not root.is_dir():
        raise missing_path(root)
    if manifest_of(root) is None and manifest_of(root / EMBEDDINGS) is not None:
        root /= EMBEDDINGS
    _check_manifest(root, judged)
    return tuple(  # type: ignore[return-value]
        _items(items, {side: _read(root, f"{who}_{_SIDES[side]}", items, side) for side in needed})
        for who, items in (("query", judged.queries), ("corpus", judged.documents))
        for needed in [[side for side in MODALITIES if items_with(items, side)]]
    )


def manifest_of(root: Path) -> dict[str, Any] | None:
    """Return what `fillgap embed` says of vectors of a judged folder, None where it says nothing.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = root / MANIFEST
    if not path.is_file():
        return None
    with reading(str(path), "a manifest of fillgap embed"):
        found = json.loads(path.read_text(encoding="utf-8"))
    ours = isinstance(found, dict) and found.get("kind") == "embedded judgements"
    return found if ours else None


def fingerprint_of(judged: Judged) -> str:
    """Return what tells queries and documents from others: their ids, texts and kinds, in order."""
    digest = hashlib.sha256()
    for items in (judged.queries, judged.documents):
        for item in items:
            digest.update(json.dumps([item.id, item.text, item.kind]).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _check_manifest(root: Path, judged: Judged) -> None:
    """Refuse vectors that are not all there, of other data, or of images with captions alone."""
    if read_manifest(root) is not None:
        raise InputError(
            f"{root} must hold vectors of queries and of documents, got images with their "
            "captions. Embed the judged folder itself: "
            f"fillgap embed judged:{judged.folder} MODEL -o OUT"
        )
    manifest = manifest_of(root)
    if manifest is None:
        return
    if not manifest.get("complete"):
        raise InputError(
            f"{root} must be finished, got vectors of a part. Run the same fillgap embed again: "
            "it writes what is missing."
        )
    made_of = dict(manifest.get("dataset", {}))
    if made_of.get("fingerprint") != fingerprint_of(judged):
        raise InputError(
            f"{root} must hold vectors of the queries and documents of {judged.folder}, got those "
            f"of another version ({made_of.get('name')}). Embed this one."
        )


def encode_judged(
    judged: Judged, encoder: Encoder, *, progress: Progress | None = None
) -> tuple[EmbeddedItems, EmbeddedItems]:
    """Embed the queries and the documents of a judged folder.

    Raises
    ------
    InputError
        If a picture is missing or cannot be read, or the encoder refuses a text.
    """
    found = []
    for what, items in (("queries", judged.queries), ("documents", judged.documents)):
        rows: dict[Modality, Array] = {}
        for side in MODALITIES:
            chosen = items_with(items, side)
            encoded = encoded_items(judged.folder, encoder, chosen, side)
            parts = []
            for part in encoded:
                parts.append(np.asarray(part))
                (progress or silent)(sum(map(len, parts)), len(chosen), f"{what}, {_SIDES[side]}")
            if parts:
                rows[side] = np.concatenate(parts)
                row_scales(rows[side], f"the {_SIDES[side]} of the {what}")
        found.append(_items(items, rows))
    return found[0], found[1]


def items_with(items: Sequence[JudgedItem], side: Modality) -> list[JudgedItem]:
    """Return the items that have a text, or an image."""
    return [item for item in items if getattr(item, side) is not None]


def _items(items: Sequence[JudgedItem], rows: dict[Modality, Array]) -> EmbeddedItems:
    of = {
        side: np.flatnonzero([getattr(item, side) is not None for item in items]) for side in rows
    }
    return EmbeddedItems(np.array([item.kind for item in items]), rows, of)


def encoded_items(
    folder: Path, encoder: Encoder, items: Sequence[JudgedItem], side: Modality
) -> Iterator[Array]:
    """Yield the vectors of one side of items, a batch at a time."""
    size = batch_size(encoder)
    prepare = getattr(encoder, "prepare_image", load_picture)
    for at in range(0, len(items), size):
        batch = items[at : at + size]
        if side == "text":
            yield encoder.encode_texts([str(item.text) for item in batch])
        else:
            yield encoder.encode_images([prepare(picture_of(folder, item)) for item in batch])


def picture_of(folder: Path, item: JudgedItem) -> Path | bytes:
    """Return the picture of an item; its name may be one within `images/`.

    Raises
    ------
    InputError
        If it is not there.
    """
    if isinstance(item.image, bytes):
        return item.image
    name = str(item.image)
    tried = [folder / name, folder / "images" / name, folder / "images" / Path(name).name]
    for path in tried:
        if path.is_file():
            return path
    raise InputError(
        f"the image of {item.id!r} must be a file of {folder} or of its images/, got {name!r}, "
        "which is in neither. Copy the images there, or bench vectors of them with --embeddings."
    )


def _read(root: Path, name: str, items: Sequence[JudgedItem], side: Modality) -> Array:
    wanted = [item.id for item in items_with(items, side)]
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
