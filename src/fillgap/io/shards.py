"""Which files a path stands for: opened as one, shard by shard, in parts, or as both sides."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from fillgap.errors import InputError, InputTypeError
from fillgap.files import missing_path
from fillgap.io.arrays import Entry, RawRows
from fillgap.io.embedded import check_complete, read_manifest
from fillgap.io.names import (
    SUFFIXES,
    Block,
    Modality,
    exact_blocks,
    full_name,
    guess_modality,
    natural_key,
    split_key,
)
from fillgap.io.tables import format_of
from fillgap.pair import RowSource, iter_blocks
from fillgap.remote import is_remote

#: Where the program clip-retrieval puts the embeddings of each side.
CLIP_FOLDERS: dict[Modality, str] = {"image": "img_emb", "text": "text_emb"}


def open_rows(path: str | Path, *, modality: Modality | None = None) -> RowSource:
    """Open embeddings for reading block by block; only what comes before the rows is read now.

    Parameters
    ----------
    path : str or path
        A file (.npy, .npz, .safetensors, .parquet, .arrow, .feather), a folder of such shards, a
        pattern like "part_*.npy", or a folder of clip-retrieval. The array or column of a file
        that holds several stands behind a colon: "clip.npz:images". Shards are put one after the
        other in natural order (part_2 before part_10).
    modality : "image" or "text", optional
        The side that is wanted, which chooses among several arrays by their names, and the folder
        of that side in a folder of clip-retrieval.

    Returns
    -------
    RowSource
        Blocks are float16, float32 or float64 as the file is (bfloat16 is read as float32).

    Raises
    ------
    InputError, InputTypeError
        If nothing is there, the file is damaged, or it does not hold embeddings.
    """
    parts = open_files(path, modality)
    if len(parts) == 1:
        return parts[0]
    return ShardedRows(full_name(*_place_of(path, modality)), parts)


def load_rows(path: str | Path, *, modality: Modality | None = None) -> Block:
    """Return embeddings as one array of shape (n_samples, n_features).

    One .npy or safetensors file in the byte order of this machine becomes a read-only memory map;
    everything else is loaded. See `open_rows` for the parameters.
    """
    return in_memory(open_rows(path, modality=modality))


def in_memory(source: RowSource) -> Block:
    """Return all rows: mapped where that is possible, loaded otherwise."""
    mapped = source.mapped() if isinstance(source, RawRows) else None
    if mapped is not None:
        return mapped
    try:
        rows = np.empty(source.shape, source.dtype)
    except (MemoryError, ValueError) as error:
        raise InputError(
            f"{source.name} must fit into memory, got {source.shape[0]} rows of "
            f"{source.shape[1]} numbers. Read it block by block, or take a part of it."
        ) from error
    for start, block in iter_blocks(source, source.name):
        rows[start : start + len(block)] = block
    return rows


def open_files(path: str | Path, modality: Modality | None) -> list[RowSource]:
    """Open each file that a path stands for."""
    place, key = _place_of(path, modality)
    return [format_of(file).open_file(file, key, modality) for file in _shard_paths(place)]


@dataclass(frozen=True)
class BadShard:
    """A shard that cannot be opened, and why."""

    name: str
    reason: str


def open_shards(path: str | Path, modality: Modality | None = None) -> list[RowSource | BadShard]:
    """Open each file that a path stands for by itself; one that cannot be read is a `BadShard`.

    Parameters
    ----------
    path, modality
        As for `open_rows`.

    Raises
    ------
    InputError
        If the path stands for nothing.
    """
    place, key = _place_of(path, modality)
    shards: list[RowSource | BadShard] = []
    for file in _shard_paths(place):
        try:
            shards.append(format_of(file).open_file(file, key, modality))
        except (InputError, InputTypeError) as error:
            shards.append(BadShard(str(file), str(error)))
    return shards


def _place_of(spec: str | Path, modality: Modality | None) -> tuple[Path, str | None]:
    """Return (path, key) of a spec; of a folder of clip-retrieval it is the folder of one side."""
    path, key = split_key(spec)
    if not _is_clip_folder(path):
        return path, key
    if modality is None:
        raise InputError(
            f"{path} must be the embeddings of one side, got a clip-retrieval folder with both. "
            f"Write {path / 'img_emb'} or {path / 'text_emb'}."
        )
    return path / CLIP_FOLDERS[modality], key


def _is_clip_folder(path: Path) -> bool:
    if is_remote(path) and path.suffix.lower() in SUFFIXES:
        return False  # without asking the store
    return any((path / name).is_dir() for name in CLIP_FOLDERS.values())


def _shard_paths(path: Path) -> list[Path]:
    """Return the files that a path, a folder or a pattern stands for, in natural order."""
    if path.is_file():
        return [path]
    if path.is_dir():
        return _files_in(path)
    files = sorted((file for file in _matching(path) if file.is_file()), key=natural_key)
    if not files and glob.has_magic(str(path)):
        raise InputError(f"{path} must match files, got none. Check the folder and the pattern.")
    if not files:
        raise missing_path(path)
    return files


def _files_in(folder: Path) -> list[Path]:
    """Return the shards in a folder; hidden files and the marks of other programs are none."""
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and file.name[0] not in "._" and file.is_file()
    ]
    suffixes = sorted({file.suffix.lower() for file in files})
    if not suffixes:
        raise InputError(
            f"{folder} must be a folder of shards ({', '.join(SUFFIXES)}), got none in it. "
            "Name the folder that holds the files themselves."
        )
    if len(suffixes) > 1:
        raise InputError(
            f"{folder} must be a folder of shards of one format, got {' and '.join(suffixes)}. "
            f"Choose by a pattern: '{folder}/*{suffixes[0]}'."
        )
    return sorted(files, key=natural_key)


def _matching(pattern: Path) -> list[Path]:
    """Return what a pattern matches, in this machine's folders or in a store."""
    if not is_remote(pattern):
        return [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207
    folder, parts = pattern, list[str]()
    while glob.has_magic(str(folder)):
        folder, parts = folder.parent, [folder.name, *parts]
    return list(folder.glob("/".join(parts))) if parts else []


class ShardedRows:
    """A `RowSource` over several others, one after the other; its blocks are of the widest type."""

    def __init__(self, name: str, parts: Sequence[RowSource]) -> None:
        self.name, self.parts = name, parts
        first = parts[0]
        for part in parts:
            if part.shape[1] != first.shape[1]:
                raise InputError(
                    f"{name} must be shards of one dimension, got {first.shape[1]} in "
                    f"{first.name} and {part.shape[1]} in {part.name}. "
                    "Read shards of different models apart."
                )
        self.shape = (sum(part.shape[0] for part in parts), first.shape[1])
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def iter_blocks(self, block_rows: int) -> Iterator[Block]:
        """Yield arrays of exactly `block_rows` rows, the last one shorter, across all parts."""
        blocks = chain.from_iterable(part.iter_blocks(block_rows) for part in self.parts)
        return exact_blocks((block.astype(self.dtype, copy=False) for block in blocks), block_rows)


class RowRange:
    """A `RowSource` over rows `start` to `stop` of one that is read from its start."""

    def __init__(self, source: RowSource, start: int, stop: int) -> None:
        self.source, self.start, self.stop = source, start, stop
        self.name, self.dtype = source.name, source.dtype
        self.shape = (stop - start, source.shape[1])

    def iter_blocks(self, block_rows: int) -> Iterator[Block]:
        """Yield arrays of exactly `block_rows` rows, the last one shorter."""
        return exact_blocks(self._chunks(block_rows), block_rows)

    def _chunks(self, block_rows: int) -> Iterator[Block]:
        for at, block in iter_blocks(self.source, self.name, block_rows):
            yield block[max(self.start - at, 0) : max(self.stop - at, 0)]
            if at + len(block) >= self.stop:
                return


def reads_ranges(source: RowSource) -> bool:
    """Tell whether any range of rows can be read without reading what comes before it."""
    return isinstance(source, RawRows) and source.is_file and not source.entry.fortran


def rows_between(source: RowSource, start: int, stop: int) -> RowSource:
    """Return the rows of `source` from `start` on and before `stop`, as a source of their own."""
    if (start, stop) == (0, source.shape[0]):
        return source
    if not isinstance(source, RawRows) or source.entry.fortran:
        return RowRange(source, start, stop)
    scales = source.scales
    if scales is not None and scales.shape[1] == 1:  # one a row
        scales = _part_of(scales, start, stop)
    entry = _part_of(source.entry, start, stop)
    return RawRows(source.path, source.key, entry, scales, is_file=source.is_file)


def _part_of(entry: Entry, start: int, stop: int) -> Entry:
    row_bytes = entry.shape[1] * entry.stored.itemsize
    return entry._replace(
        shape=(stop - start, entry.shape[1]),
        offset=entry.offset + start * row_bytes,
        size=(stop - start) * row_bytes,
    )


def open_sides(images: str | Path, texts: str | Path | None = None) -> tuple[RowSource, RowSource]:
    """Open image embeddings and text embeddings for reading block by block.

    Parameters
    ----------
    images, texts : str or path
        As for `open_rows`. Left out, `texts` are in the same place as the images: another array or
        column of one file, or the other half of a folder of clip-retrieval.

    Returns
    -------
    tuple of RowSource
        Images and texts.

    Raises
    ------
    InputError, InputTypeError
        If one cannot be opened, both are the same, their names say that they are swapped, or the
        shards of a folder of clip-retrieval do not match.
    """
    sides = (
        open_rows(images, modality="image"),
        open_rows(images if texts is None else texts, modality="text"),
    )
    check_sides(sides[0].name, sides[1].name)
    root = clip_root(images, texts)
    if root is not None:
        _check_shards(root)
    return sides


def clip_root(images: str | Path, texts: str | Path | None) -> Path | None:
    """Return the folder of clip-retrieval that both sides are in, or None."""
    root = split_key(images)[0]
    both = texts is None or split_key(texts)[0] == root
    return root if both and _is_clip_folder(root) else None


def check_sides(images: str, texts: str) -> None:
    """Refuse one array for both sides, and sides whose names say that they are swapped."""
    if images == texts:
        raise InputError(
            f"images and texts must be two sets of embeddings, got {images} for both. "
            "Name a second file, or an array of each side in this one."
        )
    if (guess_modality(images), guess_modality(texts)) == ("text", "image"):
        raise InputError(
            f"images must be given before texts, got {images} and {texts}, "
            "whose names say the opposite. Swap them, or rename them if the names are wrong."
        )


def _check_shards(root: Path) -> None:
    """Refuse a folder of clip-retrieval in which the shards of both sides do not match."""
    manifest = read_manifest(root)
    if manifest is not None:  # it counts the rows of each side, which may differ
        check_complete(root, manifest)
        if manifest.n_images + len(manifest.skipped) != manifest.n_done:
            raise InputError(
                f"{root} must hold images with their captions, got texts of no image among them. "
                "Queries and documents are for fillgap bench mixed FOLDER --embeddings."
            )
        return
    images, texts = (open_files(root / name, None) for name in CLIP_FOLDERS.values())
    if len(images) != len(texts):
        raise InputError(
            f"{root} must have as many shards of images as of texts, got {len(images)} and "
            f"{len(texts)}. Complete the folder, or remove the shards without a partner."
        )
    for image, text in zip(images, texts, strict=True):
        if image.shape[0] != text.shape[0]:
            raise InputError(
                f"{root} must have pairs of shards with equal rows, got {image.shape[0]} in "
                f"{image.name} and {text.shape[0]} in {text.name}. Write those shards again."
            )
