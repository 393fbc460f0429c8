"""From the words of a command to embeddings and parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from fillgap.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fillgap.datasets.scenes import ClassPrompts
    from fillgap.pair import EmbeddingPair


def read_pair(
    images: str,
    texts: str | None,
    *,
    image_index: str | None,
    captions: str | None,
    unpaired: bool,
    max_images: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> EmbeddingPair:
    """Read both sides, with what belongs to them; of more images than `max_images` a sample."""
    from fillgap.io.pairs import load_pair

    where = None
    if device is not None:  # before anything is read
        from fillgap.runtime import choose_device, pair_on_device

        where = choose_device(device)
    pair = load_pair(
        images,
        texts,
        image_index=image_index,
        captions=captions,
        paired=False if unpaired else None,
        max_images=max_images,
        random_state=seed,
    )
    return pair if where is None else pair_on_device(pair, where)


@dataclass(frozen=True)
class PairFrom:
    """Reads a pair in whatever process this is called, once; parameters as for `read_pair`.

    `bad` are the names of shards that are left out with their partners.
    """

    images: str
    texts: str | None
    image_index: str | None
    max_images: int | None
    seed: int
    device: str | None = None
    bad: frozenset[str] = frozenset()

    def __call__(self) -> EmbeddingPair:
        """Return the pair."""
        return _read_once(self)


@lru_cache(maxsize=1)
def _read_once(source: PairFrom) -> EmbeddingPair:
    from fillgap.distributed.fit_job import load_readable_pair
    from fillgap.distributed.pieces import name_here

    device = name_here(source.device)
    if source.bad:
        pair = load_readable_pair(
            source.images,
            source.texts,
            source.bad,
            max_images=source.max_images,
            random_state=source.seed,
        )
        return pair if device is None else _on_device(pair, device)
    return read_pair(
        source.images,
        source.texts,
        image_index=source.image_index,
        captions=None,
        unpaired=False,
        max_images=source.max_images,
        seed=source.seed,
        device=device,
    )


def _on_device(pair: EmbeddingPair, device: str) -> EmbeddingPair:
    from fillgap.runtime import choose_device, pair_on_device

    return pair_on_device(pair, choose_device(device))


def parse_parameters(words: list[str] | None) -> dict[str, Any]:
    """Return {"n_components": 120, ...} of ["n_components=120", ...]; values are JSON or words."""
    pairs = (_name_and_value(word, "--set", "ridge=0.3") for word in words or ())
    return {name: _value(value) for name, value in pairs}


def parse_grid(words: list[str]) -> dict[str, list[Any]]:
    """Return {"eta": [1, 10], ...} of ["eta=1,10", ...]; values as in `parse_parameters`."""
    grid: dict[str, list[Any]] = {}
    for word in words:
        name, values = _name_and_value(word, "--grid", "eta=10,100")
        grid.setdefault(name, []).extend(_value(value) for value in values.split(",") if value)
    return grid


def _name_and_value(word: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise InputError(
            f"{option} must be NAME=VALUE, got {word!r}. Write for example {option} {example}"
        )
    return name.replace("-", "_"), value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"None": None, "True": True, "False": False}.get(text, text)


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
    from fillgap.errors import InputError

    classes = {"--labels": labels, "--prompts": prompts, "--prompt-labels": prompt_labels}
    given = {name: word for name, word in classes.items() if word is not None}
    if images is None:
        given |= {"--image-index": image_index} if image_index is not None else {}
        if given or unpaired:
            raise InputError(
                f"{next(iter(given), '--unpaired')} must be given with IMAGES, got no IMAGES. "
                "Name your embeddings too, or nothing for the bundled scenes."
            )
        from fillgap.datasets.scenes import load_class_prompts, load_digit_scenes

        return load_digit_scenes(), load_class_prompts()

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
    from fillgap.datasets.scenes import ClassPrompts
    from fillgap.io.shards import load_rows

    names = [f"class {label}" for label in sorted(set(labels.tolist()))]
    sentences = [f"a prompt for class {label}" for label in labels.tolist()]
    return ClassPrompts(load_rows(prompts, modality="text"), labels, sentences, names)


def _read_labels(spec: str) -> NDArray[Any]:
    """Return the integers of a 1-D .npy file, or of a column (default `label`) of a table."""
    import numpy as np

    from fillgap.errors import InputError, InputTypeError
    from fillgap.files import missing_path
    from fillgap.io.names import reading, split_key
    from fillgap.io.tables import find_column, read_column

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
