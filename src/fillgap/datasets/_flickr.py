"""Flickr8k and Flickr30k, in the files that they are distributed in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fillgap._checks import InputError
from fillgap._files import missing_path
from fillgap.datasets._collect import Collector
from fillgap.datasets._files import OUTSIDE, FolderImages, find_folder, find_named, is_inside
from fillgap.datasets._record import Dataset
from fillgap.datasets._tables import read_json, read_lines, read_separated

__all__ = ["open_flickr"]

_TOKENS = ("Flickr8k.token.txt", "results_20130124.token")
_COMMA, _BAR = ("captions.txt", "captions.csv"), ("results.csv",)
_SPLITS = ("dataset_flickr8k.json", "dataset_flickr30k.json")
_FOLDERS = (
    "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k-images", "flickr30k_images", "Images",
    "images",
)  # fmt: skip


def open_flickr(
    path: Path, *, split: str | None = None, captions: str | None = None, images: str | None = None
) -> Dataset:
    """Open Flickr8k or Flickr30k: their token file, captions.txt, results.csv or split JSON.

    Parameters
    ----------
    path : Path
        The folder.
    split : str, optional
        "train", "dev" or "test" of Flickr_8k.SPLITImages.txt, or the name in the JSON file of
        splits; left out, all images.
    captions, images : str, optional
        The file and the folder, where they have other names: below `path`, or paths of their own.
    """
    if not path.exists():
        raise missing_path(path)
    file = find_named(path, captions) if captions else _captions_file(path)
    pictures = FolderImages(find_named(path, images) if images else find_folder(path, _FOLDERS))
    wanted = _names_of_split(path, file, split)
    found = Collector(path.name, file, read=pictures.path)
    texts: dict[str, list[Any]] = {}
    for name, caption in _pairs(file, found):
        if wanted is None or name in wanted:
            texts.setdefault(name, []).append(caption)
    for name, listed in texts.items():
        if not is_inside(name):
            found.leave_out(name, OUTSIDE)
        else:
            found.add(name, name if name in pictures else None, listed)
    return found.dataset()


def _captions_file(path: Path) -> Path:
    for name in (*_TOKENS, *_COMMA, *_BAR, *_SPLITS):
        if (path / name).is_file():
            return path / name
    names = ", ".join((*_TOKENS, *_COMMA, *_BAR, *_SPLITS))
    raise InputError(
        f"{path} must hold the captions of Flickr ({names}), got none of these. "
        "Name the file with the option captions."
    )


def _pairs(file: Path, found: Collector) -> Iterator[tuple[str, Any]]:
    """Yield (image, caption) of every line."""
    if file.suffix == ".json":
        for entry in _split_entries(file):
            for sentence in entry.get("sentences", ()):
                yield str(entry["filename"]), sentence.get("raw")
    elif file.name in _COMMA:
        for row in read_separated(file, ",", ("image", "caption")):
            if row.fault:
                found.leave_out(row.place, row.fault)
            elif row.values["image"] != "image":
                yield row.values["image"], row.values["caption"]
    else:
        # image.jpg#0<TAB>caption, or image.jpg| 0| caption, in which a bar may be missing.
        bar = file.name in _BAR
        form = r"([^|]+)\|\s*\d+\s*\|?(.*)" if bar else r"([^\t]+)#\d+\t(.*)"
        for number, line in read_lines(file):
            match = re.fullmatch(form, line)
            if match:
                yield match[1].strip(), match[2]
            elif number > 1 or not bar:
                found.leave_out(f"{file.name}, line {number}", "line without image and caption")


def _split_entries(file: Path) -> list[dict[str, Any]]:
    document = read_json(file)
    entries = document.get("images") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and "filename" in entry for entry in entries
    ):
        raise InputError(
            f"{file} must be a list 'images' of objects with 'filename' and 'sentences', "
            "got other JSON. Pass the file of splits as it was published."
        )
    return entries


def _names_of_split(path: Path, file: Path, split: str | None) -> set[str] | None:
    """Return the images of a split, or None for all."""
    if split is None:
        return None
    listed = path / f"Flickr_8k.{split}Images.txt"
    if listed.is_file():
        return {line.strip() for _, line in read_lines(listed)}
    splits = [file] if file.suffix == ".json" else [path / name for name in _SPLITS]
    for source in (source for source in splits if source.is_file()):
        names = {str(e["filename"]) for e in _split_entries(source) if e.get("split") == split}
        if names:
            return names
    raise InputError(
        f"split must be one that {path} describes, got {split!r}. "
        "Leave it out for all images, or add the file of splits."
    )
