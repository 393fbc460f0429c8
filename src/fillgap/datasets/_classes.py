"""Class-labelled images in one folder for each class, and the sentences that name a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_choice
from fillgap.datasets._collect import Collector
from fillgap.datasets._files import FolderImages
from fillgap.datasets._record import Dataset

__all__ = ["TEMPLATES", "class_sentences", "open_classes"]

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
