"""From the words of a command to embeddings and parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fillgap.cli.output import refuse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fillgap.datasets.scenes import ClassPrompts
    from fillgap.pair import EmbeddingPair


def read_pair(
    images: str,
    texts: str | None,
    *,
    image_index: str | None = None,
    captions: str | None = None,
    unpaired: bool = False,
    max_images: int | None = None,
    seed: int = 0,
    device: str | None = None,
    bad: frozenset[str] = frozenset(),
) -> EmbeddingPair:
    """Read both sides, with what belongs to them; of more images than `max_images` a sample.

    `bad` are the names of shards that are left out with their partners.
    """
    from fillgap.distributed.fit_job import load_readable_pair
    from fillgap.io.pairs import load_pair
    from fillgap.runtime import choose_device, pair_on_device

    where = None if device is None else choose_device(device)  # before anything is read
    sample: dict[str, Any] = {"max_images": max_images, "random_state": seed}
    if bad:
        pair = load_readable_pair(images, texts, bad, **sample)
    else:
        paired = False if unpaired else None
        sample |= {"image_index": image_index, "captions": captions, "paired": paired}
        pair = load_pair(images, texts, **sample)
    return pair if where is None else pair_on_device(pair, where)


@dataclass(frozen=True)
class PairFrom:
    """Reads a pair in whatever process this is called, once; fields as for `read_pair`."""

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
    from fillgap.distributed.pieces import name_here

    return read_pair(**(vars(source) | {"device": name_here(source.device)}))


def new_file(out: Path | None, words: Iterable[str | Path | None] = (), *, overwrite: bool) -> None:
    """Refuse a place that must not be written, among them the files behind the words."""
    from fillgap.files import check_target
    from fillgap.io.names import split_key

    if out is not None:
        inputs = [split_key(str(word))[0] for word in words if word is not None]
        check_target(out, inputs=inputs, overwrite=overwrite)


def parse_parameters(words: Iterable[str] | None) -> dict[str, Any]:
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
        refuse(f"{option} must be NAME=VALUE, got {word!r}. Write for example {option} {example}")
    return name.replace("-", "_"), value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"None": None, "True": True, "False": False}.get(text, text)


def read_classified(
    images: str | None,
    texts: str | None,
    image_index: str | None,
    words: tuple[str | None, str | None, str | None],
    *,
    unpaired: bool = False,
) -> tuple[EmbeddingPair, ClassPrompts | None]:
    """Read both sides and what classifies them; without any words, the bundled scenes.

    `words` name the labels of the images, the prompts, and the labels of these.
    """
    from fillgap.datasets.scenes import ClassPrompts, load_class_prompts, load_digit_scenes
    from fillgap.io.shards import load_rows

    labels, prompts, prompt_labels = words
    classes = dict(zip(("--labels", "--prompts", "--prompt-labels"), words, strict=True))
    given = [name for name, word in classes.items() if word is not None]
    if images is None:
        given += ["--image-index"] * (image_index is not None) + ["--unpaired"] * unpaired
        if given:
            refuse(
                f"{given[0]} must be given with IMAGES, got no IMAGES. "
                "Name your embeddings too, or nothing for the bundled scenes."
            )
        return load_digit_scenes(), load_class_prompts()

    pair = read_pair(images, texts, image_index=image_index, unpaired=unpaired)
    if not given:
        return pair, None
    if labels is None or prompts is None or prompt_labels is None:
        refuse(
            f"{', '.join(classes)} must be given together, got only {', '.join(given)}. "
            "Zero-shot classification needs all three; leave them out to go without it."
        )
    pair = replace(pair, labels=_read_labels(labels))
    numbers = _read_labels(prompt_labels)
    names = [f"class {label}" for label in sorted(set(numbers.tolist()))]
    sentences = [f"a prompt for class {label}" for label in numbers.tolist()]
    return pair, ClassPrompts(load_rows(prompts, modality="text"), numbers, sentences, names)


def _read_labels(spec: str) -> NDArray[Any]:
    """Return the integers of a 1-D .npy file, or of a column (default `label`) of a table."""
    import numpy as np

    from fillgap.errors import InputTypeError
    from fillgap.io.names import split_key
    from fillgap.io.tables import find_column, read_column

    path, key = split_key(spec)
    if path.suffix.lower() == ".npy" or not path.is_file():
        labels = read_npy(path, "labels")
    else:
        wanted = (key.lower(),) if key else ("label", "labels")
        column = find_column([path], wanted)
        if column is None:
            refuse(
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


def read_npy(path: Path, what: str, mmap_mode: Literal["r"] | None = None) -> NDArray[Any]:
    """Return the one array of a .npy file."""
    import numpy as np

    from fillgap.files import missing_path
    from fillgap.io.names import reading

    if not path.is_file():
        raise missing_path(path)
    with reading(str(path), f"an .npy file of {what}"):
        array = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        refuse(f"{path} must be one array of {what}, got an archive. Write it with numpy.save.")
    return array
