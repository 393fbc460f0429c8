"""Embeddings in int8 with float32 scales: row or column i of the vectors times scale i."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BufferedIOBase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError, InputTypeError
from fillgap.io._reading import WRITE_AGAIN

__all__ = ["Scales", "is_usable", "scales_key"]

#: What an entry of a file is: its shape, and whether it is int8, a float, or neither.
ScalesOf = Mapping[str, tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class Scales:
    """Scales in a file, read block by block beside the vectors.

    Attributes
    ----------
    key : str
        Their name.
    shape : tuple of int
        (n_samples,) or (n_samples, 1) for one a row, (n_features,) or (1, n_features) for one a
        dimension. Where both would fit, they are one a row.
    stored : numpy dtype
        As they are in the file.
    offset : int
        Where the first one lies in the stream.
    open : callable
        Returns a new stream.
    per_row : bool
        Whether there is one for each row.
    """

    key: str
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    offset: int
    open: Callable[[], BufferedIOBase]
    per_row: bool = True

    def fitting(self, shape: tuple[int, ...], name: str) -> Scales:
        """Return these for vectors of that shape, or refuse."""
        n, d = (*shape, 0, 0)[:2]
        if self.stored.kind != "f":
            raise InputTypeError(
                f"{name} must have scales that are floating point numbers, got {self.stored}. "
                "Store them as float32."
            )
        if self.shape in {(n,), (n, 1)}:
            return self
        if self.shape in {(d,), (1, d)}:
            return replace(self, per_row=False)
        raise InputError(
            f"{name} must have one scale for each row or each dimension, got {self.key!r} of shape "
            f"{self.shape} for vectors of shape {tuple(shape)}. Store ({n},) or ({d},) scales."
        )

    def since(self, row: int) -> Scales:
        """Return those of the rows from `row` on."""
        if not self.per_row:
            return self
        return replace(self, offset=self.offset + row * self.stored.itemsize)

    def blocks(self, counts: Iterable[int]) -> Iterator[NDArray[np.float32]]:
        """Yield what to multiply blocks of that many rows by."""
        with self.open() as stream:
            stream.seek(self.offset)
            if not self.per_row:
                one = self._read(stream, max(self.shape))[None, :]
                yield from (one for _ in counts)
                return
            for count in counts:
                yield self._read(stream, count)[:, None]

    def _read(self, stream: BufferedIOBase, count: int) -> NDArray[np.float32]:
        values = np.empty(count, self.stored)
        if stream.readinto(values.data) != values.nbytes:
            raise InputError(
                f"{self.key} must be as long as its header says, got the end of the file too "
                f"early. {WRITE_AGAIN}"
            )
        return values.astype(np.float32, copy=False)


def scales_key(entries: ScalesOf, key: str) -> str | None:
    """Return the name of the scales that belong to an int8 array, or None.

    Parameters
    ----------
    entries : mapping from str to (shape, kind)
        All arrays of a file; the kind is "int8", "float" or another word.
    key : str
        The vectors: `vectors` go with `scales`, `image_vectors` with `image_scales`, and `images`
        with `images_scales`.
    """
    names = (f"{key}_scales", key.replace("vectors", "scales"), "scales")
    if key not in entries or entries[key][1] != "int8":
        return None
    return next((name for name in names if name != key and name in entries), None)


def is_usable(entries: ScalesOf, key: str) -> bool:
    """Tell whether an array may be embeddings: 2-D, of floats, or of int8 with scales."""
    shape, kind = entries[key]
    if len(shape) != 2 or any(scales_key(entries, other) == key for other in entries):
        return False
    return kind == "float" or scales_key(entries, key) is not None
