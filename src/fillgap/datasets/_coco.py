"""COCO captions: annotations in JSON beside a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fillgap._checks import InputError
from fillgap._files import missing_path
from fillgap.datasets._collect import Collector
from fillgap.datasets._files import OUTSIDE, FolderImages, find_folder, find_named, is_inside
from fillgap.datasets._record import Dataset
from fillgap.datasets._tables import read_json

__all__ = ["open_coco"]


def open_coco(
    path: Path, *, split: str | None = None, annotations: str | None = None,
    images: str | None = None,
) -> Dataset:  # fmt: skip
    """Open COCO captions: FOLDER/annotations/captions_SPLIT.json and FOLDER/SPLIT/*.jpg.

    Parameters
    ----------
    path : Path
        The folder, or the annotation file.
    split : str, optional
        For example "val2017"; needed where there are several.
    annotations, images : str, optional
        The file and the folder, where they lie elsewhere: below `path`, or a path of its own.
    """
    root = path.parent if path.is_file() else path
    if path.is_file() and root.name == "annotations":
        root = root.parent
    file = find_named(root, annotations) if annotations else _annotation_file(path, split)
    split = split or file.stem.removeprefix("captions_")
    folder = (
        find_named(root, images)
        if images
        else find_folder(root, (split, f"images/{split}", "images"))
    )
    document = read_json(file)
    files, captions = _entries(document, file)
    pictures = FolderImages(folder)
    found = Collector(f"COCO {split}", file, read=pictures.path)
    for number, name in files:
        if not is_inside(name):
            found.leave_out(f"image {number}", OUTSIDE)
        else:
            found.add(str(number), name if name in pictures else None, captions.get(number, ()))
    known = {number for number, _ in files}
    for number in captions:
        if number not in known:
            found.leave_out(f"image {number}", "captions of an image that is not listed left out")
    return found.dataset()


def _annotation_file(path: Path, split: str | None) -> Path:
    """Return the captions file of a split."""
    if path.is_file():
        return path
    if not path.exists():
        raise missing_path(path)
    there = sorted(path.glob("annotations/captions_*.json")) or sorted(path.glob("captions_*.json"))
    by_split = {file.stem.removeprefix("captions_"): file for file in there}
    if split is not None and split in by_split:
        return by_split[split]
    if split is None and len(by_split) == 1:
        return next(iter(by_split.values()))
    listed = ", ".join(by_split) or "none at all"
    asked = f" {split!r}" if split else ""
    raise InputError(
        f"{path} must hold annotations/captions_SPLIT.json for one split{asked}, got {listed}. "
        "Choose one with the option split."
    )


def _entries(document: Any, file: Path) -> tuple[list[tuple[Any, str]], dict[Any, list[Any]]]:
    """Return (id, file name) of each image, and the captions by image id."""
    try:
        files = [(entry["id"], str(entry["file_name"])) for entry in document["images"]]
        captions: dict[Any, list[Any]] = {}
        for entry in document["annotations"]:
            captions.setdefault(entry["image_id"], []).append(entry["caption"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{file} must be COCO captions with 'images' (id, file_name) and 'annotations' "
            f"(image_id, caption), got JSON without {error}. Pass captions_SPLIT.json."
        ) from error
    return files, captions
