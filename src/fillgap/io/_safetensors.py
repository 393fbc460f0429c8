"""Safetensors files: a header in JSON, then the bytes of each tensor.

The header is parsed here, not by the library, because that maps the whole file into memory (its
pages then count as memory of the process) and has no NumPy type for bfloat16.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from fillgap.errors import InputError, InputTypeError
from fillgap.io._names import DEFAULT_KEY, Modality, choose_key, full_name
from fillgap.io._raw import RawRows, replaced_rows, write_blocks
from fillgap.io._reading import Apply, Block, open_binary, reading
from fillgap.io._scales import Scales, is_usable, scales_key

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
    """Write a file with the rows of `source` alone, each block passed through `apply`."""
    shape, blocks = replaced_rows(source, apply)
    stored = source.dtype if source.scales is not None else source.stored
    _write(target, source.key, shape, stored, blocks, bfloat16=source.bfloat16)


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
    _write(target, key, shape, dtype, blocks, bfloat16=False)


def _write(
    target: Path,
    key: str | None,
    shape: tuple[int, int],
    stored: np.dtype[Any],
    blocks: Iterable[Block],
    *,
    bfloat16: bool,
) -> None:
    entry = {
        "dtype": "BF16" if bfloat16 else f"F{8 * stored.itemsize}",
        "shape": list(shape),
        "data_offsets": [0, shape[0] * shape[1] * stored.itemsize],
    }
    text = json.dumps({DEFAULT_KEY if key is None else key: entry}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensor lies at a multiple of 8
    with target.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        write_blocks(blocks, stored, file, bfloat16=bfloat16)


def _read_header(stream: BufferedReader) -> tuple[dict[str, Any], int]:
    """Return the header and where the tensors begin."""
    length = int.from_bytes(stream.read(8), "little")
    if length > _MAX_HEADER:
        raise ValueError("its header is too long")
    text = stream.read(length)
    if len(text) != length:
        raise ValueError("its header is cut short")
    return json.loads(text), 8 + length


def _spans(header: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return where each tensor begins and ends, in the order in which they lie."""
    spans = {
        name: (int(entry["data_offsets"][0]), int(entry["data_offsets"][1]))
        for name, entry in header.items()
        if name != "__metadata__"
    }
    return dict(sorted(spans.items(), key=lambda item: item[1]))
