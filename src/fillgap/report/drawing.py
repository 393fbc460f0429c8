"""Which rows a report draws, where there are too many, and the rows as unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import check_random_state, unit_rows
from fillgap.embeddings import EmbeddingPair
from fillgap.moments import to_numpy

__all__ = ["MAX_IMAGES", "draw_pair", "draw_rows", "unit"]

#: Images that a report reads at most, with their texts; of unpaired sets as many texts.
MAX_IMAGES: Final = 10_000


def draw_rows(n: int, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return `most` of n rows at random, in their order; all where there are no more."""
    return np.arange(n) if n <= most else np.sort(rng.permutation(n)[:most])


def draw_pair(pair: EmbeddingPair, *, random_state: int) -> tuple[EmbeddingPair, str | None]:
    """Return the rows that a report reads, with a name for each, and a sentence about the draw."""
    rng = check_random_state(random_state)
    images = draw_rows(pair.n_images, MAX_IMAGES, rng)
    if pair.image_index is None:
        texts = draw_rows(pair.n_texts, MAX_IMAGES, rng)
    else:
        texts = np.flatnonzero(np.isin(np.asarray(pair.image_index), images))
    whole = len(images) == pair.n_images and len(texts) == pair.n_texts
    drawn = pair if whole else pair.take(images, texts)
    if not whole and pair.image_index is not None:
        drawn = pair.take_images(images)
    named = replace(
        drawn,
        image_ids=_names(drawn.image_ids, "image", images),
        text_ids=_names(drawn.text_ids, "text", texts),
    )
    if whole:
        return named, None
    return named, (
        f"Drawn at random: {named.n_images} of {pair.n_images} images, and {named.n_texts} of "
        f"{pair.n_texts} texts."
    )


def _names(known: Sequence[str] | None, what: str, rows: NDArray[np.intp]) -> Sequence[str]:
    return [f"{what} {row}" for row in rows] if known is None else known


def unit(rows: Any) -> NDArray[np.float64]:
    """Return rows of length one in float64."""
    return unit_rows(to_numpy(rows), "rows")
