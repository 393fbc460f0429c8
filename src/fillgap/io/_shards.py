"""Which files a path stands for, and several files read as one."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fillgap.errors import InputError
from fillgap.files import missing_path
from fillgap.io._names import SUFFIXES, Modality, natural_key, split_key
from fillgap.io._reading import Block, exact_blocks
from fillgap.pair import RowSource
from fillgap.remote import is_remote

__all__ = ["CLIP_FOLDERS", "ShardedRows", "is_clip_folder", "place_of", "shard_paths"]

#: Where the program clip-retrieval puts the embeddings of each side.
CLIP_FOLDERS: dict[Modality, str] = {"image": "img_emb", "text": "text_emb"}


@dataclass(eq=False)
class ShardedRows:
    """A `RowSource` over several others, one after the other.

    Parameters
    ----------
    name : str
        What messages call all of them: the folder or the pattern.
    parts : sequence of RowSource
        In the order of their rows. Blocks are of the widest type among them.

    Raises
    ------
    InputError
        If the dimensions differ.
    """

    name: str
    parts: Sequence[RowSource]
    shape: tuple[int, int] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        first = self.parts[0]
        for part in self.parts:
            if part.shape[1] != first.shape[1]:
                raise InputError(
                    f"{self.name} must be shards of one dimension, got {first.shape[1]} in "
                    f"{first.name} and {part.shape[1]} in {part.name}. "
                    "Read shards of different models apart."
                )
        self.shape = (sum(part.shape[0] for part in self.parts), first.shape[1])
        self.dtype = np.result_type(*(part.dtype for part in self.parts))

    def iter_blocks(self, block_rows: int) -> Iterator[Block]:
        """Yield arrays of exactly `block_rows` rows, the last one shorter, across all parts."""
        blocks = chain.from_iterable(part.iter_blocks(block_rows) for part in self.parts)
        return exact_blocks((block.astype(self.dtype, copy=False) for block in blocks), block_rows)


def is_clip_folder(path: Path) -> bool:
    """Tell whether a folder has the layout of clip-retrieval."""
    if is_remote(path) and path.suffix.lower() in SUFFIXES:
        return False  # without asking the store
    return any((path / name).is_dir() for name in CLIP_FOLDERS.values())


def place_of(spec: str | Path, modality: Modality | None) -> tuple[Path, str | None]:
    """Return (path, key) of a spec; of a folder of clip-retrieval it is the folder of one side."""
    path, key = split_key(spec)
    if not is_clip_folder(path):
        return path, key
    if modality is None:
        raise InputError(
            f"{path} must be the embeddings of one side, got a clip-retrieval folder with both. "
            f"Write {path / 'img_emb'} or {path / 'text_emb'}."
        )
    return path / CLIP_FOLDERS[modality], key


def shard_paths(path: Path) -> list[Path]:
    """Return the files that a path, a folder or a pattern stands for, in natural order.

    Raises
    ------
    InputError
        If there are none, or if a folder leaves open which ones are meant.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        return _files_in(path)
    found = _matching(path)
    files = sorted((file for file in found if file.is_file()), key=natural_key)
    if not files and glob.has_magic(str(path)):
        raise InputError(f"{path} must match files, got none. Check the folder and the pattern.")
    if not files:
        raise missing_path(path)
    return files


def _matching(pattern: Path) -> list[Path]:
    """Return what a pattern matches, in this machine's folders or in a store."""
    if not is_remote(pattern):
        return [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207
    folder, parts = pattern, list[str]()
    while glob.has_magic(str(folder)):
        folder, parts = folder.parent, [folder.name, *parts]
    return list(folder.glob("/".join(parts))) if parts else []


def _files_in(folder: Path) -> list[Path]:
    """Return the shards in a folder; hidden files and the marks of other programs are none."""
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and file.name[0] not in "._" and file.is_file()
    ]
    suffixes = sorted({file.suffix.lower() for file in files})
    if len(suffixes) == 1:
        return sorted(files, key=natural_key)
    if not suffixes:
        raise InputError(
            f"{folder} must be a folder of shards ({', '.join(SUFFIXES)}), got none in it. "
            "Name the folder that holds the files themselves."
        )
    raise InputError(
        f"{folder} must be a folder of shards of one format, got {' and '.join(suffixes)}. "
        f"Choose by a pattern: '{folder}/*{suffixes[0]}'."
    )
