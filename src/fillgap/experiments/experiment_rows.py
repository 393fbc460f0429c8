"""The rows that an experiment judges, and the other ones that it fits on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fillgap._checks import InputError, check_random_state
from fillgap.datasets import load_digit_scenes
from fillgap.embeddings import EmbeddingPair
from fillgap.experiments.specification import BUNDLED, EmbeddingData
from fillgap.io import load_pair
from fillgap.metrics import first_texts
from fillgap.rows import iter_blocks

__all__ = ["DrawnRows", "divide", "draw_rows"]

FEWEST = 4  # pairs that anything can be judged or fitted on


@dataclass(frozen=True, eq=False)
class DrawnRows:
    """Pairs to judge on, other pairs to fit on, and what tells them from all others.

    Attributes
    ----------
    judged : EmbeddingPair
        One text for each image.
    separate : EmbeddingPair or None
        None where no rows are left.
    fingerprint : str
        SHA-256 of every number of both.
    """

    judged: EmbeddingPair
    separate: EmbeddingPair | None
    fingerprint: str

    @property
    def n_separate(self) -> int:
        """Number of pairs to fit on."""
        return 0 if self.separate is None else self.separate.n_images


@lru_cache(maxsize=1)  # the representations of one data set follow one another
def draw_rows(data: EmbeddingData, n_judged: int, n_separate: int, random_state: int) -> DrawnRows:
    """Load embeddings and draw the rows.

    Parameters
    ----------
    data : EmbeddingData
        What to load; the scenes of the package have separate rows of their own.
    n_judged, n_separate : int
        How many; data with fewer rows are divided in this proportion.
    random_state : int
        Seed.

    Raises
    ------
    InputError
        If the embeddings cannot be read, are unpaired, or are too few.
    """
    rng = check_random_state(random_state)
    other: EmbeddingPair | None
    if data.path == BUNDLED:
        whole, other = load_digit_scenes(), load_digit_scenes("fitting")
    else:
        whole = load_pair(data.path, data.texts)
        other = None if data.separate is None else load_pair(data.separate)
    whole = _one_text_each(whole)
    rows = rng.permutation(whole.n_images)
    if other is not None:
        other = _one_text_each(other)
        judged_rows, spare = rows[:n_judged], rng.permutation(other.n_images)[:n_separate]
    else:
        here, others = divide(whole.n_images, n_judged, n_separate)
        judged_rows, spare = rows[:here], rows[here : here + others]
    if len(judged_rows) < FEWEST:
        raise InputError(
            f"{data.path} must hold enough pairs to judge on, got {whole.n_images} images. "
            "Use at least a dozen."
        )
    judged = _take(whole, judged_rows)
    separate = _take(whole if other is None else other, spare) if len(spare) >= FEWEST else None
    return DrawnRows(judged, separate, _fingerprint(judged, separate))


def divide(n_rows: int, n_judged: int, n_separate: int) -> tuple[int, int]:
    """Return how many rows to judge on and to fit on: as asked, or fewer in the same proportion."""
    share = min(1.0, n_rows / (n_judged + n_separate))
    judged = n_judged if share == 1 else round(share * n_judged)
    return judged, min(n_separate, n_rows - judged)


def _one_text_each(pair: EmbeddingPair) -> EmbeddingPair:
    if not pair.is_paired:
        raise InputError(
            f"{pair.name} must be pairs, got {pair.n_images} images and {pair.n_texts} texts. "
            "Keep the image_index with the embeddings."
        )
    return pair if pair.one_to_one else first_texts(pair)


def _take(pair: EmbeddingPair, rows: Any) -> EmbeddingPair:
    """Return these pairs in the order of the file."""
    return pair.take_images(np.sort(rows))


def _fingerprint(*pairs: EmbeddingPair | None) -> str:
    digest = hashlib.sha256()
    for side in (s for pair in pairs if pair for s in (pair.images, pair.texts)):
        digest.update(f"{side.shape} {side.dtype}".encode())
        for _, block in iter_blocks(side, "rows"):
            digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()
