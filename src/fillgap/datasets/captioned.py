"""Layouts of images with captions: COCO, Flickr, tar shards, Conceptual Captions, own folders."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from fillgap.datasets.records import (
    IMAGE_SUFFIXES,
    OUTSIDE,
    Collector,
    Dataset,
    FolderImages,
    find_named,
    is_inside,
)
from fillgap.datasets.tables import (
    TABLE_SUFFIXES,
    choose_column,
    read_json,
    read_lines,
    read_separated,
    read_table,
)
from fillgap.errors import InputError, check_choice


def _images_of(root: Path, named: str | None, usual: tuple[str, ...]) -> FolderImages:
    """Return the images of the folder that an option names, or of the first usual one there is."""
    if named:
        return FolderImages(find_named(root, named))
    for name in usual:
        if (root / name).is_dir():
            return FolderImages(root / name)
    raise InputError(
        f"{root} must hold the folder of its images ({', '.join(usual)}), got none of these. "
        "Name it with the option images."
    )


def _collect(
    found: Collector, pictures: FolderImages, rows: Iterable[tuple[str, list[Any]]]
) -> Dataset:
    """Return the dataset of the files and captions in each row; a file may be in several."""
    captions: dict[str, list[Any]] = {}
    for name, listed in rows:
        captions.setdefault(name, []).extend(listed)
    for name, listed in captions.items():
        if not is_inside(name):
            found.leave_out(name, OUTSIDE)
        else:
            found.add(name, name if name in pictures else None, listed)
    return found.dataset()


def open_coco(
    path: Path,
    *,
    split: str | None = None,
    annotations: str | None = None,
    images: str | None = None,
) -> Dataset:
    """Open COCO captions: FOLDER/annotations/captions_SPLIT.json and FOLDER/SPLIT/*.jpg.

    `path` is the folder or the annotation file; `split`, for example "val2017", is needed where
    there are several.
    """
    root = path.parent if path.is_file() else path
    if path.is_file() and root.name == "annotations":
        root = root.parent
    file = find_named(root, annotations) if annotations else _annotation_file(path, split)
    split = split or file.stem.removeprefix("captions_")
    pictures = _images_of(root, images, (split, f"images/{split}", "images"))
    document = read_json(file)
    try:
        listed = [(entry["id"], str(entry["file_name"])) for entry in document["images"]]
        captions: dict[Any, list[Any]] = {}
        for entry in document["annotations"]:
            captions.setdefault(entry["image_id"], []).append(entry["caption"])
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{file} must be COCO captions with 'images' (id, file_name) and 'annotations' "
            f"(image_id, caption), got JSON without {error}. Pass captions_SPLIT.json."
        ) from error
    found = Collector(f"COCO {split}", file, read=pictures.path)
    for number, name in listed:
        if not is_inside(name):
            found.leave_out(f"image {number}", OUTSIDE)
        else:
            found.add(str(number), name if name in pictures else None, captions.get(number, ()))
    known = {number for number, _ in listed}
    for number in captions:
        if number not in known:
            found.leave_out(f"image {number}", "captions of an image that is not listed left out")
    return found.dataset()


def _annotation_file(path: Path, split: str | None) -> Path:
    if path.is_file():
        return path
    there = sorted(path.glob("annotations/captions_*.json")) or sorted(path.glob("captions_*.json"))
    by_split = {file.stem.removeprefix("captions_"): file for file in there}
    wanted = list(by_split) if split is None else [split]
    if len(wanted) == 1 and wanted[0] in by_split:
        return by_split[wanted[0]]
    listed = ", ".join(by_split) or "none at all"
    asked = f" {split!r}" if split else ""
    raise InputError(
        f"{path} must hold annotations/captions_SPLIT.json for one split{asked}, got {listed}. "
        "Choose one with the option split."
    )


_COMMA, _BAR = ("captions.txt", "captions.csv"), ("results.csv",)
_SPLITS = ("dataset_flickr8k.json", "dataset_flickr30k.json")
_FLICKR_FILES = ("Flickr8k.token.txt", "results_20130124.token", *_COMMA, *_BAR, *_SPLITS)
_FLICKR_FOLDERS = (
    "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k-images", "flickr30k_images", "Images",
    "images",
)  # fmt: skip


def open_flickr(
    path: Path, *, split: str | None = None, captions: str | None = None, images: str | None = None
) -> Dataset:
    """Open Flickr8k or Flickr30k: their token file, captions.txt, results.csv or split JSON.

    `split` is "train", "dev" or "test" of Flickr_8k.SPLITImages.txt, or the name in the JSON file
    of splits; left out, all images.
    """
    usual = [path / name for name in _FLICKR_FILES if (path / name).is_file()]
    if not captions and not usual:
        raise InputError(
            f"{path} must hold the captions of Flickr ({', '.join(_FLICKR_FILES)}), got none of "
            "these. Name the file with the option captions."
        )
    file = find_named(path, captions) if captions else usual[0]
    pictures = _images_of(path, images, _FLICKR_FOLDERS)
    wanted = None if split is None else _names_of_split(path, file, split)
    found = Collector(path.name, file, read=pictures.path)
    pairs = _flickr_pairs(file, found)
    rows = ((name, [caption]) for name, caption in pairs if wanted is None or name in wanted)
    return _collect(found, pictures, rows)


def _flickr_pairs(file: Path, found: Collector) -> Iterator[tuple[str, Any]]:
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


def _names_of_split(path: Path, file: Path, split: str) -> set[str]:
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


#: Where the bytes of an image lie: the shard, the offset and the size.
_Member = tuple[Path, int, int]
#: Keys of the .json member that may hold the caption.
_CAPTIONS = ("caption", "text", "captions", "txt")


def open_web(path: Path, *, pattern: str = "*.tar") -> Dataset:
    """Open shards of images with captions: FOLDER/*.tar with KEY.jpg and KEY.txt or KEY.json.

    `path` is the folder, or one shard; `pattern` is how the shards are named.
    """

    def read(member: _Member) -> bytes:
        shard, offset, size = member
        with shard.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    found = Collector(path.stem, path, read=read)
    for shard in [path] if path.is_file() else sorted(path.glob(pattern)):
        # Members of a key are neighbours.
        for key, members in groupby(_members(shard, found), key=itemgetter(0)):
            image: _Member | None = None
            captions: list[Any] | None = None
            for _, suffix, member, text in members:
                if member is not None:
                    image = image or member
                elif suffix == "txt":
                    captions = [text]
                elif captions is None:
                    captions = _from_json(text)
            found.add(key, image, captions or ())
    return found.dataset()


def _members(shard: Path, found: Collector) -> Iterator[tuple[str, str, _Member | None, str]]:
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
                    yield key, suffix, (shard, info.offset_data, info.size), ""
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
    document: Any = None
    with suppress(ValueError, RecursionError):
        document = json.loads(text)
    if not isinstance(document, dict):
        return []
    value: Any = next((document[key] for key in _CAPTIONS if document.get(key)), [])
    return value if isinstance(value, list) else [value]


def open_conceptual_captions(
    path: Path, *, images: str | None = None, names: str = "file"
) -> Dataset:
    """Open Conceptual Captions: FOLDER/*.tsv of captions and addresses, or img2dataset shards.

    `names` says how the images that were fetched are called: as in their address (or the path that
    stands in its place), by the number of the row from 0 (zeros before it do not matter), or by the
    MD5 of the address.
    """
    check_choice(names, "names", ("file", "row", "md5"))
    if path.is_dir() and next(path.glob("*.tar"), None):
        return open_web(path)
    there = [path] if path.is_file() else sorted(path.glob("*.tsv"))
    if len(there) != 1:
        listed = ", ".join(file.name for file in there) or "none"
        raise InputError(
            f"{path} must hold one .tsv file or .tar shards, got {listed}. Name the file itself."
        )
    table = there[0]
    pictures = _images_of(table.parent, images, ("images", "training", "data"))
    by_stem = {_stem(name): name for name in pictures.walk()}
    found = Collector(f"Conceptual Captions ({table.stem})", table, read=pictures.path)
    for number, row in enumerate(read_separated(table, "\t", ("caption", "url"))):
        if row.fault:
            found.leave_out(row.place, row.fault)
            continue
        url = str(row.values["url"]).strip()
        if "://" not in url and not is_inside(url):
            found.leave_out(row.place, OUTSIDE)
            continue
        whole = None
        if names == "row":
            name = str(number)
        elif names == "md5":
            name = hashlib.md5(url.encode(errors="replace"), usedforsecurity=False).hexdigest()
        else:
            whole = url if url in pictures else None
            name = PurePosixPath(unquote(urlsplit(url).path)).stem if "://" in url else url
        found.add(f"{number:08}", whole or by_stem.get(_stem(name)), [row.values["caption"]])
    return found.dataset()


def _stem(name: str) -> str:
    """Return a file name without its folder, suffix and leading zeros."""
    stem = PurePosixPath(name).name.rpartition(".")[0] or PurePosixPath(name).name
    return stem.lstrip("0") or "0" if stem.isdecimal() else stem


IMAGE_COLUMNS: Final = (
    "file_name", "filename", "file", "image", "image_path", "filepath", "path", "img",
)  # fmt: skip
CAPTION_COLUMNS: Final = (
    "caption", "captions", "text", "title", "description", "sentence", "sentences", "raw",
)  # fmt: skip


def open_folder(
    path: Path,
    *,
    captions: str | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
) -> Dataset:
    """Open a folder of images with a table of file names, relative to it, and captions.

    The option `captions` names the table, where it is not the only one in the folder; columns that
    are left out have one of the usual names. A caption can be a list of texts. Rows of one image
    are its captions.
    """
    pictures = FolderImages(path)
    table = find_named(path, captions) if captions else _only_table(path)
    found = Collector(path.name, table, read=pictures.path)

    def rows() -> Iterator[tuple[str, list[Any]]]:
        columns: tuple[str, str] | None = None
        for row in read_table(table):
            if row.fault:
                found.leave_out(row.place, row.fault)
                continue
            if columns is None:
                present = list(row.values)
                columns = (
                    choose_column(present, image_column, IMAGE_COLUMNS, "image", table),
                    choose_column(present, caption_column, CAPTION_COLUMNS, "caption", table),
                )
            name, caption = (row.values.get(column) for column in columns)
            if isinstance(name, str) and name:
                yield name, caption if isinstance(caption, list) else [caption]
            else:
                found.leave_out(row.place, "caption without an image left out")

    return _collect(found, pictures, rows())


def _only_table(path: Path) -> Path:
    there = [file for file in sorted(path.iterdir()) if file.suffix.lower() in TABLE_SUFFIXES]
    named = [file for file in there if file.stem in ("metadata", "captions")]
    if len(there) == 1 or len(named) == 1:
        return (named or there)[0]
    listed = ", ".join(file.name for file in there) or "none"
    raise InputError(
        f"{path} must hold one table of captions ({', '.join(TABLE_SUFFIXES)}), got {listed}. "
        "Name it with the option captions."
    )


#: Sets of sentences that name a class: the plain one, and the seven that CLIP's authors found to do
#: nearly as well as all of their eighty on ImageNet.
TEMPLATES: Final[dict[str, tuple[str, ...]]] = {
    "plain": ("a photo of a {}.",),
    "ensemble": (
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
}


def open_classes(path: Path, *, templates: str = "plain") -> Dataset:
    """Open images in one folder for each class: FOLDER/CLASS/*.jpg.

    Classes are numbered in the order of their names, in which underscores are spaces. The caption
    of an image is the first sentence for its class; `class_sentences` gives all of them.
    """
    check_choice(templates, "templates", tuple(TEMPLATES))
    pictures = FolderImages(path)
    folders = sorted(item.name for item in path.iterdir() if item.is_dir())
    names = [folder.replace("_", " ") for folder in folders]
    found = Collector(path.name, path, read=pictures.path)
    seen = set()
    for name in pictures.walk():
        folder, slash, _ = name.partition("/")
        if not slash:
            found.leave_out(name, "image outside of the folders of the classes left out")
            continue
        label = folders.index(folder)
        seen.add(label)
        found.add(name, name, [TEMPLATES[templates][0].format(names[label])], label=label)
    for label, class_name in enumerate(names):
        if label not in seen:
            found.leave_out(class_name, "class without images")
    return found.dataset(class_names=names)


def class_sentences(
    class_names: Sequence[str], templates: str | Sequence[str] = "ensemble"
) -> tuple[list[str], NDArray[np.intp]]:
    """Return the sentences that name each class, and the class of each sentence.

    The embeddings of the sentences of a class are averaged to one prompt, as CLIP does
    (arXiv:2103.00020, section 3.1.4); `fillgap.evaluation.zero_shot` does that.

    Parameters
    ----------
    class_names : sequence of str
        By label.
    templates : str or sequence of str
        "plain", "ensemble", or sentences with {} in the place of the class.

    Returns
    -------
    sentences : list of str
        Of class 0 first.
    labels : array of int of shape (n_sentences,)

    Examples
    --------
    >>> class_sentences(["cat", "dog"], ["a {}", "the {}"])[0]
    ['a cat', 'the cat', 'a dog', 'the dog']
    """
    if isinstance(templates, str):
        check_choice(templates, "templates", tuple(TEMPLATES))
        templates = TEMPLATES[templates]
    for template in templates:
        if template.count("{}") != 1:
            raise InputError(
                f"a template must hold {{}} once, got {template!r}. Put it where the class goes."
            )
    if not templates or not class_names:
        raise InputError(
            "class_names and templates must not be empty, got none. Pass at least one."
        )
    sentences = [t.replace("{}", name) for name in class_names for t in templates]
    return sentences, np.repeat(np.arange(len(class_names)), len(templates))
