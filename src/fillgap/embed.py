"""A dataset through an encoder into a folder of shards, which an interrupted run goes on with."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap.datasets.records import Dataset, Record, told_of
from fillgap.distributed.executors import Executor
from fillgap.encoders.base import Encoder, load_picture, prefetch
from fillgap.errors import InputError, check_choice, check_integer, unit_rows
from fillgap.evaluation.judge import Given
from fillgap.files import atomic_file, check_target, remove_stale
from fillgap.io.embedded import (
    MANIFEST,
    EmbeddedShard,
    Manifest,
    file_hash,
    read_manifest,
    write_manifest,
)
from fillgap.runtime import Progress, silent

#: Records in a shard: 8 MiB of 512 float32 columns a side, a minute or so of work on a GPU.
SHARD_ROWS: Final = 4096
#: Where the files of a shard go.
FOLDERS: Final = ("img_emb", "text_emb", "metadata")
#: Pictures that are passed at once to an encoder that does not say how many.
_BATCH: Final = 64


def embed_dataset(
    dataset: Dataset,
    encoder: Encoder,
    folder: str | Path,
    *,
    shard_rows: int | None = None,
    dtype: str = "float32",
    n_threads: int = 4,
    executor: Executor | None = None,
    openers: tuple[Callable[[], Dataset], Callable[[], Encoder]] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write the embeddings of a dataset to a folder, or go on where an earlier run stopped.

    Shards that are there and whole are kept; those that are damaged or missing are written.

    Parameters
    ----------
    dataset : Dataset
        Images with captions, or texts alone.
    encoder : Encoder
        What makes vectors of them.
    folder : str or path
        A new folder, an empty one, or one that the same call began.
    shard_rows : int, optional
        Records in a shard, 4096 unless the folder says otherwise: what an interruption can cost.
    dtype : {"float32", "float16"}
        Type of the embeddings in the files.
    n_threads : int
        Threads that read pictures ahead; of each worker.
    executor : Executor, optional
        Who embeds the shards; left out, this process, one after the other.
    openers : tuple of two callables, optional
        How workers open the dataset and the encoder themselves, each giving the same object every
        time; left out, both travel with each shard.
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
    check_integer(n_threads, "n_threads", low=1)
    root = check_target(folder, overwrite=True)
    manifest, left = _what_is_left(dataset, encoder, root, shard_rows, dtype)
    if not (root / MANIFEST).is_file():
        root.mkdir(exist_ok=True)
        write_manifest(root, manifest)
    whole = {shard.number: shard for shard in manifest.shards}
    with warnings.catch_warnings():  # here, since in threads it is not safe
        warnings.filterwarnings("ignore", module="PIL")
        job = partial(embed_shard, folder=root.absolute(), dtype=dtype, n_threads=n_threads)
        given = Given(dataset), Given(encoder)
        if executor is None:
            report = _with_rate(progress or silent, manifest.n_done, len(dataset))
            made: Iterator[EmbeddedShard] = map(partial(job, openers=given, progress=report), left)
        else:
            made = executor.map(partial(job, openers=openers or given), left, progress=progress)
        try:
            for shard in made:
                whole[shard.number] = shard
                manifest = replace(manifest, shards=tuple(whole[i] for i in sorted(whole)))
                write_manifest(root, manifest)
        finally:
            remove_stale(root, *(root / name for name in FOLDERS))
    if not manifest.n_images + manifest.n_texts:
        first = manifest.skipped[0]
        raise InputError(
            f"{manifest.dataset['name']} must have images that can be read, got "
            f"{len(manifest.skipped)} that cannot; the first, {first['id']}: {first['reason']}"
        )
    return manifest


def plan_embed(
    dataset: Dataset, folder: str | Path, *, shard_rows: int | None = None, dtype: str = "float32"
) -> dict[str, Any]:
    """Return what `embed_dataset` would do with the same arguments; no model is needed.

    Returns
    -------
    dict
        `dataset`, its name; `n_rows`, images that would be read; `n_shards` and `n_files` that
        would be written; `kept`, shards that an earlier run finished.

    Raises
    ------
    InputError
        As `embed_dataset` does before it begins, except on what only the encoder tells.
    """
    root = check_target(folder, overwrite=True)
    manifest, left = _what_is_left(dataset, None, root, shard_rows, dtype)
    return {
        "dataset": dataset.name,
        "n_rows": sum(len(rows) for _, rows in left),
        "n_shards": len(left),
        "n_files": len(FOLDERS) * len(left) + 1 if left else 0,
        "kept": len(manifest.shards),
    }


def _what_is_left(
    dataset: Dataset, encoder: Encoder | None, root: Path, shard_rows: int | None, dtype: str
) -> tuple[Manifest, list[tuple[int, range]]]:
    """Return the manifest with the shards that are whole, and the number and rows of each other.

    Nothing is written; without an encoder a folder may be of any model.
    """
    check_choice(dtype, "dtype", ("float32", "float16"))
    if shard_rows is not None:
        check_integer(shard_rows, "shard_rows", low=1)
    model: dict[str, Any] = {}
    if encoder is not None:
        model = {"name": encoder.name, "revision": encoder.revision}
        model["n_features"] = int(encoder.n_features)
    asked = Manifest(model, describe_dataset(dataset), dtype, shard_rows or SHARD_ROWS)
    manifest = _begun(root, asked, shard_rows)
    whole = tuple(shard for shard in manifest.shards if _is_written(root, shard))
    numbers = {shard.number for shard in whole}
    step = manifest.shard_rows
    left = [
        (number, range(start, min(start + step, len(dataset))))
        for number, start in enumerate(range(0, len(dataset), step))
        if number not in numbers
    ]
    return replace(manifest, shards=whole), left


def _begun(root: Path, asked: Manifest, shard_rows: int | None) -> Manifest:
    """Return the manifest of the folder, a new one if nothing is there; refuse what is not ours."""
    found = read_manifest(root)
    if found is None:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise InputError(
                f"{root} must be a new folder, an empty one or one of fillgap embed, got other "
                "files. Write to a new name."
            )
        return asked
    of_model = {"model": "name", "revision": "revision", "dimension": "n_features"}
    of_dataset = {"dataset": "name", "size of the dataset": "n_records", "content": "fingerprint"}
    equal = [
        *((what, found.model.get(key), asked.model.get(key)) for what, key in of_model.items()),
        *((what, found.dataset.get(key), asked.dataset[key]) for what, key in of_dataset.items()),
        ("type", found.dtype, asked.dtype),
        ("size of the shards", found.shard_rows, shard_rows or found.shard_rows),
    ]
    for what, begun, wanted in equal[0 if asked.model else len(of_model) :]:
        if begun != wanted:
            raise InputError(
                f"{root} must hold embeddings of one {what}, got some of {begun} where {wanted} is "
                "asked for. Write to another folder."
            )
    return replace(found, dataset=asked.dataset)


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Return what tells one dataset from another, without reading all of it."""
    if not len(dataset):
        raise InputError(f"{dataset.name} must have images, got none. Check the path.")
    digest = hashlib.sha256()
    for row in np.unique(np.linspace(0, len(dataset) - 1, 256).astype(int)):
        record = told_of(dataset, int(row))
        digest.update(repr((record.id, record.captions, record.label)).encode())
    return {
        "name": dataset.name,
        "n_records": len(dataset),
        "fingerprint": digest.hexdigest(),
        "class_names": None if dataset.class_names is None else list(dataset.class_names),
        "problems": list(dataset.problems),
    }


def is_whole(folder: str | Path, manifest: Manifest) -> bool:
    """Tell whether every record is dealt with and every file is there as it was written."""
    return manifest.complete and all(_is_written(Path(folder), item) for item in manifest.shards)


def _is_written(root: Path, shard: EmbeddedShard) -> bool:
    """Tell whether every file of a shard is there, as it was written."""
    return all(
        (root / name).is_file() and file_hash(root / name) == expected
        for name, expected in shard.files.items()
    )


def _with_rate(report: Progress, before: int, total: int) -> Progress:
    """Return a callback that counts the records of this run, and those done before it."""
    start, new = time.monotonic(), count(1)
    report(before, total, "embed")

    def step(_done: int, _total: int | None, what: str) -> None:
        done = next(new)
        rate = done / max(time.monotonic() - start, 1e-9)
        report(before + done, total, f"{what}: {rate:.1f} images/s")

    return step


def embed_shard(
    shard: tuple[int, range],
    *,
    openers: tuple[Callable[[], Dataset], Callable[[], Encoder]],
    folder: Path,
    dtype: str = "float32",
    n_threads: int = 4,
    progress: Progress = silent,
) -> EmbeddedShard:
    """Write the embeddings of a shard, by its number and rows, and return what became of them.

    It depends on nothing but its arguments and writes only the files of this shard, so that shards
    can be made in any order and place; the manifest is the caller's.
    """
    number, rows = shard
    dataset, encoder = openers[0](), openers[1]()
    records, images, skipped = _encode_images(dataset, encoder, rows, n_threads, progress)
    captions = [[text for text in record.captions if text.strip()] for record in records]
    flat = [text for texts in captions for text in texts]
    texts = encoder.encode_texts(flat) if flat else np.empty((0, encoder.n_features))
    files = {}
    for side, vectors in (("img_emb", images), ("text_emb", texts)):
        if len(vectors):
            name = f"{side}/{side}_{number:04}.npy"
            checked = unit_rows(vectors, f"the {side} of {encoder.name}").astype(dtype)
            files[name] = _write(folder / name, partial(np.save, arr=checked, allow_pickle=False))
    if records:
        name = f"metadata/metadata_{number:04}.parquet"
        files[name] = _write(folder / name, partial(_save_metadata, records, captions))
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
    """Return the records whose images could be read or that have none, the vectors, and the others.

    Records are without their images: a shard of pictures is not to be held.
    """
    prepare = getattr(encoder, "prepare_image", load_picture)
    size = int(getattr(encoder, "batch_size", _BATCH))

    def attempt(record: Record) -> tuple[Record, Any]:
        if record.image is None:
            return record, None
        bare = replace(record, image=b"")
        try:
            return bare, prepare(record.image)
        except InputError as error:
            return bare, error

    records: list[Record] = []
    skipped: list[dict[str, str]] = []
    blocks: list[NDArray[Any]] = []
    batch: list[Any] = []
    read = (dataset[row] for row in rows)
    prepared = prefetch(attempt, read, n_threads=n_threads, ahead=2 * size)
    for done, (record, picture) in enumerate(prepared, start=1):
        if isinstance(picture, InputError):
            skipped.append({"id": record.id, "reason": str(picture)})
        else:
            records.append(record)
            if picture is not None:
                batch.append(picture)
        if len(batch) == size or (batch and done == len(rows)):
            blocks.append(encoder.encode_images(batch))
            batch = []
        progress(rows.start + done, len(dataset), "embed")
    images = np.concatenate(blocks) if blocks else np.empty((0, encoder.n_features))
    return records, images, skipped


def _write(path: Path, save: Callable[[Any], None]) -> str:
    """Write a file and return its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        with temporary.open("wb") as file:  # numpy.save would add a suffix to a name
            save(file)
        return file_hash(temporary)


def _save_metadata(records: list[Record], captions: list[list[str]], file: Any) -> None:
    """Write one row an image; `caption`, the first, is for programs made for clip-retrieval."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": pa.array([record.id for record in records], pa.string()),
        "caption": pa.array([texts[0] if texts else None for texts in captions], pa.string()),
        "captions": pa.array(captions, pa.list_(pa.string())),
        "label": pa.array([record.label for record in records], pa.int64()),
    }
    pq.write_table(pa.table(columns), file)
