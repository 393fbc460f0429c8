"""What a path names: the file, the array or column inside it, and which modality that is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from fillgap.errors import InputError
from fillgap.remote import as_path, is_remote

__all__ = [
    "DEFAULT_KEY",
    "SUFFIXES",
    "Modality",
    "choose_key",
    "full_name",
    "guess_modality",
    "listed",
    "natural_key",
    "split_key",
]

Modality: TypeAlias = Literal["image", "text"]

#: The adapter module of each suffix, in the order in which messages list the suffixes.
SUFFIXES = {
    ".npy": "_npy",
    ".npz": "_npz",
    ".safetensors": "_safetensors",
    ".parquet": "_parquet",
    ".arrow": "_ipc",
    ".feather": "_ipc",
}

#: What an array, tensor or column is called where the writer names none.
DEFAULT_KEY = "embeddings"

_WORDS: dict[Modality, frozenset[str]] = {
    "image": frozenset(
        {"image", "images", "img", "imgs", "vision", "visual"}
        | {"picture", "pictures", "photo", "photos"}
    ),
    "text": frozenset(
        {"text", "texts", "txt", "txts", "caption", "captions"}
        | {"sentence", "sentences", "prompt", "prompts"}
    ),
}
#: Words that say "embedding" and nothing about the side.
_NEUTRAL = frozenset({"emb", "embs", "embed", "embeds", "embedding", "embeddings", "features"})


def split_key(spec: str | Path) -> tuple[Path, str | None]:
    """Return (path, key) of "file.npz:images"; the key is None where none is given.

    A colon ends the path only behind a suffix that is known or a folder that exists, so that
    colons in names and drive letters stay part of the path.
    """
    if is_remote(spec):
        return as_path(spec), None
    text, whole = str(spec), as_path(spec)
    if is_remote(whole):
        head, _, key = text.rpartition(":")
        named = key and as_path(head).suffix.lower() in (*SUFFIXES, ".csv", ".json", ".txt")
        return (as_path(head), key) if named else (whole, None)
    if not whole.exists():
        for match in re.finditer(":", text):
            place, key = Path(text[: match.start()]), text[match.end() :]
            known = place.suffix.lower() in (*SUFFIXES, ".csv", ".json", ".txt")
            if key and (known or (match.start() > 1 and place.is_dir())):
                return place, key
    return whole, None


def full_name(path: Path, key: str | None) -> str:
    """Return what messages call an array: the path, with the key where there is one."""
    return str(path) if key is None else f"{path}:{key}"


def natural_key(path: Path) -> list[str | int]:
    """Return a sorting key that puts part_10 behind part_2."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if part.isdecimal() else part for part in parts]


def guess_modality(spec: str | Path) -> Modality | None:
    """Tell which modality the names suggest: the key first, then the file, then its folder.

    Parameters
    ----------
    spec : str or path
        For example "clip.npz:text_emb", "laion/img_emb/img_emb_0.npy", "captions.parquet".

    Returns
    -------
    "image", "text" or None
        None where the names say nothing, or name both. A folder counts only if its whole name
        means embeddings of one side (`img_emb`, `texts`), since projects have all sorts of names.

    Examples
    --------
    >>> guess_modality("clip.npz:text_emb"), guess_modality("image_text_pairs.npy")
    ('text', None)
    """
    path, key = split_key(spec)
    found = (_of_name(key) if key is not None else None) or _of_name(path.stem)
    if found is None and _words(path.parent.name) <= _NEUTRAL | _WORDS["image"] | _WORDS["text"]:
        found = _of_name(path.parent.name)
    return found


def _words(name: str) -> set[str]:
    return set(re.findall("[a-z]+", name.lower()))


def _of_name(name: str) -> Modality | None:
    sides = [side for side, words in _WORDS.items() if words & _words(name)]
    return sides[0] if len(sides) == 1 else None


def choose_key(
    present: Mapping[str, bool], key: str | None, modality: Modality | None, path: Path, kind: str
) -> str:
    """Return the name of the array or column to read.

    Parameters
    ----------
    present : mapping of str to bool
        Every name in the file, and whether embeddings may lie under it.
    key : str or None
        The name asked for.
    modality : "image", "text" or None
        The side that is read, which decides between several candidates.
    path, kind : Path and str
        For messages; the kind is "array" or "column".

    Raises
    ------
    InputError
        If the name is not there, or none is given and no single one stands out.
    """
    if key is not None:
        if key not in present:
            raise InputError(
                f"{path} must hold the {kind} {key!r}, got {listed(present)}. Name one of these."
            )
        return key
    candidates = [name for name, usable in present.items() if usable] or list(present)
    if modality is not None and len(candidates) > 1:
        suggested = [name for name in candidates if _of_name(name) == modality]
        plain = [name for name in suggested if _words(name) <= _WORDS[modality] | _NEUTRAL]
        candidates = plain if len(plain) == 1 else suggested or candidates
    if len(candidates) != 1:
        example = candidates[0] if candidates else "NAME"
        raise InputError(
            f"{path} must be read with the name of one {kind}, got {listed(candidates)}. "
            f"Write {path}:{example}, for example."
        )
    return candidates[0]


def listed(names: Iterable[str]) -> str:
    """Return the first names in quotes, with a count of the others."""
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - 8} more" if len(quoted) > 8 else ""
    return (", ".join(quoted[:8]) + more) or "none at all"
