"""The file that a fitted aligner is kept in: safetensors arrays, and JSON in its header.

Loading reads numbers and text and executes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError
from fillgap._files import atomic_file, check_target, missing_path
from fillgap._remote import as_path, local_copy

__all__ = ["FORMAT_VERSION", "read_artifact", "write_artifact"]

#: Raised when an older program could no longer read what is written.
FORMAT_VERSION = 1

_KEY = "fillgap"


def write_artifact(
    path: str | Path,
    kind: str,
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write arrays and metadata as one safetensors file, whole or not at all.

    Parameters
    ----------
    path : str or path
        Where to.
    kind : str
        What the file holds, for example "aligner": a reader of another kind refuses it.
    arrays : mapping from str to array
        Numeric arrays of any shape.
    metadata : mapping
        What JSON can hold; NaN and infinities are refused. Equal content gives equal bytes.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the target exists or cannot be written.
    """
    from safetensors.numpy import save

    target = check_target(path, overwrite=overwrite)
    header = {"format_version": FORMAT_VERSION, "kind": kind, **metadata}
    text = json.dumps(header, sort_keys=True, ensure_ascii=False, allow_nan=False)
    tensors = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    payload = save(tensors, metadata={_KEY: text})
    with atomic_file(target) as temporary:
        temporary.write_bytes(payload)
    return target


def read_artifact(path: str | Path, kind: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the metadata of a file that `write_artifact` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another kind, or of a newer format version.
    """
    from safetensors import SafetensorError, safe_open

    file = as_path(path)
    if file.is_dir():
        raise InputError(f"{file} must be a file, got a folder. Name the file within it.")
    if not file.is_file():
        raise missing_path(file)
    try:
        with local_copy(file) as copy, safe_open(copy, framework="numpy") as opened:
            header = (opened.metadata() or {}).get(_KEY)
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        metadata = None if header is None else json.loads(header)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{file} must be a whole safetensors file, got one that cannot be read ({reason}). "
            "Copy it again, or fit again."
        ) from error
    return arrays, _check_header(file, metadata, kind)


def _check_header(file: Path, metadata: Any, kind: str) -> dict[str, Any]:
    """Return the metadata if it is ours, of this kind, and not newer than this program."""
    if not isinstance(metadata, dict) or "kind" not in metadata:
        raise InputError(
            f"{file} must be a file written by fillgap, got safetensors without its header. "
            "Pass the file that fit wrote, not the embeddings."
        )
    version = metadata.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(
            f"{file} must be of format version {FORMAT_VERSION} or older, got {version!r}. "
            "Upgrade fillgap: pip install --upgrade fillgap"
        )
    if metadata["kind"] != kind:
        raise InputError(
            f"{file} must hold a fitted {kind}, got a fitted {metadata['kind']}. "
            f"Pass the file of the {kind}."
        )
    return metadata
