"""Scenes of handwritten digits with captions, embedded by a small dual encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.datasets.records import Dataset, ListedDataset, Record
from fillgap.errors import InputError, check_choice
from fillgap.files import read_artifact
from fillgap.pair import EmbeddingPair

_FOLDER = Path(__file__).with_name("digit_scenes")


@dataclass(frozen=True, eq=False)
class ClassPrompts:
    """Embedded sentences that name a class, for zero-shot classification."""

    texts: NDArray[np.float32]  # unit rows, shape (n_prompts, n_features)
    labels: NDArray[np.intp]  # the class that each prompt names
    prompts: list[str]
    class_names: list[str]  # by label


def load_digit_scenes(split: str = "evaluation", variant: str = "gap") -> EmbeddingPair:
    """Return the bundled scenes of handwritten digits, two captions each, as embeddings.

    The scenes are composed of scikit-learn's digits; no handwriting of one split is in another,
    nor was the encoder trained on it. Made to show this program, and no benchmark of anything:
    the card beside the data says how it was made.

    Parameters
    ----------
    split : {"evaluation", "fitting"}
        2500 scenes to judge on, or 1000 to fit aligners on.
    variant : {"gap", "no_gap"}
        From an encoder whose training leaves the modalities apart, or (the first 500 scenes of
        evaluation, with other captions) from one whose training brings them together.

    Returns
    -------
    EmbeddingPair
        Unit rows in float32, dimension 128; caption 2i and 2i + 1 belong to scene i. Thumbnails
        are the pixels that were encoded, the label is the large digit, which every first caption
        names first.

    Raises
    ------
    InputError
        If there is no such split or variant.

    Examples
    --------
    >>> pair = load_digit_scenes()
    >>> pair.n_images, pair.n_texts, pair.n_features
    (2500, 5000, 128)
    """
    import pyarrow.parquet as pq

    check_choice(split, "split", ("evaluation", "fitting"))
    check_choice(variant, "variant", ("gap", "no_gap"))
    if variant == "no_gap" and split == "fitting":
        raise InputError(
            "split must be 'evaluation' for the variant 'no_gap', got 'fitting'. "
            "There is no gap to fit: ask for the evaluation scenes."
        )
    part = split if variant == "gap" else "no_gap"
    arrays, header = read_artifact(_FOLDER / f"{part}.safetensors", "digit-scenes")
    table = pq.read_table(_FOLDER / f"{part}.parquet").to_pydict()
    pixels = np.frombuffer(b"".join(table["thumbnail"]), dtype=np.uint8)
    size = header["size"]
    images, texts = _unit(arrays["images"]), _unit(arrays["texts"])
    return EmbeddingPair(
        images,
        texts,
        image_index=np.repeat(np.arange(len(images)), len(texts) // len(images)),
        captions=[text for pair in table["captions"] for text in pair],
        thumbnails=pixels.reshape(len(images), size, size),
        labels=np.array(table["label"], dtype=np.intp),
        name=f"digit scenes ({part.replace('_', ' ')})",
    )


def load_class_prompts() -> ClassPrompts:
    """Return ten classes named by three prompts each, embedded by the encoder of the scenes.

    The class of a scene is its large digit.

    Examples
    --------
    >>> load_class_prompts().prompts[3]
    'a large three'
    """
    arrays, header = read_artifact(_FOLDER / "class_prompts.safetensors", "class-prompts")
    return ClassPrompts(
        texts=_unit(arrays["texts"]),
        labels=arrays["labels"].astype(np.intp),
        prompts=header["prompts"],
        class_names=header["class_names"],
    )


def _unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Undo what rounding to float16 did to the length of unit rows."""
    wide = rows.astype(np.float32)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def open_scenes(*, split: str = "evaluation", variant: str = "gap") -> Dataset:
    """Open the bundled scenes: pixels (36, 36), two captions each, the large digit as label."""
    pair: Any = load_digit_scenes(split, variant)
    captions = zip(pair.captions[::2], pair.captions[1::2], strict=True)
    rows = enumerate(zip(pair.thumbnails, captions, pair.labels, strict=True))
    records = [Record(f"{split}-{i:04}", x, told, int(label)) for i, (x, told, label) in rows]
    return ListedDataset(pair.name, records, class_names=load_class_prompts().class_names)
