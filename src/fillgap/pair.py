"""Rows that are read block by block: arrays in memory, memory maps, and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.errors import InputError, InputTypeError, as_array, check_matrix, check_same_features

#: Rows in a block: 16 MiB of 512 float32 columns, so that sums of d × d cost little beside it.
BLOCK_ROWS = 8192


@runtime_checkable
class RowSource(Protocol):
    """Embeddings that can be read in blocks, more than once, without holding them all.

    Attributes
    ----------
    shape : tuple of int
        (n_samples, n_features), known before anything is read.
    dtype : numpy dtype
        float16, float32 or float64.
    name : str
        What messages call it: a path, with the key or column where there is one.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    name: str

    def iter_blocks(self, block_rows: int) -> Iterator[Any]:
        """Yield arrays of exactly `block_rows` rows, the last one shorter, from the start."""
        ...


def iter_blocks(X: Any, what: str, block_rows: int = BLOCK_ROWS) -> Iterator[tuple[int, Any]]:
    """Yield (number of the first row, block) over a `RowSource` or an array.

    Blocks of an array are views; a memory-mapped array is therefore read one block at a time.
    """
    if isinstance(X, RowSource):
        start = 0
        for block in X.iter_blocks(block_rows):
            yield start, block
            start += block.shape[0]
        return
    array = check_matrix(X, what)
    for start in range(0, array.shape[0], block_rows):
        yield start, array[start : start + block_rows]


def fingerprint(*sides: Any) -> str:
    """Return a SHA-256 of the shape, the type and the first block of each side, in hexadecimal."""
    digest = hashlib.sha256()
    for side in sides:
        digest.update(f"{tuple(side.shape)} {side.dtype}".encode())
        _, block = next(iter_blocks(side, "rows"))
        digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class EmbeddingPair:
    """Embeddings of images and of texts by one model, paired or not.

    Parameters
    ----------
    images : array of shape (n_images, n_features)
        Rows need not be normalised. Memory maps are kept as they are.
    texts : array of shape (n_texts, n_features)
        In the same space as `images`.
    image_index : array of int of shape (n_texts,), optional
        Row of the image that each text describes; several texts may name one image. Left out,
        sets of equal size are pairs row by row, and sets of different sizes are unpaired.
    paired : bool, optional
        Pass False for sets of equal size whose rows do not belong together.
    image_ids, text_ids : sequence of str, optional
        Names of the rows.
    captions : sequence of str, optional
        The text behind each row of `texts`.
    thumbnails : array of shape (n_images, height, width) or (n_images, height, width, 3), optional
        Small pictures, uint8.
    labels : array of int of shape (n_images,), optional
        Class of each image.
    name : str
        What reports call these data.

    Raises
    ------
    InputError
        If shapes, counts or the index do not fit together; the message says which.

    Examples
    --------
    >>> import numpy as np
    >>> pair = EmbeddingPair(np.eye(3), np.eye(3)[[0, 0, 1]], image_index=[0, 0, 1])
    >>> pair.is_paired, pair.n_images, pair.n_texts
    (True, 3, 3)
    """

    images: Any
    texts: Any
    image_index: ArrayLike | None = None
    paired: bool | None = None
    image_ids: Sequence[str] | None = None
    text_ids: Sequence[str] | None = None
    captions: Sequence[str] | None = None
    thumbnails: NDArray[np.uint8] | None = None
    labels: NDArray[np.integer[Any]] | None = None
    name: str = "embeddings"

    def __post_init__(self) -> None:
        images = check_matrix(self.images, "images", min_rows=2)
        texts = check_matrix(self.texts, "texts", min_rows=2)
        check_same_features(images, texts)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "texts", texts)
        index: NDArray[np.intp] | None = None
        if self.paired is not False and self.image_index is not None:
            index = check_image_index(self.image_index, self.n_images, self.n_texts)
        elif self.paired is not False and self.n_images == self.n_texts:
            index = np.arange(self.n_texts)
        elif self.paired:
            raise InputError(
                f"paired sets must be of one size, got {self.n_images} images and "
                f"{self.n_texts} texts. Pass image_index, the row of each text's image."
            )
        object.__setattr__(self, "image_index", index)
        for what, values, count in (
            ("image_ids", self.image_ids, self.n_images),
            ("thumbnails", self.thumbnails, self.n_images),
            ("labels", self.labels, self.n_images),
            ("text_ids", self.text_ids, self.n_texts),
            ("captions", self.captions, self.n_texts),
        ):
            if values is not None:
                check_length(what, values, count)

    @property
    def n_images(self) -> int:
        """Number of images."""
        return int(self.images.shape[0])

    @property
    def n_texts(self) -> int:
        """Number of texts."""
        return int(self.texts.shape[0])

    @property
    def n_features(self) -> int:
        """Dimension of the embeddings."""
        return int(self.images.shape[1])

    @property
    def is_paired(self) -> bool:
        """Whether it is known which text belongs to which image."""
        return self.image_index is not None

    @property
    def one_to_one(self) -> bool:
        """Whether row i of the images belongs to row i of the texts, and to no other."""
        index = self.image_index
        return (
            index is not None
            and self.n_images == self.n_texts
            and bool(np.array_equal(index, np.arange(self.n_texts)))
        )

    def matched(self) -> tuple[Any, Any]:
        """Return images and texts row by row, an image repeated for each of its texts.

        Raises
        ------
        InputError
            If it is not known which text belongs to which image.
        """
        if self.image_index is None:
            raise InputError(
                "images and texts must be paired, got unpaired sets. "
                "Pass image_index, or use what needs no pairs."
            )
        return (self.images if self.one_to_one else self.images[self.image_index]), self.texts

    def take_images(self, rows: ArrayLike) -> EmbeddingPair:
        """Return these images and every text that belongs to one of them.

        Parameters
        ----------
        rows : array of int of shape (n_kept,)
            Rows of the images to keep, each at most once.
        """
        if self.image_index is None:
            raise InputError(
                "images and texts must be paired to be split by image, got unpaired sets. "
                "Use take to choose rows of each."
            )
        chosen = np.asarray(rows, dtype=np.intp)
        new_row = np.full(self.n_images, -1, dtype=np.intp)
        new_row[chosen] = np.arange(len(chosen))
        index = np.asarray(self.image_index)
        kept = np.flatnonzero(new_row[index] >= 0)
        part = self.take(chosen, kept)
        return replace(part, image_index=new_row[index[kept]], paired=True)

    def take(self, image_rows: ArrayLike, text_rows: ArrayLike) -> EmbeddingPair:
        """Return these rows of each side as an unpaired set."""
        i, t = (np.asarray(rows, dtype=np.intp) for rows in (image_rows, text_rows))
        return replace(
            self,
            images=self.images[i],
            texts=self.texts[t],
            image_index=None,
            paired=False,
            image_ids=None if self.image_ids is None else [self.image_ids[j] for j in i],
            text_ids=None if self.text_ids is None else [self.text_ids[j] for j in t],
            captions=None if self.captions is None else [self.captions[j] for j in t],
            thumbnails=None if self.thumbnails is None else self.thumbnails[i],
            labels=None if self.labels is None else np.asarray(self.labels)[i],
        )

    def with_vectors(self, images: Any, texts: Any) -> EmbeddingPair:
        """Return the same items with other vectors, for example aligned ones."""
        return replace(self, images=images, texts=texts)


def check_image_index(image_index: ArrayLike, n_images: int, n_texts: int) -> NDArray[np.intp]:
    """Return the row of each text's image, all of them rows that there are."""
    index = as_array(image_index, "image_index")
    if index.dtype.kind not in "iu":
        raise InputTypeError(
            f"image_index must be integers, got {index.dtype}. Pass row numbers of images."
        )
    if index.shape != (n_texts,):
        raise InputError(
            f"image_index must be one row number for each of the {n_texts} texts, "
            f"got shape {index.shape}. Pass a 1-D array of that length."
        )
    if index.min() < 0 or index.max() >= n_images:
        bad = int(np.argmax((index < 0) | (index >= n_images)))
        raise InputError(
            f"image_index must be between 0 and {n_images - 1}, got {int(index[bad])} "
            f"for text {bad}. Check that it counts rows of images from 0."
        )
    return index.astype(np.intp, copy=False)


def check_length(what: str, values: Any, count: int) -> None:
    """Refuse what is known about rows if it is not one thing for each of them."""
    # An array without dimensions has a shape, but no length.
    length = len(values) if getattr(values, "shape", (1,)) else 0
    if length != count:
        raise InputError(
            f"{what} must be of length {count}, one for each row, got {length}. "
            "Pass them in the order of the embeddings."
        )
