"""A judged folder through an encoder: its tables and judgements, with the vectors beside them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fillgap._checks import InputError, check_choice, check_integer
from fillgap._files import atomic_file, atomic_folder, check_target, missing_path
from fillgap._progress import Progress
from fillgap._remote import RemotePath
from fillgap.datasets import Judged, JudgedItem, open_judged
from fillgap.distributed import Executor
from fillgap.encoders import Encoder
from fillgap.evaluation.cells import Given
from fillgap.experiments.embed_judged_shard import JudgedShardJob, parts_of, shards_left
from fillgap.experiments.judged_embeddings import (
    EMBEDDINGS,
    MANIFEST,
    fingerprint_of,
    items_with,
    manifest_of,
    picture_of,
)

__all__ = [
    "SHARD_ROWS",
    "EmbeddedJudgements",
    "begun",
    "embed_judged",
    "opened",
]


#: Items in a file: what an interruption can cost.
SHARD_ROWS: Final = 4096


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
    shard_rows: int = SHARD_ROWS,
    dtype: str = "float32",
    executor: Executor | None = None,
    openers: tuple[Callable[[], Judged], Callable[[], Encoder]] | None = None,
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
    executor : Executor, optional
        Who embeds the shards; left out, this process, one after the other.
    openers : tuple of two callables, optional
        How workers open the judged folder and the encoder themselves, each giving the same object
        every time; left out, both travel with each shard.
    progress : callable, optional
        Called as progress(done, total, what) with the shards done.

    Raises
    ------
    InputError
        If the judged folder is not whole, a picture is missing or cannot be read (everything that
        is judged is needed), or `out` holds other files or other embeddings.
    """
    judged, splits = opened(Path(folder))
    root, manifest = begun(judged, encoder, out, shard_rows=shard_rows, dtype=dtype)
    left, _ = shards_left(judged, root, shard_rows)
    _begin(root, manifest)
    _write_tables(root, judged, splits)
    parts = parts_of(judged)
    for part in parts:
        (root / EMBEDDINGS / part).mkdir(exist_ok=True)
    here = Given(judged), Given(encoder)
    openers = here if executor is None or openers is None else openers
    job = JudgedShardJob(*openers, (root / EMBEDDINGS).absolute(), dtype)
    made = map(job, left) if executor is None else executor.map(job, left, progress=progress)
    for done, shard in enumerate(made, start=1):
        if executor is None and progress is not None:
            progress(done, len(left), shard.part)
    _write_manifest(root, manifest | {"complete": True})
    return EmbeddedJudgements(
        judged.folder.name,
        encoder.name,
        int(encoder.n_features),
        {part: len(items) for part, (items, _) in parts.items()},
        tuple(splits),
    )


def begun(
    judged: Judged, encoder: Encoder, out: str | Path, *, shard_rows: int, dtype: str
) -> tuple[Path, dict[str, Any]]:
    """Return where the result goes and its manifest; refuse before hours of work."""
    check_choice(dtype, "dtype", ("float32", "float16"))
    check_integer(shard_rows, "shard_rows", low=1)
    root = check_target(out, overwrite=True)
    if isinstance(root, RemotePath):
        raise InputError(f"{root} must be a folder of this machine. Write there, and copy it.")
    manifest = _manifest(judged, encoder, dtype, shard_rows)
    for item in items_with([*judged.queries, *judged.documents], "image"):
        picture_of(judged.folder, item)
    _check_begun(root, manifest)
    return root, manifest


def opened(folder: Path) -> tuple[Judged, dict[str, Path]]:
    """Return the folder by one of its splits, and the files of all of them."""
    if not folder.is_dir():
        raise missing_path(folder)
    splits = {file.stem: file for file in sorted((folder / "qrels").glob("*.tsv"))}
    one = None if "test" in splits or not splits else next(iter(splits))
    return open_judged(folder, split=one), splits


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


def _check_begun(root: Path, manifest: dict[str, Any]) -> None:
    """Refuse a folder with other files, or one that another call began."""
    found = manifest_of(root / EMBEDDINGS)
    if found is None:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise InputError(
                f"{root} must be a new folder, an empty one or one of the same fillgap embed, got "
                "other files. Write to a new name."
            )
        return
    for what in ("model", "dataset", "dtype", "shard_rows"):
        if found.get(what) != manifest[what]:
            raise InputError(
                f"{root} must hold embeddings of one {what}, got {found.get(what)} where "
                f"{manifest[what]} is asked for. Write to another folder."
            )


def _begin(root: Path, manifest: dict[str, Any]) -> None:
    """Make the folder, where the same call has not begun it."""
    if manifest_of(root / EMBEDDINGS) is None:
        (root / EMBEDDINGS).mkdir(parents=True, exist_ok=True)
        _write_manifest(root, manifest)


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
