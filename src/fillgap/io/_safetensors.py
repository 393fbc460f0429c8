"""Safetensors files: a header in JSON, then the bytes of each tensor.

The header is parsed here, not by the library, because that maps the whole file into memory (its
pages then count as memory of the process) and has no NumPy type for bfloat16.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, InputTypeError
from fillgap.io._names import DEFAULT_KEY, Modality, choose_key, full_name
from fillgap.io._raw import RawRows, replaced_rows, write_blocks
from fillgap.io._reading import Apply, Block, guarded, open_binary, reading
from fillgap.io._scales import Scales, is_usable, quantised_blocks, scales_key

__all__ = ["open_file", "rewrite", "write"]

_KIND = "a safetensors file"
_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2", "I8": "<i1"}
_MAX_HEADER = 100_000_000  # the format's own limit


def open_file(path: Path, key: str | None, modality: Modality | None) -> RawRows:
    """Open one tensor of a file; nothing but the header is read."""
    with reading(str(path), _KIND), open_binary(path) as stream:
        header, start = _read_header(stream)
        if "fillgap" in header.get("__metadata__", {}):
            raise InputError(
                f"{path} must hold embeddings, got what fit or recommend wrote. "
                "Pass the rows that a model gave."
            )
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        kinds = {name: _kind(entry) for name, entry in tensors.items()}
        candidates = {name: is_usable(kinds, name) for name in kinds}
        key = choose_key(candidates, key, modality, path, "tensor")
        entry = tensors[key]
        found = scales_key(kinds, key)
        if kinds[key][1] == "other" or (kinds[key][1] == "int8" and found is None):
            raise InputTypeError(
                f"{full_name(path, key)} must be F16, BF16, F32 or F64, or I8 with scales, got "
                f"{entry['dtype']}. Convert the tensor, or check that it holds the embeddings."
            )
        shape: Any = tuple(int(size) for size in entry["shape"])
        spans, size = _spans(tensors), stream.seek(0, 2) - start
        if not all(0 <= begin <= end <= size for begin, end in spans.values()):
            raise ValueError("a tensor lies outside of the file")
        begin, end = spans[key]
        source = partial(open_binary, path)
        scales = None
        if found is not None:
            stored = np.dtype(_TYPES.get(tensors[found]["dtype"], "<i8"))
            place = start + spans[found][0]
            scales = Scales(found, kinds[found][0], stored, place, source)
            scales = scales.fitting(shape, full_name(path, key))
    return RawRows(
        path,
        key,
        shape,
        np.dtype(_TYPES[entry["dtype"]]),
        offset=start + begin,
        size=end - begin,
        fortran=False,
        open=source,
        mappable=True,
        bfloat16=entry["dtype"] == "BF16",
        scales=scales,
    )


def rewrite(source: RawRows, target: Path, apply: Apply) -> None:
    """Write the file of `source` with that tensor replaced; other tensors and metadata stay."""
    shape, blocks = replaced_rows(source, apply)
    key = str(source.key)
    with reading(source.name, _KIND):
        old = open_binary(source.path)
    with old, target.open("wb") as new:
        with reading(source.name, _KIND):
            header, start = _read_header(old)
            spans = _spans(header)
        sizes = {name: end - begin for name, (begin, end) in spans.items()}
        sizes[key] = shape[0] * shape[1] * source.stored.itemsize
        header[key]["shape"] = list(shape)
        factors = None if source.scales is None else source.scales.key
        if factors is not None:  # new ones, one a row
            sizes[factors] = 4 * shape[0]
            header[factors] |= {"dtype": "F32", "shape": [shape[0]]}
        end = 0
        for name, size in sizes.items():
            header[name]["data_offsets"] = [end, end + size]
            end += size
        new.write(_header_bytes(header))
        of_rows: list[NDArray[np.float32]] = []
        for name, (begin, _) in spans.items():
            if name == key and factors is not None:
                write_blocks(quantised_blocks(blocks, of_rows), source.stored, new)
            elif name == key:
                write_blocks(blocks, source.stored, new, bfloat16=source.bfloat16)
            elif name == factors:
                place = new.tell()
                new.write(bytes(sizes[name]))
            else:
                pieces = _pieces(old, start + begin, sizes[name])
                new.writelines(guarded(pieces, source.name, _KIND))

        if factors is not None:
            new.seek(place)
            write_blocks(of_rows, np.dtype("<f4"), new)


def _kind(entry: dict[str, Any]) -> tuple[tuple[int, ...], str]:
    """Return the shape of a tensor, and what sort of numbers it has."""
    floats = entry["dtype"] in {"F16", "BF16", "F32", "F64"}
    kind = "float" if floats else {"I8": "int8"}.get(entry["dtype"], "other")
    return tuple(int(size) for size in entry["shape"]), kind


def write(
    target: Path,
    key: str | None,
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    blocks: Iterable[Block],
) -> None:
    """Write one tensor, given in blocks."""
    entry = {
        "dtype": f"F{8 * dtype.itemsize}",
        "shape": list(shape),
        "data_offsets": [0, shape[0] * shape[1] * dtype.itemsize],
    }
    with target.open("wb") as file:
        file.write(_header_bytes({DEFAULT_KEY if key is None else key: entry}))
        write_blocks(blocks, dtype, file)


def _read_header(stream: BufferedReader) -> tuple[dict[str, Any], int]:
    """Return the header and where the tensors begin."""
    length = int.from_bytes(stream.read(8), "little")
    if length > _MAX_HEADER:
        raise ValueError("its header is too long")
    text = stream.read(length)
    if len(text) != length:
        raise ValueError("its header is cut short")
    return json.loads(text), 8 + length


def _header_bytes(header: dict[str, Any]) -> bytes:
    """Return length and header, padded with spaces so that the tensors lie at multiples of 8."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _spans(header: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return where each tensor begins and ends, in the order in which they lie."""
    spans = {
        name: (int(entry["data_offsets"][0]), int(entry["data_offsets"][1]))
        for name, entry in header.items()
        if name != "__metadata__"
    }
    return dict(sorted(spans.items(), key=lambda item: item[1]))


def _pieces(stream: BufferedReader, start: int, size: int) -> Iterator[bytes]:
    stream.seek(start)
    while size > 0:
        piece = stream.read(min(size, 1 << 20))
        if not piece:
            raise ValueError("a tensor is cut short")
        yield piece
        size -= len(piece)
