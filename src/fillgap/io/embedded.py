"""The folder that `fillgap embed` writes: shards of both sides, and a manifest that describes them.

The layout is that of clip-retrieval, except that a shard may have more texts than images.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fillgap.errors import InputError
from fillgap.files import atomic_file
from fillgap.io.names import reading

MANIFEST = "manifest.json"
#: Raised when an older program could no longer read what is written.
_FORMAT_VERSION = 1
_KIND = "embedded dataset"
_REMEDY = (
    "Run the same fillgap embed again: it writes what is missing or damaged, and keeps the rest."
)


@dataclass(frozen=True)
class EmbeddedShard:
    """What became of some rows of a dataset.

    Attributes
    ----------
    number : int
        Place of the shard, from 0.
    start, stop : int
        Rows of the dataset that it covers.
    n_images, n_texts : int
        Embeddings of each side; there is no file for a side without any.
    n_empty : int
        Captions left out because nothing is in them.
    skipped : list of dict
        Images that could not be read: `id` and `reason`.
    files : dict of str to str
        SHA-256 by path within the folder.
    """

    number: int
    start: int
    stop: int
    n_images: int
    n_texts: int
    n_empty: int
    skipped: list[dict[str, str]]
    files: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """What a folder of embeddings holds, and of what it was made.

    Attributes
    ----------
    model : dict
        `name`, `revision` and `n_features` of the encoder.
    dataset : dict
        `name`, `n_records`, `fingerprint`, `class_names` and `problems`.
    dtype : str
        Type of the embeddings.
    shard_rows : int
        Rows of the dataset in one shard.
    shards : tuple of EmbeddedShard
        Those that are whole, in the order of their numbers.
    """

    model: dict[str, Any]
    dataset: dict[str, Any]
    dtype: str
    shard_rows: int
    shards: tuple[EmbeddedShard, ...] = ()

    @property
    def n_images(self) -> int:
        """Embedded images."""
        return sum(shard.n_images for shard in self.shards)

    @property
    def n_texts(self) -> int:
        """Embedded texts."""
        return sum(shard.n_texts for shard in self.shards)

    @property
    def skipped(self) -> list[dict[str, str]]:
        """Images that could not be read, each with its `id` and the `reason`."""
        return [item for shard in self.shards for item in shard.skipped]

    @property
    def n_empty(self) -> int:
        """Captions left out because nothing is in them."""
        return sum(shard.n_empty for shard in self.shards)

    @property
    def n_done(self) -> int:
        """Rows of the dataset that are dealt with."""
        return sum(shard.stop - shard.start for shard in self.shards)

    @property
    def complete(self) -> bool:
        """Whether every row of the dataset is dealt with."""
        return self.n_done == self.dataset["n_records"]


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder, in one step."""
    document = {
        "format_version": _FORMAT_VERSION,
        "kind": _KIND,
        "complete": manifest.complete,
        "n_images": manifest.n_images,
        "n_texts": manifest.n_texts,
        "n_skipped": len(manifest.skipped),
        **asdict(manifest),
    }
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    with atomic_file(root / MANIFEST) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_manifest(root: Path) -> Manifest | None:
    """Return the manifest of a folder, or None where there is none of ours.

    Raises
    ------
    InputError
        If it is damaged, or of a newer format version.
    """
    path = root / MANIFEST
    if not path.is_file():
        return None
    with reading(str(path), "a manifest of fillgap embed"):
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.get("kind") != _KIND:
            return None
        version = found["format_version"]
        if not isinstance(version, int) or version > _FORMAT_VERSION:
            raise InputError(
                f"{path} must be of format version {_FORMAT_VERSION} or older, got {version!r}. "
                "Upgrade fillgap: pip install --upgrade fillgap"
            )
        return Manifest(
            model=dict(found["model"]),
            dataset=dict(found["dataset"]),
            dtype=found["dtype"],
            shard_rows=int(found["shard_rows"]),
            shards=tuple(EmbeddedShard(**shard) for shard in found["shards"]),
        )


def check_complete(root: Path, manifest: Manifest) -> None:
    """Refuse a folder that is not finished, or whose files are not those of its manifest."""
    if not manifest.complete:
        raise InputError(
            f"{root} must be finished, got {manifest.n_done} of {manifest.dataset['n_records']} "
            f"records. {_REMEDY}"
        )
    for side in ("img_emb", "text_emb"):
        expected = {name for shard in manifest.shards for name in shard.files if side in name}
        present = {f"{side}/{path.name}" for path in (root / side).glob("*.npy")}
        if expected - present:
            raise InputError(
                f"{root} must hold every shard of its manifest, got no "
                f"{min(expected - present)}. {_REMEDY}"
            )
        if present - expected:
            raise InputError(
                f"{root} must hold the shards of its manifest alone, got "
                f"{min(present - expected)} too. Remove what was copied in."
            )


def check_hashes(root: Path, manifest: Manifest) -> None:
    """Refuse a folder in which a file is not what was written."""
    for shard in manifest.shards:
        for name, expected in shard.files.items():
            if not (root / name).is_file() or file_hash(root / name) != expected:
                raise InputError(
                    f"{root / name} must be as it was written, got other or damaged content. "
                    f"{_REMEDY}"
                )


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_metadata(root: Path, manifest: Manifest) -> dict[str, Any]:
    """Return ids, captions, the image of each text, and labels where every image has one."""
    import pyarrow.parquet as pq

    ids: list[str] = []
    captions: list[str] = []
    counts: list[int] = []
    labels: list[int | None] = []
    for shard in manifest.shards:
        for name in (name for name in shard.files if name.startswith("metadata/")):
            with reading(str(root / name), "a Parquet file of fillgap embed"):
                with (root / name).open("rb") as stream:
                    table = pq.read_table(stream).to_pydict()
                ids += table["id"]
                labels += table["label"]
                counts += map(len, table["captions"])
                captions += (text for texts in table["captions"] for text in texts)
    known: dict[str, Any] = {
        "image_ids": ids,
        "captions": captions,
        "image_index": np.repeat(np.arange(len(ids)), counts),
    }
    if labels and None not in labels:
        known["labels"] = np.array(labels, dtype=np.intp)
    return known
