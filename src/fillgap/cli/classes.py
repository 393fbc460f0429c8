"""From the words of a command to labelled images and class prompts, or the bundled scenes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fillgap.datasets import ClassPrompts
    from fillgap.embeddings import EmbeddingPair

__all__ = ["Labels", "OptionalImages", "PromptLabels", "Prompts", "read_classified"]

OptionalImages: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="IMAGES",
        help="Image embeddings, as for fillgap measure; left out, the bundled digit scenes.",
        show_default=False,
    ),
]
Labels: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="The class of each image, from 0: a 1-D .npy file, or FILE:COLUMN of a table.",
    ),
]
Prompts: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--prompts", metavar="FILE", help="Embeddings of class prompts, any number for each class."
    ),
]
PromptLabels: TypeAlias = Annotated[
    str | None,
    typer.Option("--prompt-labels", metavar="FILE", help="The class that each prompt names."),
]


def read_classified(
    images: str | None,
    texts: str | None,
    *,
    image_index: str | None,
    labels: str | None,
    prompts: str | None,
    prompt_labels: str | None,
    unpaired: bool = False,
) -> tuple[EmbeddingPair, ClassPrompts | None]:
    """Read both sides and what classifies them; without any words, the bundled scenes."""
    from fillgap._checks import InputError

    classes = {"--labels": labels, "--prompts": prompts, "--prompt-labels": prompt_labels}
    given = {name: word for name, word in classes.items() if word is not None}
    if images is None:
        given |= {"--image-index": image_index} if image_index is not None else {}
        if given or unpaired:
            raise InputError(
                f"{next(iter(given), '--unpaired')} must be given with IMAGES, got no IMAGES. "
                "Name your embeddings too, or nothing for the bundled scenes."
            )
        from fillgap.datasets import load_class_prompts, load_digit_scenes

        return load_digit_scenes(), load_class_prompts()
    from fillgap.cli.data import read_pair

    pair = read_pair(images, texts, image_index=image_index, captions=None, unpaired=unpaired)
    if not given:
        return pair, None
    if labels is None or prompts is None or prompt_labels is None:
        raise InputError(
            f"{', '.join(classes)} must be given together, got only {', '.join(given)}. "
            "Zero-shot classification needs all three; leave them out to go without it."
        )
    pair = replace(pair, labels=_read_labels(labels))
    return pair, _read_prompts(prompts, _read_labels(prompt_labels))


def _read_prompts(prompts: str, labels: NDArray[Any]) -> ClassPrompts:
    from fillgap.datasets import ClassPrompts
    from fillgap.io import load_rows

    names = [f"class {label}" for label in sorted(set(labels.tolist()))]
    sentences = [f"a prompt for class {label}" for label in labels.tolist()]
    return ClassPrompts(load_rows(prompts, modality="text"), labels, sentences, names)


def _read_labels(spec: str) -> NDArray[Any]:
    """Return the integers of a 1-D .npy file, or of a column (default `label`) of a table."""
    import numpy as np

    from fillgap._checks import InputError, InputTypeError
    from fillgap._files import missing_path
    from fillgap.io._columns import find_column, read_column
    from fillgap.io._names import split_key
    from fillgap.io._reading import reading

    path, key = split_key(spec)
    if not path.is_file():
        raise missing_path(path)
    if path.suffix.lower() == ".npy":
        with reading(str(path), "an .npy file of labels"):
            labels = np.load(path, allow_pickle=False)
    else:
        wanted = (key.lower(),) if key else ("label", "labels")
        column = find_column([path], wanted)
        if column is None:
            raise InputError(
                f"{path} must hold the column {wanted[0]!r}, got no such column. "
                "Name the column of the labels behind a colon."
            )
        labels = np.asarray(read_column([path], column))
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise InputTypeError(
            f"{spec} must be a 1-D list of integers, got {labels.dtype} of shape {labels.shape}. "
            "Number the classes from 0."
        )
    return labels
