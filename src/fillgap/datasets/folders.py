"""A folder of images with captions in a table: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap.datasets.records import (
    OUTSIDE,
    Collector,
    Dataset,
    FolderImages,
    find_named,
    is_inside,
)
from fillgap.datasets.tables import TABLE_SUFFIXES, choose_column, read_table
from fillgap.errors import InputError, check_choice
from fillgap.files import missing_path

IMAGE_COLUMNS: Final = (
    "file_name", "filename", "file", "image", "image_path", "filepath", "path", "img",
)  # fmt: skip
CAPTION_COLUMNS: Final = (
    "caption", "captions", "text", "title", "description", "sentence", "sentences", "raw",
)  # fmt: skip


def open_folder(
    path: Path, *, captions: str | None = None, image_column: str | None = None,
    caption_column: str | None = None,
) -> Dataset:  # fmt: skip
    """Open a folder of images with a table of file names and captions.

    Parameters
    ----------
    path : Path
        The folder.
    captions : str, optional
        The table, where it is not the only one in the folder: below `path`, or a path of its own.
        File names are relative to `path`.
    image_column, caption_column : str, optional
        Columns; left out, the usual names are tried (file_name, image, path; caption, text). A
        caption can be a list of texts. Rows of one image are its captions.
    """
    pictures = FolderImages(path)
    table = find_named(path, captions) if captions else _only_table(path)
    if not table.is_file():
        raise missing_path(table)
    found = Collector(path.name, table, read=pictures.path)
    texts: dict[str, list[Any]] = {}
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
        if not isinstance(name, str) or not name:
            found.leave_out(row.place, "caption without an image left out")
            continue
        texts.setdefault(name, []).extend(caption if isinstance(caption, list) else [caption])
    for name, listed in texts.items():
        if not is_inside(name):
            found.leave_out(name, OUTSIDE)
        else:
            found.add(name, name if name in pictures else None, listed)
    return found.dataset()


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

    Parameters
    ----------
    path : Path
        The folder.
    templates : {"plain", "ensemble"}
        Which sentences.
    """
    check_choice(templates, "templates", tuple(TEMPLATES))
    pictures = FolderImages(path)
    folders = sorted(item.name for item in path.iterdir() if item.is_dir())
    names = [folder.replace("_", " ") for folder in folders]
    number = {folder: i for i, folder in enumerate(folders)}
    found = Collector(path.name, path, read=pictures.path)
    seen = set()
    for name in pictures.walk():
        folder, slash, _ = name.partition("/")
        if not slash:
            found.leave_out(name, "image outside of the folders of the classes left out")
            continue
        label = number[folder]
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
