"""Held-out splits by image: what belongs to one image never lies on both sides."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, check_integer, check_random_state, check_real, row_scales
from fillgap.pair import EmbeddingPair, iter_blocks
from fillgap.runtime import to_host

Rows = NDArray[np.intp]


def check_rows(pair: EmbeddingPair, what: tuple[str, str] = ("images", "texts")) -> None:
    """Refuse unusable rows by their number in the data, not in some split."""
    for side, name in zip((pair.images, pair.texts), what, strict=True):
        for first_row, block in iter_blocks(side, name):
            row_scales(block, name, first_row=first_row)


def held_out_splits(
    pair: EmbeddingPair,
    *,
    n_splits: int = 5,
    test_size: float = 0.5,
    max_test: int = 2000,
    random_state: int = 0,
) -> Iterator[tuple[Rows, Rows]]:
    """Yield (rows of images to fit on, rows of images to test on), `n_splits` times.

    Images whose embeddings are equal stay together, so that a duplicate of a fitted image is never
    tested on.

    Parameters
    ----------
    pair : EmbeddingPair
        Paired; images without a text are left out of both parts.
    n_splits : int
        How many random splits.
    test_size : float
        Share of the images that is tested on, between 0 and 1.
    max_test : int
        The most images tested on in one split; all others are fitted on.
    random_state : int
        Seed.

    Raises
    ------
    InputError
        If the sets are unpaired, or fewer than four different images have a text.
    """
    if pair.image_index is None:
        raise InputError(
            "images and texts must be paired to be judged on held-out rows, got unpaired sets. "
            "Pass image_index, or measure without it."
        )
    described = np.unique(np.asarray(pair.image_index))
    seen: dict[bytes, int] = {}  # a number for each different row
    rows = to_host(pair.images[described])
    group = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in rows], dtype=np.intp)
    n_groups = len(seen)
    n_test = n_tested(n_groups, n_splits, test_size, max_test)
    rng = check_random_state(random_state)
    for _ in range(n_splits):
        chosen = np.zeros(n_groups, dtype=bool)
        chosen[rng.permutation(n_groups)[:n_test]] = True
        test = chosen[group]
        yield described[~test], described[test]


def n_tested(n_groups: int, n_splits: int, test_size: float, max_test: int) -> int:
    """Return how many of so many different images `held_out_splits` tests on in each split."""
    check_integer(n_splits, "n_splits", low=1)
    check_integer(max_test, "max_test", low=2)
    check_real(test_size, "test_size", low=0, high=1, open_low=True, open_high=True)
    if n_groups < 4:
        raise InputError(
            f"images with a text must be at least 4 different ones to be split, got {n_groups}. "
            "Use more data."
        )
    return min(max(round(test_size * n_groups), 2), max_test, n_groups - 2)
