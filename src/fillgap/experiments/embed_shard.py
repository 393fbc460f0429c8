"""One shard of an embedded dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, unit_rows
from fillgap._files import atomic_file
from fillgap._progress import Progress, silent
from fillgap.datasets._record import Dataset, Record
from fillgap.encoders import Encoder, load_picture, prefetch
from fillgap.io import EmbeddedShard
from fillgap.io._embedded import file_hash

__all__ = ["FOLDERS", "ShardJob", "batch_size", "embed_shard"]

#: Where the files of a shard go.
FOLDERS: Final = ("img_emb", "text_emb", "metadata")
_BATCH: Final = 64


@dataclass(frozen=True)
class ShardJob:
    """A function of (number, rows) that embeds a shard, for workers.

    Parameters
    ----------
    open_dataset, open_encoder : callable
        Called without arguments by the worker that gets a shard. They give the same object each
        time in one process, so that an encoder is loaded once.
    folder : Path
        Where the shards go: a file system that all workers share.
    dtype, n_threads
        As for `embed_dataset`.
    """

    open_dataset: Callable[[], Dataset]
    open_encoder: Callable[[], Encoder]
    folder: Path
    dtype: str
    n_threads: int

    def __call__(self, item: tuple[int, range]) -> EmbeddedShard:
        """Return what became of the rows."""
        number, rows = item
        return embed_shard(
            self.open_dataset(),
            self.open_encoder(),
            rows,
            self.folder,
            number=number,
            dtype=self.dtype,
            n_threads=self.n_threads,
        )


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
    made = encode_rows(dataset, encoder, rows, n_threads=n_threads, progress=progress)
    files = {}
    for side, vectors in (("img_emb", made.images), ("text_emb", made.texts)):
        if len(vectors):
            name = f"{side}/{side}_{number:04}.npy"
            checked = unit_rows(vectors, f"the {side} of {encoder.name}").astype(dtype)
            files[name] = _write(root / name, checked)
    if made.records:
        name = f"metadata/metadata_{number:04}.parquet"
        files[name] = _write_metadata(root / name, made.records, made.captions)
    return EmbeddedShard(
        number=number,
        start=rows.start,
        stop=rows.stop,
        n_images=len(made.images),
        n_texts=len(made.texts),
        n_empty=made.n_empty,
        skipped=made.skipped,
        files=files,
    )


@dataclass(frozen=True, eq=False)
class Encoded:
    """Some rows of a dataset, and their vectors.

    Attributes
    ----------
    records : list of Record
        Those whose images could be read or that have none, without their images.
    captions : list of tuple of str
        Of each, without empty ones.
    images, texts : array of shape (n, n_features)
        A vector of each image, and of each caption, one after the other.
    n_empty : int
        Captions that were left out.
    skipped : list of dict
        The records whose images could not be read: `id` and `reason`.
    """

    records: list[Record]
    captions: list[tuple[str, ...]]
    images: NDArray[Any]
    texts: NDArray[Any]
    n_empty: int
    skipped: list[dict[str, str]]


def encode_rows(
    dataset: Dataset,
    encoder: Encoder,
    rows: range,
    *,
    n_threads: int = 4,
    progress: Progress | None = None,
) -> Encoded:
    """Return the vectors of some rows of a dataset; nothing is written."""
    records, images, skipped = _encode_images(dataset, encoder, rows, n_threads, progress or silent)
    captions = [tuple(text for text in record.captions if text.strip()) for record in records]
    flat = [text for texts in captions for text in texts]
    texts = encoder.encode_texts(flat) if flat else np.empty((0, encoder.n_features))
    n_empty = sum(len(record.captions) for record in records) - len(flat)
    return Encoded(records, captions, images, texts, n_empty, skipped)


def batch_size(encoder: Encoder) -> int:
    """Return how many pictures are best passed at once."""
    return int(getattr(encoder, "batch_size", _BATCH))


def _encode_images(
    dataset: Dataset, encoder: Encoder, rows: range, n_threads: int, progress: Progress
) -> tuple[list[Record], NDArray[Any], list[dict[str, str]]]:
    """Return the records whose images could be read or that have none, the rows, and the others."""
    records: list[Record] = []
    skipped: list[dict[str, str]] = []
    blocks: list[NDArray[Any]] = []
    batch: list[Any] = []
    size = batch_size(encoder)
    for done, (record, prepared) in enumerate(
        _prepared(dataset, encoder, rows, n_threads, 2 * size), start=1
    ):
        if isinstance(prepared, InputError):
            skipped.append({"id": record.id, "reason": str(prepared)})
        else:
            records.append(record)
            if prepared is not None:
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
    """Yield each record with what `encode_images` takes, the `InputError` of its image or None."""
    prepare = getattr(encoder, "prepare_image", load_picture)

    def attempt(record: Record) -> tuple[Record, Any]:
        if record.image is None:
            return record, None
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
