"""A dataset through an encoder, into a folder of shards that a stopped run goes on with."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_choice, check_integer, unit_rows
from fillgap._files import atomic_file, check_target
from fillgap._progress import Progress, silent
from fillgap.datasets._record import Dataset, Record
from fillgap.encoders import Encoder, load_picture, prefetch
from fillgap.io import EmbeddedShard, Manifest, read_manifest
from fillgap.io._embedded import file_hash, write_manifest

__all__ = ["embed_dataset", "embed_shard"]

#: Records in a shard: 8 MiB of 512 float32 columns a side, a minute or so of work on a GPU.
SHARD_ROWS: Final = 4096
_BATCH = 64


def embed_dataset(
    dataset: Dataset,
    encoder: Encoder,
    folder: str | Path,
    *,
    shard_rows: int | None = None,
    dtype: str = "float32",
    n_threads: int = 4,
    progress: Progress | None = None,
) -> Manifest:
    """Write the embeddings of a dataset to a folder, or go on where an earlier run stopped.

    Shards that are there and whole are kept; those that are damaged or missing are written.

    Parameters
    ----------
    dataset : Dataset
        Images with captions.
    encoder : Encoder
        What makes vectors of them.
    folder : str or path
        A new folder, an empty one, or one that the same call began.
    shard_rows : int, optional
        Records in a shard, 4096 unless the folder says otherwise: what an interruption can cost.
    dtype : {"float32", "float16"}
        Type of the embeddings in the files.
    n_threads : int
        Threads that read pictures ahead.
    progress : callable, optional
        Called as progress(done, total, what) with the records done.

    Returns
    -------
    Manifest
        What the folder holds, and which images could not be read.

    Raises
    ------
    InputError
        If the folder holds other files or embeddings of another model, revision, dataset or type,
        or if no image can be read.
    """
    check_choice(dtype, "dtype", ("float32", "float16"))
    check_integer(n_threads, "n_threads", low=1)
    if shard_rows is not None:
        check_integer(shard_rows, "shard_rows", low=1)
    root = check_target(folder, overwrite=True)
    asked = Manifest(_model(encoder), _description(dataset), dtype, shard_rows or SHARD_ROWS)
    manifest = _begun(root, asked, shard_rows)
    whole = {shard.number: shard for shard in manifest.shards if _is_whole(root, shard)}
    manifest = replace(manifest, shards=tuple(whole.values()))
    report = _with_rate(progress or silent, manifest.n_done, len(dataset))
    with warnings.catch_warnings():  # here, since in threads it is not safe
        warnings.filterwarnings("ignore", module="PIL")
        for number, rows in enumerate(shards_of(len(dataset), manifest.shard_rows)):
            if number in whole:
                continue
            whole[number] = embed_shard(
                dataset, encoder, rows, root,
                number=number, dtype=dtype, n_threads=n_threads, progress=report,
            )  # fmt: skip
            manifest = replace(manifest, shards=tuple(whole[i] for i in sorted(whole)))
            write_manifest(root, manifest)
    return _check_result(manifest)


def shards_of(n_records: int, shard_rows: int) -> list[range]:
    """Return the rows of each shard."""
    starts = range(0, n_records, shard_rows)
    return [range(start, min(start + shard_rows, n_records)) for start in starts]


def embed_shard(
    dataset: Dataset,
    encoder: Encoder,
    rows: range,
    folder: str | Path,
    *,
    number: int,
    dtype: str = "float32",
    n_threads: int = 4,
    progress: Progress | None = None,
) -> EmbeddedShard:
    """Write the embeddings of some rows of a dataset, and return what became of them.

    It depends on nothing but its arguments and writes only the files of this shard, so that shards
    can be made in any order and place; the manifest is the caller's.

    Parameters
    ----------
    dataset, encoder, folder, dtype, n_threads, progress
        As for `embed_dataset`.
    rows : range
        Rows of the dataset.
    number : int
        What the files are numbered.
    """
    root = Path(folder)
    records, images, skipped = _encode_images(dataset, encoder, rows, n_threads, progress or silent)
    captions = [tuple(text for text in record.captions if text.strip()) for record in records]
    flat = [text for texts in captions for text in texts]
    texts = encoder.encode_texts(flat) if flat else np.empty((0, encoder.n_features))
    sides = {"img_emb": images, "text_emb": texts}
    files = {}
    for side, vectors in sides.items():
        if len(vectors):
            name = f"{side}/{side}_{number:04}.npy"
            checked = unit_rows(vectors, f"the {side} of {encoder.name}").astype(dtype)
            files[name] = _write(root / name, checked)
    if records:
        name = f"metadata/metadata_{number:04}.parquet"
        files[name] = _write_metadata(root / name, records, captions)
    return EmbeddedShard(
        number=number,
        start=rows.start,
        stop=rows.stop,
        n_images=len(images),
        n_texts=len(texts),
        n_empty=sum(len(record.captions) for record in records) - len(flat),
        skipped=skipped,
        files=files,
    )


def _encode_images(
    dataset: Dataset, encoder: Encoder, rows: range, n_threads: int, progress: Progress
) -> tuple[list[Record], NDArray[Any], list[dict[str, str]]]:
    """Return the records whose images could be read, their rows, and the others with reasons."""
    records: list[Record] = []
    skipped: list[dict[str, str]] = []
    blocks: list[NDArray[Any]] = []
    batch: list[Any] = []
    size = int(getattr(encoder, "batch_size", _BATCH))
    for done, (record, prepared) in enumerate(
        _prepared(dataset, encoder, rows, n_threads, 2 * size), start=1
    ):
        if isinstance(prepared, InputError):
            skipped.append({"id": record.id, "reason": str(prepared)})
        else:
            records.append(record)
            batch.append(prepared)
        if len(batch) == size or (batch and done == len(rows)):
            blocks.append(encoder.encode_images(batch))
            batch = []
        progress(rows.start + done, len(dataset), "embed")
    images = np.concatenate(blocks) if blocks else np.empty((0, encoder.n_features))
    return records, images, skipped


def _prepared(
    dataset: Dataset, encoder: Encoder, rows: range, n_threads: int, ahead: int
) -> Iterator[tuple[Record, Any]]:
    """Yield each record with what `encode_images` takes, or the `InputError` of its image."""
    prepare = getattr(encoder, "prepare_image", load_picture)

    def attempt(record: Record) -> tuple[Record, Any]:
        bare = replace(record, image=b"")  # a shard of pictures is not to be held
        try:
            return bare, prepare(record.image)
        except InputError as error:
            return bare, error

    return prefetch(attempt, (dataset[row] for row in rows), n_threads=n_threads, ahead=ahead)


def _write(path: Path, rows: NDArray[Any]) -> str:
    """Write one array and return its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        with temporary.open("wb") as file:  # numpy.save would add a suffix to the name
            np.save(file, rows, allow_pickle=False)
        return file_hash(temporary)


def _write_metadata(
    path: Path, records: Sequence[Record], captions: Sequence[tuple[str, ...]]
) -> str:
    """Write one row an image; `caption`, the first, is for programs made for clip-retrieval."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": pa.array([record.id for record in records], pa.string()),
        "caption": pa.array([texts[0] if texts else None for texts in captions], pa.string()),
        "captions": pa.array([list(texts) for texts in captions], pa.list_(pa.string())),
        "label": pa.array([record.label for record in records], pa.int64()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
        return file_hash(temporary)


def _model(encoder: Encoder) -> dict[str, Any]:
    return {
        "name": encoder.name,
        "revision": encoder.revision,
        "n_features": int(encoder.n_features),
    }


def _description(dataset: Dataset) -> dict[str, Any]:
    """Return what tells one dataset from another, without reading all of it."""
    if not len(dataset):
        raise InputError(f"{dataset.name} must have images, got none. Check the path.")
    digest = hashlib.sha256()
    for row in np.unique(np.linspace(0, len(dataset) - 1, 256).astype(int)):
        record = dataset[int(row)]
        digest.update(repr((record.id, record.captions, record.label)).encode())
    return {
        "name": dataset.name,
        "n_records": len(dataset),
        "fingerprint": digest.hexdigest(),
        "class_names": None if dataset.class_names is None else list(dataset.class_names),
        "problems": list(dataset.problems),
    }


def _begun(root: Path, asked: Manifest, shard_rows: int | None) -> Manifest:
    """Return the manifest of the folder, a new one if nothing is there; refuse what is not ours."""
    found = read_manifest(root)
    if found is None:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise InputError(
                f"{root} must be a new folder, an empty one or one of fillgap embed, got other "
                "files. Write to a new name."
            )
        root.mkdir(exist_ok=True)
        write_manifest(root, asked)
        return asked
    if shard_rows is None:
        asked = replace(asked, shard_rows=found.shard_rows)
    for what, begun, wanted in _identities(found, asked):
        if begun != wanted:
            raise InputError(
                f"{root} must hold embeddings of one {what}, got some of {begun} where {wanted} is "
                "asked for. Write to another folder."
            )
    return replace(found, dataset=asked.dataset)


def _identities(found: Manifest, asked: Manifest) -> Iterator[tuple[str, Any, Any]]:
    """Yield what must be equal for a run to go on, in the words of a message."""
    for what, key in (("model", "name"), ("revision", "revision"), ("dimension", "n_features")):
        yield what, found.model.get(key), asked.model[key]
    keys = (("dataset", "name"), ("size of the dataset", "n_records"), ("content", "fingerprint"))
    for what, key in keys:
        yield what, found.dataset.get(key), asked.dataset[key]
    yield "type", found.dtype, asked.dtype
    yield "size of the shards", found.shard_rows, asked.shard_rows


def _is_whole(root: Path, shard: EmbeddedShard) -> bool:
    """Tell whether every file of a shard is there, as it was written."""
    return all(
        (root / name).is_file() and file_hash(root / name) == expected
        for name, expected in shard.files.items()
    )


def _check_result(manifest: Manifest) -> Manifest:
    """Refuse a result without images: nothing can be done with it."""
    if not manifest.n_images:
        first = manifest.skipped[0]
        raise InputError(
            f"{manifest.dataset['name']} must have images that can be read, got "
            f"{len(manifest.skipped)} that cannot; the first, {first['id']}: {first['reason']}"
        )
    return manifest


def _with_rate(report: Progress, before: int, total: int) -> Progress:
    """Return a callback that counts the records of this run, and those done before it."""
    start, new = time.monotonic(), count(1)
    report(before, total, "embed")

    def step(_done: int, _total: int | None, what: str) -> None:
        done = next(new)
        rate = done / max(time.monotonic() - start, 1e-9)
        report(before + done, total, f"{what}: {rate:.1f} images/s")

    return step
