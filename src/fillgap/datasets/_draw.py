"""Random pairs of a dataset: some to judge on, others to learn from, never the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fillgap._checks import InputError, check_integer, check_random_state
from fillgap.datasets._record import Dataset, Record, told_of

__all__ = ["draw_pairs"]


class _DrawnDataset:
    """Some images of a dataset, each with one of its captions."""

    def __init__(self, dataset: Dataset, rows: Any, captions: Any, name: str) -> None:
        self._dataset, self._rows, self._captions = dataset, rows, captions
        self.name = name
        self.class_names = dataset.class_names
        self.problems = dataset.problems

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> Record:
        return self._with_one_caption(self._dataset[int(self._rows[i])], i)

    def without_image(self, i: int) -> Record:
        return self._with_one_caption(told_of(self._dataset, int(self._rows[i])), i)

    def _with_one_caption(self, record: Record, i: int) -> Record:
        if not record.captions:
            raise InputError(
                f"{self.name} must have a caption for each image, got none for {record.id}. "
                "Draw pairs from images with captions."
            )
        caption = record.captions[int(self._captions[i]) % len(record.captions)]
        return replace(record, captions=(caption,))


def draw_pairs(
    dataset: Dataset, *, n_pairs: int = 2500, n_transport: int = 5000, random_state: int = 0
) -> tuple[Dataset, Dataset]:
    """Draw pairs to judge on and other pairs to learn a transport from, one caption an image.

    The defaults are COCO-PAIRS and CC-PAIRS of "Fill the Gap" (arXiv:2505.03703), which does not
    publish its rows. The pairs to judge on do not depend on `n_transport`.

    Parameters
    ----------
    dataset : Dataset
        Of images with captions.
    n_pairs, n_transport : int
        Images in each part.
    random_state : int
        Seed.

    Returns
    -------
    pairs, transport : Dataset

    Raises
    ------
    InputError
        If the dataset has fewer images than both parts need.

    Examples
    --------
    >>> pairs, transport = draw_pairs(open_dataset("digit-scenes"), n_pairs=100, n_transport=200)
    >>> len(pairs), len(transport), len(pairs[0].captions)
    (100, 200, 1)
    """
    check_integer(n_pairs, "n_pairs", low=1)
    check_integer(n_transport, "n_transport", low=0)
    if n_pairs + n_transport > len(dataset):
        raise InputError(
            f"{dataset.name} must have at least {n_pairs + n_transport} images for "
            f"{n_pairs} pairs and {n_transport} others, got {len(dataset)}. "
            "Choose a larger split, or smaller parts."
        )
    rng = check_random_state(random_state)
    rows = rng.permutation(len(dataset))
    captions = rng.integers(1 << 30, size=len(dataset))
    drawn = []
    for start, count, of in ((0, n_pairs, "pairs"), (n_pairs, n_transport, "for transport")):
        # In the order of the dataset, so that files of many pictures are read once, front to back.
        part = start + np.argsort(rows[start : start + count])
        name = f"{dataset.name}, {count} {of}"
        drawn.append(_DrawnDataset(dataset, rows[part], captions[part], name))
    return drawn[0], drawn[1]
