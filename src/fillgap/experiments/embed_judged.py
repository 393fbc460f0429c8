"""A judged folder through an encoder: its tables and judgements, with the vectors beside them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from fillgap._checks import InputError, check_choice, check_integer, unit_rows
from fillgap._files import atomic_file, atomic_folder, check_target, missing_path
from fillgap._progress import Progress, silent
from fillgap._remote import RemotePath
from fillgap.datasets import Judged, JudgedItem, open_judged
from fillgap.encoders import Encoder
from fillgap.experiments.judged_embeddings import (
    EMBEDDINGS,
    MANIFEST,
    PARTS,
    encoded_items,
    fingerprint_of,
    items_with,
    manifest_of,
    picture_of,
)
from fillgap.scores import Modality

__all__ = ["EmbeddedJudgements", "embed_judged"]

#: Items in a file: what an interruption can cost.
_SHARD_ROWS: Final = 4096


@dataclass(frozen=True)
class EmbeddedJudgements:
    """What was written.

    Attributes
    ----------
    name : str
        Of the judged folder.
    model : str
    n_features : int
    rows : dict from str to int
        Vectors by part, for example "query_texts".
    splits : tuple of str
        The judgements that lie beside them.
    """

    name: str
    model: str
    n_features: int
    rows: dict[str, int]
    splits: tuple[str, ...]


def embed_judged(
    folder: str | Path,
    encoder: Encoder,
    out: str | Path,
    *,
    shard_rows: int = _SHARD_ROWS,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> EmbeddedJudgements:
    """Write a judged folder with its embeddings, or go on where an earlier run stopped.

    Parameters
    ----------
    folder : str or path
        Queries, a corpus and judgements, as for `open_judged`.
    encoder : Encoder
    out : str or path
        A new folder, an empty one, or one that the same call began. It gets tables without
        pictures, all judgements, and `embeddings/`, as `bench mixed` reads them.
    shard_rows : int
        Items in a file.
    dtype : {"float32", "float16"}
        Type of the embeddings in the files.
    progress : callable, optional
        Called as progress(done, total, what).

    Raises
    ------
    InputError
        If the judged folder is not whole, a picture is missing or cannot be read (everything that
        is judged is needed), or `out` holds other files or other embeddings.
    """
    check_choice(dtype, "dtype", ("float32", "float16"))
    check_integer(shard_rows, "shard_rows", low=1)
    judged, splits = _opened(Path(folder))
    root = check_target(out, overwrite=True)
    if isinstance(root, RemotePath):
        raise InputError(f"{root} must be a folder of this machine. Write there, and copy it.")
    manifest = _manifest(judged, encoder, dtype, shard_rows)
    parts = _parts(judged)
    for items, side in parts.values():
        for item in items if side == "image" else ():
            picture_of(judged.folder, item)  # before hours of work
    _begin(root, manifest)
    _write_tables(root, judged, splits)
    rows = {}
    for part, (items, side) in parts.items():
        _embed_part(
            root / EMBEDDINGS / part,
            items,
            partial(encoded_items, judged.folder, encoder, side=side),
            shard_rows=shard_rows,
            dtype=dtype,
            progress=progress or silent,
        )
        rows[part] = len(items)
    _write_manifest(root, manifest | {"complete": True})
    return EmbeddedJudgements(
        judged.folder.name, encoder.name, int(encoder.n_features), rows, tuple(splits)
    )


def _opened(folder: Path) -> tuple[Judged, dict[str, Path]]:
    """Return the folder by one of its splits, and the files of all of them."""
    if not folder.is_dir():
        raise missing_path(folder)
    splits = {file.stem: file for file in sorted((folder / "qrels").glob("*.tsv"))}
    one = None if "test" in splits or not splits else next(iter(splits))
    return open_judged(folder, split=one), splits


def _parts(judged: Judged) -> dict[str, tuple[list[JudgedItem], Modality]]:
    """Return what is to be embedded, by the name of its part."""
    sides = {"query": judged.queries, "corpus": judged.documents}
    found = {part: (items_with(sides[who], side), side) for part, (who, side) in PARTS.items()}
    return {part: one for part, one in found.items() if one[0]}


def _embed_part(
    place: Path,
    items: Sequence[JudgedItem],
    encode: Callable[[Sequence[JudgedItem]], Iterable[Any]],
    *,
    shard_rows: int,
    dtype: str,
    progress: Progress,
) -> None:
    """Write the shards of one part that are not there yet; each appears whole or not at all."""
    place.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(items), shard_rows)):
        file = place / f"{place.name}_{number:04}.npy"
        chosen = items[start : start + shard_rows]
        progress(start, len(items), place.name)
        if file.is_file():
            continue
        vectors = np.concatenate([np.asarray(part) for part in encode(chosen)])
        rows = unit_rows(vectors, f"the vectors of {place.name}", first_row=start)
        with atomic_file(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, rows.astype(dtype), allow_pickle=False)
    progress(len(items), len(items), place.name)


def _manifest(judged: Judged, encoder: Encoder, dtype: str, shard_rows: int) -> dict[str, Any]:
    return {
        "format_version": 1,
        "kind": "embedded judgements",
        "complete": False,
        "model": {"name": encoder.name, "revision": encoder.revision},
        "dataset": {"name": judged.folder.name, "fingerprint": fingerprint_of(judged)},
        "dtype": dtype,
        "shard_rows": shard_rows,
    }


def _begin(root: Path, manifest: dict[str, Any]) -> None:
    """Make the folder, or go on in one that the same call began."""
    found = manifest_of(root / EMBEDDINGS)
    if found is None:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise InputError(
                f"{root} must be a new folder, an empty one or one of the same fillgap embed, got "
                "other files. Write to a new name."
            )
        (root / EMBEDDINGS).mkdir(parents=True, exist_ok=True)
        _write_manifest(root, manifest)
        return
    for what in ("model", "dataset", "dtype", "shard_rows"):
        if found.get(what) != manifest[what]:
            raise InputError(
                f"{root} must hold embeddings of one {what}, got {found.get(what)} where "
                f"{manifest[what]} is asked for. Write to another folder."
            )


def _write_manifest(root: Path, manifest: dict[str, Any]) -> None:
    with atomic_file(root / EMBEDDINGS / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _write_tables(root: Path, judged: Judged, splits: dict[str, Path]) -> None:
    """Write queries, documents and judgements in the layout of BEIR."""
    for name, items in (("queries", judged.queries), ("corpus", judged.documents)):
        rows = [{"_id": one.id, "text": one.text, "image": _name(one)} for one in items]
        with atomic_file(root / f"{name}.jsonl") as temporary:
            lines = (json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
            temporary.write_text("".join(lines), encoding="utf-8")
    with atomic_folder(root / "qrels") as made:
        for name, file in splits.items():
            shutil.copyfile(file, made / f"{name}.tsv")


def _name(item: JudgedItem) -> str | None:
    """Return the name of a picture; one that lies in the table is named by its content."""
    if isinstance(item.image, bytes):
        return f"sha256:{hashlib.sha256(item.image).hexdigest()}"
    return item.image
