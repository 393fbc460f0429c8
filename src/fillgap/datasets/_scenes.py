"""The bundled scenes of handwritten digits as pictures with captions."""

from __future__ import annotations

import numpy as np

from fillgap.datasets._collect import ListedDataset
from fillgap.datasets._digit_scenes import load_class_prompts, load_digit_scenes
from fillgap.datasets._record import Dataset

__all__ = ["open_scenes"]


def open_scenes(*, split: str = "evaluation", variant: str = "gap") -> Dataset:
    """Open the bundled scenes: pixels (36, 36), two captions each, the large digit as label.

    Parameters
    ----------
    split, variant : str
        As for `load_digit_scenes`.
    """
    pair = load_digit_scenes(split, variant)
    captions = np.array(pair.captions, dtype=object).reshape(pair.n_images, -1)
    return ListedDataset(
        pair.name,
        [f"{split}-{i:04}" for i in range(pair.n_images)],
        [] if pair.thumbnails is None else list(pair.thumbnails),
        [tuple(row) for row in captions],
        labels=None if pair.labels is None else [int(label) for label in pair.labels],
        class_names=load_class_prompts().class_names,
    )
