"""NumPy's .npz archives: several arrays in a zip file, stored or deflated."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any, cast
from zipfile import ZipFile, ZipInfo

import numpy as np

from fillgap.io._names import DEFAULT_KEY, Modality, choose_key, full_name
from fillgap.io._npy import read_header, write_array
from fillgap.io._raw import RawRows, replaced_rows
from fillgap.io._reading import Apply, Block, open_binary, reading
from fillgap.io._scales import Scales, is_usable, scales_key
from fillgap.remote import is_remote

__all__ = ["open_file", "rewrite", "write"]

_KIND = "an .npz archive"


def open_file(path: Path, key: str | None, modality: Modality | None) -> RawRows:
    """Open one array of an archive; of each array no more than the header is read.

    Without a key it is the only 2-D array of floats, or the one whose name fits the modality.
    """
    with reading(str(path), _KIND), _archive(path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        kinds = {
            name: _kind(archive, info)
            for name, info in members.items()
            if key is None or name == key or "scales" in name  # others may be anything
        }
        candidates = {name: name in kinds and is_usable(kinds, name) for name in members}
        key = choose_key(candidates, key, modality, path, "array")
        info = members[key]
        with _open(archive, info) as stream:
            shape, fortran, stored = read_header(stream)
            offset = stream.tell()
        found = scales_key(kinds, key)
        scales = None if found is None else _scales(archive, path, members[found], found)
    size = info.file_size - offset
    source = partial(_open_member, path, info.filename, whole=fortran)
    if scales is not None:
        scales = scales.fitting(shape, full_name(path, key))
    return RawRows(
        path, key, shape, stored, offset, size, fortran, source, mappable=False, scales=scales
    )


def rewrite(source: RawRows, target: Path, apply: Apply) -> None:
    """Write an archive with the rows of `source` alone, each block passed through `apply`."""
    shape, blocks = replaced_rows(source, apply)
    write(target, source.key, shape, source.dtype, blocks)


def write(
    target: Path,
    key: str | None,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    blocks: Iterable[Block],
) -> None:
    """Write an archive with one array, not compressed: embeddings hardly shrink."""
    name = f"{DEFAULT_KEY if key is None else key}.npy"
    with ZipFile(target, "w") as archive, archive.open(name, "w", force_zip64=True) as member:
        write_array(member, shape, dtype, blocks)


def _archive(path: Path) -> ZipFile:
    return ZipFile(open_binary(path) if is_remote(path) else path)


def _kind(archive: ZipFile, info: ZipInfo) -> tuple[tuple[int, ...], str]:
    """Return the shape of a member, and what sort of numbers it has."""
    with _open(archive, info) as stream:
        shape, _, dtype = read_header(stream)
    return shape, {"f": "float"}.get(dtype.kind, "int8" if dtype == np.int8 else "other")


def _scales(archive: ZipFile, path: Path, info: ZipInfo, key: str) -> Scales:
    with _open(archive, info) as stream:
        shape, _, stored = read_header(stream)
        offset = stream.tell()
    return Scales(
        key, shape, stored, offset, partial(_open_member, path, info.filename, whole=False)
    )


def _open(archive: ZipFile, info: ZipInfo) -> BufferedIOBase:
    return cast("BufferedIOBase", archive.open(info))


def _open_member(path: Path, filename: str, *, whole: bool) -> BufferedIOBase:
    """Open a member; one that is read by columns is loaded, since seeking would inflate it anew."""
    with _archive(path) as archive:
        stream = _open(archive, archive.getinfo(filename))
    if not whole:
        return stream  # it keeps the file open after the archive object is closed
    with stream:
        return BytesIO(stream.read())
