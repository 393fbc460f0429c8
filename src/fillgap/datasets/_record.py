"""What every dataset offers: records of one image with its captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dataset", "Record", "told_of"]


@dataclass(frozen=True)
class Record:
    """One image and what is said about it.

    Attributes
    ----------
    id : str
        Unique in its dataset.
    image : path, bytes, array of uint8 or None
        A file, an encoded picture, or pixels: not yet decoded. None where there are texts alone.
    captions : tuple of str
        None of them empty.
    label : int or None
        Class of the image, where there are classes.
    """

    id: str
    image: Path | bytes | NDArray[np.uint8] | None
    captions: tuple[str, ...]
    label: int | None = None


class Dataset(Protocol):
    """Images with captions that are read when they are asked for.

    Attributes
    ----------
    name : str
        What reports call it.
    class_names : sequence of str or None
        Names of the classes, by label.
    problems : sequence of str
        What was left out on reading, and why, one line each.
    """

    name: str
    class_names: Sequence[str] | None
    problems: Sequence[str]

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, i: int) -> Record:
        """Return the image of row `i` with its captions."""
        ...


def told_of(dataset: Dataset, i: int) -> Record:
    """Return a record of which everything counts but the image, which is not read if possible."""
    without: Callable[[int], Record] = getattr(dataset, "without_image", dataset.__getitem__)
    return without(i)
