"""Arrays whose bytes lie one after the other: .npy, members of .npz, tensors of safetensors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple, cast
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, InputTypeError, check_integer
from fillgap.io.names import (
    DEFAULT_KEY,
    WRITE_AGAIN,
    Block,
    Modality,
    NewRows,
    check_stored,
    choose_key,
    full_name,
    read_ahead,
    reading,
)
from fillgap.remote import is_remote


class Entry(NamedTuple):
    """One array of a file: its `size` bytes from `offset` on in the stream that `open` returns.

    They are of the type `stored`, in either byte order, and in rows unless it is `fortran`.
    bfloat16 is stored as uint16, the upper halves of float32.
    """

    shape: tuple[int, ...]
    stored: np.dtype[Any]
    offset: int
    size: int
    open: Callable[[], BufferedIOBase]
    fortran: bool = False
    bfloat16: bool = False


class RawRows:
    """A `RowSource` over one array in a binary stream; `dtype` is the type of its blocks.

    The array can be mapped into memory where the stream is the file. int8 is multiplied by scales
    of shape (n_samples, 1) or (1, n_features).
    """

    def __init__(
        self,
        path: Path,
        key: str | None,
        entry: Entry,
        scales: Entry | None = None,
        *,
        is_file: bool = True,
    ) -> None:
        self.path, self.key, self.entry, self.scales = path, key, entry, scales
        self.is_file = is_file
        self.name = full_name(path, key)
        self.stored = entry.stored
        decoded = entry.bfloat16 or scales is not None
        self.dtype = np.dtype(np.float32) if decoded else self.stored.newbyteorder("=")
        check_stored(entry.shape, self.dtype, self.name)
        self.shape: tuple[int, int] = (entry.shape[0], entry.shape[1])
        expected = math.prod(self.shape) * self.stored.itemsize
        if entry.size != expected:
            raise InputError(
                f"{self.name} must be {expected} bytes of entries by its header, got {entry.size}. "
                f"{WRITE_AGAIN}"
            )

    def iter_blocks(self, block_rows: int) -> Iterator[Block]:
        """Yield arrays of exactly `block_rows` rows, the last one shorter, from the start.

        The bytes are read, not mapped: pages of a map count as memory of the process.
        """
        check_integer(block_rows, "block_rows", low=1)
        return read_ahead(self.path, self._blocks(block_rows))

    def _blocks(self, block_rows: int) -> Iterator[Block]:
        read = self._read_columns if self.entry.fortran else self._read_rows
        counts = [
            min(block_rows, self.shape[0] - start) for start in range(0, self.shape[0], block_rows)
        ]
        factors = self._factors(counts)
        with reading(self.name, "a complete array"):
            stream = self.entry.open()
        with stream:
            for number, count in enumerate(counts):
                with reading(self.name, "a complete array"):
                    block = read(stream, number * block_rows, count)
                    factor = next(factors)
                if self.scales is not None:
                    yield block * factor
                elif self.entry.bfloat16:
                    yield (block.astype(np.uint32) << 16).view(np.float32)
                else:
                    yield block.astype(self.dtype, order="C", copy=False)

    def _factors(self, counts: Iterable[int]) -> Iterator[NDArray[np.float32] | None]:
        """Yield what to multiply blocks of that many int8 rows by."""
        if self.scales is None:
            yield from (None for _ in counts)
            return
        with self.scales.open() as stream:
            stream.seek(self.scales.offset)
            per_row = self.scales.shape[1] == 1
            values = np.empty(0 if per_row else self.shape[1], self.scales.stored)
            self._fill(stream, values)
            for count in counts:
                if per_row:
                    values = np.empty((count, 1), self.scales.stored)
                    self._fill(stream, values)
                yield values.astype(np.float32, copy=False)

    def mapped(self) -> Block | None:
        """Return the array as a memory map, or None where its bytes are not usable as they are."""
        if not self.is_file or self.stored != self.dtype or is_remote(self.path):
            return None
        with reading(self.name, "a complete array"):
            return np.memmap(
                self.path,
                dtype=self.dtype,
                mode="r",
                offset=self.entry.offset,
                shape=self.shape,
                order="F" if self.entry.fortran else "C",
            )

    def _read_rows(self, stream: BufferedIOBase, start: int, count: int) -> NDArray[Any]:
        if start == 0:
            stream.seek(self.entry.offset)
        block = np.empty((count, self.shape[1]), self.stored)
        self._fill(stream, block)
        return block

    def _read_columns(self, stream: BufferedIOBase, start: int, count: int) -> NDArray[Any]:
        """Read the same rows of every column: one seek a column, and no more than the block."""
        columns = np.empty((self.shape[1], count), self.stored)
        for j, column in enumerate(columns):
            stream.seek(self.entry.offset + (j * self.shape[0] + start) * self.stored.itemsize)
            self._fill(stream, column)
        return columns.T

    def _fill(self, stream: BufferedIOBase, array: NDArray[Any]) -> None:
        if stream.readinto(array.data) != array.nbytes:
            raise InputError(
                f"{self.name} must be as long as its header says, got the end of the file "
                f"too early. {WRITE_AGAIN}"
            )


def _open_bytes(path: Path) -> BufferedIOBase:
    return path.open("rb")


def _scales_key(entries: Mapping[str, Entry], key: str) -> str | None:
    """Return the name of the scales that belong to an int8 array, or None.

    `vectors` go with `scales`, `image_vectors` with `image_scales`, `images` with `images_scales`.
    """
    names = (f"{key}_scales", key.replace("vectors", "scales"), "scales")
    if entries[key].stored != np.int8:
        return None
    return next((name for name in names if name != key and name in entries), None)


def _scales_of(entries: Mapping[str, Entry], key: str, name: str) -> Entry | None:
    """Return the scales of an int8 array as (n, 1) or (1, d); refuse those of another shape."""
    scales_key = _scales_key(entries, key)
    if scales_key is None:
        return None
    scales, shape = entries[scales_key], entries[key].shape
    n, d = (*shape, 0, 0)[:2]
    if scales.stored.kind != "f":
        raise InputTypeError(
            f"{name} must have scales that are floating point numbers, got {scales.stored}. "
            "Store them as float32."
        )
    if scales.shape in {(n,), (n, 1)}:  # also where n = d
        return scales._replace(shape=(n, 1))
    if scales.shape in {(d,), (1, d)}:
        return scales._replace(shape=(1, d))
    raise InputError(
        f"{name} must have one scale for each row or each dimension, got {scales_key!r} of shape "
        f"{scales.shape} for vectors of shape {shape}. Store ({n},) or ({d},) scales."
    )


def _is_usable(entries: Mapping[str, Entry], key: str) -> bool:
    """Tell whether an array may be embeddings: 2-D, of floats, or of int8 with scales."""
    if len(entries[key].shape) != 2 or any(_scales_key(entries, e) == key for e in entries):
        return False
    is_float = entries[key].bfloat16 or entries[key].stored.kind == "f"
    return is_float or _scales_key(entries, key) is not None


def open_npy(path: Path, key: str | None, modality: Modality | None) -> RawRows:  # noqa: ARG001
    """Open the array of an .npy file; nothing but the header is read."""
    _refuse_key(path, key)
    with reading(str(path), "an .npy file"), path.open("rb") as stream:
        shape, fortran, stored = _read_npy_header(stream)
        offset = stream.tell()
        size = stream.seek(0, 2) - offset
    entry = Entry(shape, stored, offset, size, partial(_open_bytes, path), fortran)
    return RawRows(path, None, entry)


def write_npy(target: Path, key: str | None, rows: NewRows) -> None:
    """Write one array, row after row."""
    _refuse_key(target, key)
    with target.open("wb") as file:
        _write_npy(file, rows)


def _refuse_key(path: Path, key: str | None) -> None:
    if key is not None:
        raise InputError(
            f"{path} must be without a name of an array, since an .npy file holds only one, "
            f"got {key!r}. Leave out ':{key}'."
        )


def _read_npy_header(stream: BufferedIOBase) -> tuple[Any, bool, np.dtype[Any]]:
    """Return (shape, whether columns lie together, type) from where an .npy stream begins."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    # Version 3 only changes the encoding of field names, which embeddings do not have.
    return np.lib.format.read_array_header_2_0(stream)


def _write_npy(file: IO[bytes], rows: NewRows) -> None:
    kind = np.lib.format.dtype_to_descr(rows.dtype)
    np.lib.format.write_array_header_1_0(
        file, {"descr": kind, "fortran_order": False, "shape": rows.shape}
    )
    for block in rows.blocks:
        file.write(np.ascontiguousarray(block, dtype=rows.dtype).data)


def open_npz(path: Path, key: str | None, modality: Modality | None) -> RawRows:
    """Open one array; of each array no more than the header is read."""
    with reading(str(path), "an .npz archive"), _archive(path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        entries: dict[str, Entry] = {}
        for name, info in members.items():
            if key is None or name == key or "scales" in name:  # others may be anything
                with _open(archive, info) as stream:
                    shape, fortran, stored = _read_npy_header(stream)
                    offset = stream.tell()
                opener = partial(_open_member, path, info.filename, whole=fortran)
                size = info.file_size - offset
                entries[name] = Entry(shape, stored, offset, size, opener, fortran)
        usable = {name: name in entries and _is_usable(entries, name) for name in members}
        key = choose_key(usable, key, modality, path, "array")
    scales = _scales_of(entries, key, full_name(path, key))
    return RawRows(path, key, entries[key], scales, is_file=False)


def write_npz(target: Path, key: str | None, rows: NewRows) -> None:
    """Write an archive with one array, not compressed: embeddings hardly shrink."""
    name = f"{DEFAULT_KEY if key is None else key}.npy"
    with ZipFile(target, "w") as archive, archive.open(name, "w", force_zip64=True) as member:
        _write_npy(member, rows)


def _archive(path: Path) -> ZipFile:
    return ZipFile(path.open("rb") if is_remote(path) else path)


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


#: Types of tensors that may be embeddings, as they are stored.
_TENSORS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2", "I8": "<i1"}


def open_safetensors(path: Path, key: str | None, modality: Modality | None) -> RawRows:
    """Open one tensor of a file; nothing but the header is read.

    It is parsed here, not by the library, because that maps the whole file into memory (its pages
    then count as memory of the process) and has no NumPy type for bfloat16.
    """
    with reading(str(path), "a safetensors file"), path.open("rb") as stream:
        header = _read_safetensors_header(stream)
        start = stream.tell()
        end = stream.seek(0, 2)
        if "fillgap" in header.pop("__metadata__", {}):
            raise InputError(
                f"{path} must hold embeddings, got what fit or recommend wrote. "
                "Pass the rows that a model gave."
            )
        entries: dict[str, Entry] = {}
        for name, tensor in header.items():
            shape = tuple(int(size) for size in tensor["shape"])
            stored = np.dtype(_TENSORS.get(tensor["dtype"], "<i8"))
            first, last = (int(tensor["data_offsets"][i]) for i in (0, 1))
            entries[name] = Entry(
                shape,
                stored,
                start + first,
                last - first,
                partial(_open_bytes, path),
                bfloat16=tensor["dtype"] == "BF16",
            )
        usable = {name: _is_usable(entries, name) for name in entries}
        key = choose_key(usable, key, modality, path, "tensor")
        kind = header[key]["dtype"]
        if kind not in _TENSORS or (kind == "I8" and _scales_key(entries, key) is None):
            raise InputTypeError(
                f"{full_name(path, key)} must be F16, BF16, F32 or F64, or I8 with scales, got "
                f"{kind}. Convert the tensor, or check that it holds the embeddings."
            )
        for entry in entries.values():
            if not start <= entry.offset <= entry.offset + entry.size <= end:
                raise ValueError("a tensor lies outside of the file")
    return RawRows(path, key, entries[key], _scales_of(entries, key, full_name(path, key)))


def _read_safetensors_header(stream: BufferedIOBase) -> dict[str, Any]:
    length = int.from_bytes(stream.read(8), "little")
    if length > 100_000_000:  # the limit of the format
        raise ValueError("its header is too long")
    text = stream.read(length)
    if len(text) != length:
        raise ValueError("its header is cut short")
    return json.loads(text)


def write_safetensors(target: Path, key: str | None, rows: NewRows) -> None:
    """Write one tensor, given in blocks."""
    itemsize = 2 if rows.bfloat16 else rows.dtype.itemsize
    tensor = {
        "dtype": "BF16" if rows.bfloat16 else f"F{8 * itemsize}",
        "shape": rows.shape,
        "data_offsets": [0, rows.shape[0] * rows.shape[1] * itemsize],
    }
    header = {DEFAULT_KEY if key is None else key: tensor}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensor lies at a multiple of 8
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for block in rows.blocks:
            if rows.bfloat16:
                bits = np.ascontiguousarray(block, dtype="<f4").view("<u4")
                bits = bits + (0x7FFF + ((bits >> 16) & 1))  # to the nearest, ties to even
                file.write((bits >> 16).astype("<u2").data)
            else:
                file.write(np.ascontiguousarray(block, rows.dtype.newbyteorder("<")).data)
