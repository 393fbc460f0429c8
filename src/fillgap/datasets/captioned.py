"""COCO captions: annotations in JSON beside a folder of images."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from fillgap.datasets.records import (
    IMAGE_SUFFIXES,
    OUTSIDE,
    Collector,
    Dataset,
    FolderImages,
    find_folder,
    find_named,
    is_inside,
)
from fillgap.datasets.tables import read_json, read_lines, read_separated
from fillgap.errors import InputError, check_choice
from fillgap.files import missing_path


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


def _last_part(row: int, url: str) -> str:  # noqa: ARG001
    return PurePosixPath(unquote(urlsplit(url).path)).stem if "://" in url else url


def _row_number(row: int, url: str) -> str:  # noqa: ARG001
    return str(row)


def _md5(row: int, url: str) -> str:  # noqa: ARG001
    return hashlib.md5(url.encode(errors="replace"), usedforsecurity=False).hexdigest()


#: How the images that were fetched are named: from the row, counted from 0, and the address.
NAMES: Final[dict[str, Callable[[int, str], str]]] = {
    "file": _last_part,
    "row": _row_number,
    "md5": _md5,
}


def open_conceptual_captions(
    path: Path, *, images: str | None = None, names: str = "file"
) -> Dataset:
    """Open Conceptual Captions: FOLDER/*.tsv of captions and addresses, or img2dataset shards.

    Parameters
    ----------
    path : Path
        The folder, or the TSV file; a folder of .tar files is read as they are.
    images : str, optional
        Folder of the images, where it is not named images beside the table: beside it, or a path.
    names : {"file", "row", "md5"}
        How the images are called: as in their address (or the path that stands in its place), by
        the number of the row from 0 (zeros before it do not matter), or by the MD5 of the address.
    """
    check_choice(names, "names", tuple(NAMES))
    if path.is_dir() and next(path.glob("*.tar"), None):
        return open_web(path)
    table = _table(path)
    usual = ("images", "training", "data")
    folder = find_named(table.parent, images) if images else find_folder(table.parent, usual)
    pictures = FolderImages(folder)
    by_stem = {_stem(name): name for name in pictures.walk()}
    found = Collector(f"Conceptual Captions ({table.stem})", table, read=pictures.path)
    rule = NAMES[names]
    for number, row in enumerate(read_separated(table, "\t", ("caption", "url"))):
        if row.fault:
            found.leave_out(row.place, row.fault)
            continue
        url = str(row.values["url"]).strip()
        if "://" not in url and not is_inside(url):
            found.leave_out(row.place, OUTSIDE)
            continue
        whole = url if names == "file" and url in pictures else None
        stem = _stem(rule(number, url))
        found.add(f"{number:08}", whole or by_stem.get(stem), [row.values["caption"]])
    return found.dataset()


def _table(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise missing_path(path)
    there = sorted(path.glob("*.tsv"))
    if len(there) != 1:
        listed = ", ".join(file.name for file in there) or "none"
        raise InputError(
            f"{path} must hold one .tsv file or .tar shards, got {listed}. Name the file itself."
        )
    return there[0]


def _stem(name: str) -> str:
    """Return a file name without its folder, suffix and leading zeros."""
    stem = PurePosixPath(name).name.rpartition(".")[0] or PurePosixPath(name).name
    return stem.lstrip("0") or "0" if stem.isdecimal() else stem
