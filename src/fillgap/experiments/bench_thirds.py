"""MixBench's mixture from pairs: each item is an image, a text, or both in one document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_random_state
from fillgap.datasets import Judged, JudgedItem
from fillgap.embeddings import EmbeddingPair
from fillgap.experiments.judged_embeddings import EmbeddedItems

__all__ = ["in_thirds"]

Rows = NDArray[np.intp]


def in_thirds(
    pair: EmbeddingPair, *, random_state: int = 0
) -> tuple[Judged, EmbeddedItems, EmbeddedItems]:
    """Return judgements, queries and documents: a third images, a third texts, a third both.

    A document is made of an image and of one of its texts; another text asks for it. Items that
    are a text alone are asked for by their image too.

    Parameters
    ----------
    pair : EmbeddingPair
        Paired, with two texts an image or more.
    random_state : int
        Seed of the thirds and of which text asks.

    Raises
    ------
    InputError
        If fewer than 12 images have two texts.
    """
    images, asking, answering = _two_texts(pair, random_state)
    if len(images) < 12:
        raise InputError(
            f"images with two texts must be at least 12 to be parted in thirds, got {len(images)}. "
            "Name the image of each text with --image-index, or leave --thirds out."
        )
    third = check_random_state(random_state).permutation(len(images)) % 3
    shown, told = third != 1, third != 0
    documents = EmbeddedItems(
        np.array(["image", "text", "image+text"])[third],
        {"image": pair.images[images[shown]], "text": pair.texts[answering[told]]},
        {"image": np.flatnonzero(shown), "text": np.flatnonzero(told)},
    )
    alone = np.flatnonzero(third == 1)
    n, n_queries = len(images), len(images) + len(alone)
    queries = EmbeddedItems(
        np.array(["text"] * n + ["image"] * len(alone)),
        {"text": pair.texts[asking], "image": pair.images[images[alone]]},
        {"text": np.arange(n), "image": np.arange(n, n_queries)},
    )
    wanted = [*range(n), *alone.tolist()]
    judged = Judged(
        Path(pair.name),
        [JudgedItem(str(i), *_halves(kind)) for i, kind in enumerate(queries.kinds)],
        [JudgedItem(str(i), *_halves(kind)) for i, kind in enumerate(documents.kinds)],
        [(query, document, 1.0) for query, document in enumerate(wanted)],
    )
    return judged, queries, documents


def _two_texts(pair: EmbeddingPair, random_state: int) -> tuple[Rows, Rows, Rows]:
    """Return images with two texts or more, and two of the texts of each."""
    if pair.image_index is None:
        none = np.empty(0, dtype=np.intp)
        return none, none, none
    index = np.asarray(pair.image_index)
    shuffled = check_random_state(random_state).permutation(len(index))
    order = shuffled[np.argsort(index[shuffled], kind="stable")]
    images, first, count = np.unique(index[order], return_index=True, return_counts=True)
    several = count >= 2
    return images[several], order[first[several]], order[first[several] + 1]


def _halves(kind: str) -> tuple[str | None, str | None]:
    """Return stand-ins for the text and the image of an item of a kind."""
    return "text" if "text" in kind else None, "image" if "image" in kind else None
