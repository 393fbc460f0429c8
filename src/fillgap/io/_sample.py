"""A seeded sample of files that are too large to hold, with what belongs to its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import check_random_state
from fillgap.pair import BLOCK_ROWS, EmbeddingPair, RowSource

__all__ = ["sampled_pair", "take_rows"]

Rows = NDArray[np.intp]


def take_rows(source: RowSource, rows: Rows) -> NDArray[np.floating[Any]]:
    """Return these rows, ascending, of a source that is read once, block by block, to the last."""
    kept, start = [], 0
    for block in source.iter_blocks(BLOCK_ROWS):
        stop = start + len(block)
        first, last = np.searchsorted(rows, [start, stop])
        kept.append(block[rows[first:last] - start])
        start = stop
        if not len(rows) or stop > rows[-1]:
            break
    return np.concatenate(kept)


def sampled_pair(
    sources: tuple[RowSource, RowSource],
    known: Mapping[str, Any],
    *,
    max_images: int,
    paired: bool | None,
    name: str,
    random_state: int,
) -> EmbeddingPair:
    """Return a random sample of the images with all of their texts; of unpaired sets, of both.

    Parameters
    ----------
    sources : pair of RowSource
        Images and texts.
    known : mapping
        What load_pair knows about all rows: ids, captions, image_index, labels.
    max_images : int
        Images in the sample; of unpaired sets also its texts.
    paired, name
        As for `EmbeddingPair`; the name says that it is a sample. Rows without names are named by
        their number in the files.
    random_state : int
        Seed.
    """
    rng = check_random_state(random_state)
    n, m = sources[0].shape[0], sources[1].shape[0]
    images = _drawn(n, max_images, rng)
    index = known.get("image_index")
    if index is None and n == m and paired is not False:
        texts, index = images, np.arange(max_images)
    elif index is None or paired is False:
        texts, index = _drawn(m, min(m, max_images), rng), None
    else:
        place = np.full(n, -1, dtype=np.intp)
        place[images] = np.arange(max_images)
        index = place[np.asarray(index)]
        texts = np.flatnonzero(index >= 0)
        index = index[texts]
    named: dict[str, Any] = {
        "image_ids": [f"image {row}" for row in images],
        "text_ids": [f"text {row}" for row in texts],
        **{
            what: [known[what][row] for row in rows]
            for what, rows in (("image_ids", images), ("text_ids", texts), ("captions", texts))
            if known.get(what) is not None
        },
    }
    if known.get("labels") is not None:
        named["labels"] = np.asarray(known["labels"])[images]
    return EmbeddingPair(
        take_rows(sources[0], images),
        take_rows(sources[1], texts),
        image_index=index,
        paired=index is not None,
        name=f"{name}, a sample of {max_images} of {n} images",
        **named,
    )


def _drawn(n: int, k: int, rng: np.random.Generator) -> Rows:
    """Return k of n rows at random, ascending."""
    return np.sort(rng.choice(n, k, replace=False))
