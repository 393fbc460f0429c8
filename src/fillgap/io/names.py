"""Names of files and of what lies in them, and the rules that all readers share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, InputTypeError, check_integer, check_matrix
from fillgap.remote import as_path, is_remote

Modality: TypeAlias = Literal["image", "text"]
Block: TypeAlias = NDArray[np.floating[Any]]
#: Called as apply(rows, number of the first one); returns as many rows to write instead.
Apply: TypeAlias = Callable[[Block, int], Block]
_T = TypeVar("_T")

#: Of the formats, in the order in which messages list them.
SUFFIXES = (".npy", ".npz", ".safetensors", ".parquet", ".arrow", ".feather")
#: What an array, tensor or column is called where the writer names none.
DEFAULT_KEY = "embeddings"
#: What to do about a damaged file.
WRITE_AGAIN = "Write the file again, or copy it again if the transfer broke off."

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


class NewRows(NamedTuple):
    """Rows to be written: their shape and type, the blocks, and whether they become bfloat16."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    blocks: Iterable[Block]
    bfloat16: bool = False


def split_key(spec: str | Path) -> tuple[Path, str | None]:
    """Return (path, key) of "file.npz:images"; the key is None where none is given.

    A colon ends the path only behind a suffix that is known or a folder that exists, so that
    colons in names and drive letters stay part of the path.
    """
    if is_remote(spec):
        return as_path(spec), None
    text, whole = str(spec), as_path(spec)
    suffixes = (*SUFFIXES, ".csv", ".json", ".txt")
    if is_remote(whole):
        head, _, key = text.rpartition(":")
        named = key and as_path(head).suffix.lower() in suffixes
        return (as_path(head), key) if named else (whole, None)
    if not whole.exists():
        for match in re.finditer(":", text):
            path, key = Path(text[: match.start()]), text[match.end() :]
            if key and (path.suffix.lower() in suffixes or (match.start() > 1 and path.is_dir())):
                return path, key
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
    folder = path.parent.name
    if _words(folder) - _NEUTRAL - _WORDS["image"] - _WORDS["text"]:
        folder = ""
    return _modality_of(key or "") or _modality_of(path.stem) or _modality_of(folder)


def _words(name: str) -> set[str]:
    return set(re.findall("[a-z]+", name.lower()))


def _modality_of(name: str) -> Modality | None:
    sides = [side for side, words in _WORDS.items() if words & _words(name)]
    return sides[0] if len(sides) == 1 else None


def choose_key(
    present: Mapping[str, bool], key: str | None, modality: Modality | None, path: Path, kind: str
) -> str:
    """Return the name of the array or column to read: the one asked for, or that stands out.

    `present` says of every name in the file whether embeddings may lie under it; the modality
    decides between several, and the kind is "array", "tensor" or "column".
    """
    if key is not None:
        if key not in present:
            raise InputError(
                f"{path} must hold the {kind} {key!r}, got {listed(present)}. Name one of these."
            )
        return key
    candidates = [name for name, usable in present.items() if usable] or list(present)
    if modality is not None and len(candidates) > 1:
        suggested = [name for name in candidates if _modality_of(name) == modality]
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


@contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """Turn whatever a parser raises over damaged bytes into one sentence about the file.

    Parsers of damaged files raise nearly anything (KeyError, zlib.error, RecursionError,
    MemoryError), so everything is caught, and bodies are kept to the call of the parser.
    """
    try:
        yield
    except (InputError, InputTypeError):
        raise
    except Exception as error:
        # Seeking to where a damaged header points is an invalid argument, no fault of the system.
        if isinstance(error, OSError) and error.errno not in (None, EINVAL):
            raise InputError(
                f"{name} must be readable, got {os.strerror(error.errno)!r}. "
                "Check that the file is there and that you may read it."
            ) from error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"{name} must be {kind}, got other or damaged content ({reason[:120]}). {WRITE_AGAIN}"
        ) from error


def guarded(items: Iterable[_T], name: str, kind: str) -> Iterator[_T]:
    """Yield from `items`; an error while the next one is made is one about the file."""
    iterator = iter(items)
    while True:
        with reading(name, kind):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def check_stored(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
    """Refuse an array that cannot be embeddings, judged by its shape and type alone."""
    if dtype.hasobject:
        raise InputTypeError(
            f"{name} must be floating point numbers, got pickled objects, which are never loaded. "
            "Save one 2-D array made with numpy.stack."
        )
    if dtype.kind == "f" and dtype.itemsize not in (2, 4, 8):
        raise InputTypeError(
            f"{name} must be float16, float32 or float64, got {dtype}. "
            "Convert it with .astype('float64')."
        )
    with reading(name, "an array of embeddings"):
        # No memory lies behind these entries; the shape and the type are all that is looked at.
        check_matrix(np.broadcast_to(np.empty((), dtype), shape), name)


def exact_blocks(chunks: Iterable[Block], block_rows: int) -> Iterator[Block]:
    """Yield the rows of `chunks` in blocks of exactly `block_rows`, the last one shorter."""
    check_integer(block_rows, "block_rows", low=1)
    parts: list[Block] = []
    count = 0
    for chunk in chunks:
        start = 0
        while count + len(chunk) - start >= block_rows:
            stop = start + block_rows - count
            parts.append(chunk[start:stop])
            yield parts[0] if len(parts) == 1 else np.concatenate(parts)
            parts, count, start = [], 0, stop
        if start < len(chunk):
            parts.append(chunk[start:])
            count += len(chunk) - start
    if parts:
        yield parts[0] if len(parts) == 1 else np.concatenate(parts)


def read_ahead(path: Path, blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the blocks of a file; of one in a store, the next comes while this one is worked on."""
    if not is_remote(path):
        yield from blocks
        return
    iterator = iter(blocks)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, iterator, None)
        while (block := coming.result()) is not None:
            coming = thread.submit(next, iterator, None)
            yield block
