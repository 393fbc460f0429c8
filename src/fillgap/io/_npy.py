"""NumPy's .npy files: one array, read by its header and then block by block."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError
from fillgap.io._names import Modality
from fillgap.io._raw import RawRows, replaced_rows, write_blocks
from fillgap.io._reading import Apply, Block, open_binary, reading

__all__ = ["open_file", "read_header", "rewrite", "write", "write_array"]


def open_file(path: Path, key: str | None, modality: Modality | None) -> RawRows:  # noqa: ARG001
    """Open the array of an .npy file; nothing but the header is read."""
    _refuse_key(path, key)
    with reading(str(path), "an .npy file"), open_binary(path) as stream:
        shape, fortran, stored = read_header(stream)
        offset = stream.tell()
        size = stream.seek(0, 2) - offset
    source = partial(open_binary, path)
    return RawRows(path, None, shape, stored, offset, size, fortran, source, mappable=True)


def rewrite(source: RawRows, target: Path, apply: Apply) -> None:
    """Write the rows of `source`, each block passed through `apply`."""
    shape, blocks = replaced_rows(source, apply)
    write(target, None, shape, source.dtype, blocks)


def write(
    target: Path,
    key: str | None,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    blocks: Iterable[Block],
) -> None:
    """Write one array, given in blocks."""
    _refuse_key(target, key)
    with target.open("wb") as file:
        write_array(file, shape, dtype, blocks)


def read_header(stream: BufferedIOBase) -> tuple[Any, bool, np.dtype[Any]]:
    """Return (shape, whether columns lie together, type) from where an .npy stream begins."""
    version = np.lib.format.read_magic(stream)
    # Version 3 only changes the encoding of field names, which embeddings do not have.
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    return read(stream)


def write_array(
    file: IO[bytes],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    blocks: Iterable[NDArray[Any]],
) -> None:
    """Write the header and the rows of all blocks."""
    description = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(
        file, {"descr": description, "fortran_order": False, "shape": shape}
    )
    write_blocks(blocks, dtype, file)


def _refuse_key(path: Path, key: str | None) -> None:
    if key is not None:
        raise InputError(
            f"{path} must be without a name of an array, since an .npy file holds only one, "
            f"got {key!r}. Leave out ':{key}'."
        )
