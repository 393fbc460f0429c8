"""Files that appear whole or not at all, the rules for where they may be, and what fits keep."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError
from fillgap.remote import RemotePath, as_path, local_copy, uploaded

#: Seconds between two times that a file is brought onto the disk while it is written.
_BETWEEN = 0.05


@contextmanager
def atomic_file(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; what is written there takes its place at the end.

    Nothing is left behind when the body fails or is interrupted: an old file stays as it was.
    A link is followed, so that the file behind it is the one replaced. A target in a store is
    written on this machine, and sent at the end. InputError: the system refuses to write.
    """
    path = as_path(target)
    if isinstance(path, RemotePath):
        with uploaded(path) as made:
            yield made
        return
    with _beside(path) as (final, temporary):
        yield temporary
        _synchronise(temporary)
        if final.exists():
            shutil.copymode(final, temporary)
        temporary.replace(final)


@contextmanager
def _beside(target: str | Path) -> Iterator[tuple[Path, Path]]:
    """Yield the place behind any link, and a new hidden name in the same folder, gone at the end.

    Only within one folder is a rename sure to be one step. The name does not contain the target's,
    which may already be as long as the file system allows.
    """
    final = Path(os.path.realpath(target))
    temporary = final.with_name(f".fillgap-{secrets.token_hex(6)}.tmp")
    try:
        yield final, temporary
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error).partition("\n")[0]
        raise InputError(
            f"{target} must be writable, got {reason!r}. Free space or choose another folder; "
            "no half-written file is left."
        ) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _synchronise(path: Path) -> None:
    """Bring the bytes onto the disk, so that a power cut after the rename leaves a whole file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def remove_stale(*folders: Path) -> None:
    """Remove what processes that were killed had begun to write in folders of this machine."""
    for folder in folders:
        for stale in [] if isinstance(folder, RemotePath) else folder.glob(".fillgap-*.tmp"):
            stale.unlink(missing_ok=True)


@contextmanager
def written_back(file: Path) -> Iterator[None]:
    """Bring what the body writes to a file onto the disk meanwhile: nobody waits at its end."""
    done = threading.Event()

    def write_back() -> None:
        while not done.wait(_BETWEEN):
            with suppress(OSError):
                descriptor = os.open(file, os.O_RDONLY)
                try:
                    getattr(os, "fdatasync", os.fsync)(descriptor)
                finally:
                    os.close(descriptor)

    thread = threading.Thread(target=write_back, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target`; its files move there together at the end.

    A new folder appears in one step. In a folder that exists each file is replaced in one step,
    and files of other names stay. InputError: the system refuses to write; nothing is changed.
    """
    with _beside(target) as (final, temporary):
        temporary.mkdir()
        yield temporary
        written = sorted(path for path in temporary.rglob("*") if path.is_file())
        for path in written:
            _synchronise(path)
        if not final.exists():
            temporary.replace(final)
            return
        for path in written:
            place = final / path.relative_to(temporary)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)


def check_target(
    target: str | Path, *, inputs: Iterable[str | Path] = (), overwrite: bool = False
) -> Path:
    """Return a file or folder as a path if it may be written.

    It is refused if it exists already and may not be replaced, is a device, would lie in a folder
    that does not exist, or is one of the inputs, under whatever name or link it is reached.
    """
    path = as_path(target)
    remote = isinstance(path, RemotePath)
    if not remote:
        _check_kind(path)
    for source in map(as_path, inputs):
        if isinstance(source, RemotePath) != remote:
            continue
        if path == source or (path.exists() and source.exists() and path.samefile(source)):
            raise InputError(
                f"{path} must be another file than the input {source}, got the same. "
                "Write to a new name."
            )
    if not overwrite and (path.exists() if remote else os.path.lexists(path)):
        raise InputError(
            f"{path} must be a new name, got one that exists already. "
            "Choose another, or allow it to be replaced (--overwrite, overwrite=True)."
        )
    if not remote and not path.absolute().parent.is_dir():
        raise InputError(
            f"{path} must be in a folder that exists, got {path.parent}. Create that folder first."
        )
    return path


def _check_kind(path: Path) -> None:
    """Refuse a name that no file can have, and what is there and neither a file nor a folder."""
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"{str(path)[:80]!r} must be a name that a file can have, got one that is too long "
                "or holds NUL. Choose another."
            ) from error
        return
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise InputError(
            f"{path} must be a file or a folder to be replaced, got a device. Choose another name."
        )


def missing_path(path: Path) -> InputError:
    """Return the refusal of a path with nothing there; it offers near names in that folder."""
    from difflib import get_close_matches

    names: list[str] = []
    with suppress(OSError, InputError):
        names = [entry.name for entry in path.absolute().parent.iterdir()]
    near = get_close_matches(path.name, names, n=3, cutoff=0.7)
    remedy = f"Did you mean {' or '.join(near)}?" if near else "Check the spelling of the path."
    return InputError(f"{path} must be a file or folder that exists, got nothing there. {remedy}")


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

    The metadata are what JSON can hold without NaN and infinities. Equal content gives equal bytes.
    A reader of another kind ("aligner", for example) refuses the file.
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

    Refused is one that is missing, damaged, of another kind, or of a newer format version.
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
    return arrays, metadata
