"""Folders of tar shards, as img2dataset and webdataset write them; nothing is unpacked to disk."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fillgap._checks import InputError
from fillgap._files import missing_path
from fillgap.datasets._collect import Collector
from fillgap.datasets._files import IMAGE_SUFFIXES, OUTSIDE, is_inside
from fillgap.datasets._record import Dataset

__all__ = ["open_web"]

#: Keys of the .json member that may hold the caption.
_CAPTIONS = ("caption", "text", "captions", "txt")


class Member(NamedTuple):
    """Where the bytes of an image lie."""

    shard: Path
    offset: int
    size: int


def open_web(path: Path, *, pattern: str = "*.tar") -> Dataset:
    """Open shards of images with captions: FOLDER/*.tar with KEY.jpg and KEY.txt or KEY.json.

    Parameters
    ----------
    path : Path
        The folder, or one shard.
    pattern : str
        Names of the shards.
    """
    if not path.exists():
        raise missing_path(path)
    shards = [path] if path.is_file() else sorted(path.glob(pattern))
    found = Collector(path.stem, path, read=_read)
    for shard in shards:
        for key, entry in _grouped(shard, found):
            found.add(key, entry.get("image"), entry.get("captions", ()))
    return found.dataset()


def _read(member: Member) -> bytes:
    with member.shard.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


def _grouped(shard: Path, found: Collector) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each key of a shard with its image and captions; members of a key are neighbours."""
    last, entry = "", dict[str, Any]()
    for key, suffix, member, text in _members(shard, found):
        if key != last and entry:
            yield last, entry
            entry = {}
        last = key
        if member is not None:
            entry.setdefault("image", member)
        elif suffix == "txt":
            entry["captions"] = [text]
        else:
            entry.setdefault("captions", _from_json(text))
    if entry:
        yield last, entry


def _members(
    shard: Path, found: Collector
) -> Iterator[tuple[str, str, Member | None, str]]:  # fmt: skip
    """Yield (key, suffix, place of an image or None, text) of what matters in a shard."""
    size = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in archive:
                if info.offset_data + info.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                folder, _, file = info.name.rpartition("/")
                stem, _, suffix = file.partition(".")
                key, suffix = f"{folder}/{stem}".lstrip("/"), suffix.lower()
                if not info.isfile() or not stem:
                    continue
                if not is_inside(info.name):
                    found.leave_out(f"{shard.name}, {info.name}", OUTSIDE)
                elif f".{suffix}" in IMAGE_SUFFIXES:
                    yield key, suffix, Member(shard, info.offset_data, info.size), ""
                elif suffix in ("txt", "json"):
                    member = archive.extractfile(info)
                    content = member.read() if member is not None else b""
                    yield key, suffix, None, content.decode("utf-8-sig", "surrogateescape")
            # A header that was cut off ends a tar without an error of its own.
            if 0 < size - archive.offset < tarfile.BLOCKSIZE:
                raise tarfile.ReadError("unexpected end of data")
    except (tarfile.TarError, OSError, EOFError) as error:
        with shard.open("rb") as packed_file:
            packed = packed_file.read(2) == b"\x1f\x8b"
        if packed:
            raise InputError(
                f"{shard} must be a plain .tar, got one compressed with gzip. Unpack it with "
                "gunzip: images are read from their place inside."
            ) from error
        reason = str(error).partition("\n")[0]
        found.leave_out(shard.name, f"rest of the shard unreadable ({reason})")


def _from_json(text: str) -> list[Any]:
    """Return the captions of a .json member; none where it cannot be read."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(document, dict):
        return []
    value: Any = next((document[key] for key in _CAPTIONS if document.get(key)), [])
    return value if isinstance(value, list) else [value]
