"""Opening embeddings by path, whatever the format."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from fillgap.errors import InputError
from fillgap.io._names import SUFFIXES, Modality, full_name
from fillgap.io._raw import RawRows
from fillgap.io._reading import Apply, Block
from fillgap.io._shards import ShardedRows, place_of, shard_paths
from fillgap.pair import RowSource, iter_blocks

__all__ = ["Adapter", "adapter_of", "in_memory", "load_rows", "open_files", "open_rows"]


class Adapter(Protocol):
    """What the module of a format offers."""

    def open_file(self, path: Path, key: str | None, modality: Modality | None) -> RowSource:
        """Open the array or column of that name, or the one that stands out."""
        ...

    def rewrite(self, source: Any, target: Path, apply: Apply) -> None:
        """Write a copy of the source's file, its rows passed through `apply`."""
        ...

    def write(
        self,
        target: Path,
        key: str | None,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        blocks: Iterable[Block],
    ) -> None:
        """Write a file with nothing but these rows."""
        ...


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
    return ShardedRows(full_name(*place_of(path, modality)), parts)


def load_rows(path: str | Path, *, modality: Modality | None = None) -> Block:
    """Return embeddings as one array of shape (n_samples, n_features).

    One .npy or safetensors file in the byte order of this machine becomes a read-only memory map;
    everything else is loaded. See `open_rows` for the parameters.
    """
    return in_memory(open_rows(path, modality=modality))


def open_files(path: str | Path, modality: Modality | None) -> list[RowSource]:
    """Open each file that a path stands for."""
    place, key = place_of(path, modality)
    return [adapter_of(file).open_file(file, key, modality) for file in shard_paths(place)]


def adapter_of(path: Path) -> Adapter:
    """Return the module of a file's format, which is imported now."""
    module = SUFFIXES.get(path.suffix.lower())
    if module is None:
        raise InputError(
            f"{path} must end in one of {', '.join(SUFFIXES)}, got {path.suffix!r}. "
            "Convert it, for example with numpy.save."
        )
    return cast("Adapter", import_module(f"fillgap.io.{module}"))


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
