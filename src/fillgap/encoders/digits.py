"""The small dual encoder behind the bundled data, run in NumPy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.encoders.base import Picture, check_texts, load_picture
from fillgap.errors import InputError, InputTypeError, unit_rows
from fillgap.files import read_artifact

_WEIGHTS = Path(__file__).with_name("digit_scenes.safetensors")
_BLOCK = 256  # pictures or captions at a time: about 50 MB of windows
_MARK = re.compile(r"[,;:.]")  # commas and the like part the digits of a caption
_WORD = re.compile(rf"\w+|{_MARK.pattern}")

_Array = NDArray[np.float32]


def tokenise(text: str) -> list[str]:
    """Return the words of a caption in lower case, and the marks that part its clauses.

    Examples
    --------
    >>> tokenise("A big 3, top left!")
    ['a', 'big', '3', ',', 'top', 'left']
    """
    return _WORD.findall(text.lower())


class DigitSceneEncoder:
    """Encode scenes of handwritten digits, and captions about them.

    The towers are small convolutional networks, trained from scratch on the scenes that
    `fillgap.datasets.load_digit_scenes` holds. They know those scenes and those words, and
    nothing else of the world.

    Parameters
    ----------
    weights : str or path, optional
        The safetensors file of the towers; the one in the package by default.

    Attributes
    ----------
    name : str
        Name of the model.
    revision : str
        Hash of the weights.
    n_features : int
        Dimension of the embeddings.
    size : int
        Height and width of a scene in pixels.
    vocabulary : dict of str to int
        The words that the text tower knows.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another kind.

    Examples
    --------
    >>> encoder = DigitSceneEncoder()
    >>> encoder.encode_texts(["a large three at the top"]).shape
    (1, 128)
    >>> encoder.unknown_words("a purple three")
    ['purple']
    """

    name = "digit-scenes"

    def __init__(self, weights: str | Path | None = None) -> None:
        arrays, header = read_artifact(weights or _WEIGHTS, "digit-scene-encoder")
        self._arrays = {key: array.astype(np.float32) for key, array in arrays.items()}
        self._strides: dict[str, list[int]] = header["strides"]
        self.size: int = header["size"]
        self.revision: str = header["revision"]
        self.vocabulary = {word: i for i, word in enumerate(header["vocabulary"], start=1)}
        self.n_features = len(self._arrays["image.out.bias"])

    def encode_images(self, pixels: Any) -> _Array:
        """Return one unit row a scene.

        Parameters
        ----------
        pixels : array of shape (n_images, size, size), or sequence of pictures
            Ink on an empty ground: uint8 from 0 (none) to 255, or floats from 0 to 1. Or paths,
            encoded pictures and PIL images of that size.

        Returns
        -------
        array of shape (n_images, n_features), float32

        Raises
        ------
        InputError
            If the shape or the range of the pixels is another.
        InputTypeError
            If the pixels are neither uint8 nor floating point numbers.
        """
        if isinstance(pixels, Sequence) and not isinstance(pixels, (str, bytes)):
            pixels = [
                picture if isinstance(picture, (np.ndarray, list)) else self.prepare_image(picture)
                for picture in pixels
            ]
        scenes = self._check_pixels(np.asarray(pixels))

        def tower(block: _Array) -> _Array:
            maps = self._trunk("image", block[..., None], 1.0)
            return self._head("image", maps.transpose(0, 3, 1, 2).reshape(len(maps), -1))

        return _in_blocks(tower, scenes, "the embedding of the images")

    def prepare_image(self, picture: Picture) -> _Array:
        """Return the ink of one scene, as `encode_images` takes it; a file is decoded.

        Raises
        ------
        InputError
            If it cannot be decoded, or is of another size.
        """
        if not isinstance(picture, np.ndarray):
            picture = np.asarray(load_picture(picture).convert("L"))
        return self._check_pixels(picture[None])[0]

    def encode_texts(self, texts: Sequence[str]) -> _Array:
        """Return one unit row a caption; words that the tower does not know are left out.

        Parameters
        ----------
        texts : sequence of str
            Captions in English, in the manner of "a large three at the top, a 5 on the left".

        Returns
        -------
        array of shape (n_texts, n_features), float32

        Raises
        ------
        InputError
            If there is no caption, or if one has no known word; `unknown_words` names them.
        InputTypeError
            If `texts` is not a sequence of strings.
        """
        check_texts(texts)
        rows = [self._number_words(text) for text in texts]
        tokens = np.zeros((len(rows), max(map(len, rows))), dtype=np.intp)
        for row, numbers in zip(tokens, rows, strict=True):
            row[: len(numbers)] = numbers

        def tower(block: NDArray[np.intp]) -> _Array:
            there = (block > 0)[..., None].astype(np.float32)
            maps = self._trunk("text", self._arrays["text.words"][block], there)
            return self._head("text", maps.sum(axis=1) / there.sum(axis=1))

        return _in_blocks(tower, tokens, "the embedding of the texts")

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a caption that the tower does not know, each once, in order."""
        words = (word for word in tokenise(text) if not _MARK.match(word))
        return list(dict.fromkeys(word for word in words if word not in self.vocabulary))

    def _check_pixels(self, pixels: NDArray[Any]) -> _Array:
        """Return the scenes as float32 from 0 to 1."""
        side = self.size
        if pixels.ndim != 3 or pixels.shape[1:] != (side, side) or not len(pixels):
            raise InputError(
                f"pixels must be of shape (n_images, {side}, {side}), got {pixels.shape}. "
                f"Scale the pictures to {side} × {side} in grey, one after the other."
            )
        if pixels.dtype == np.uint8:
            return pixels.astype(np.float32) / np.float32(255)
        if pixels.dtype.kind != "f":
            raise InputTypeError(
                f"pixels must be uint8 or floating point numbers, got {pixels.dtype}. "
                "Convert them with .astype('uint8')."
            )
        if not (pixels.min() >= 0 and pixels.max() <= 1):  # NaN fails both
            raise InputError(
                f"pixels must be between 0 and 1 where they are floats, got values from "
                f"{pixels.min():g} to {pixels.max():g}. Divide by the largest possible value."
            )
        return pixels.astype(np.float32)

    def _number_words(self, text: str) -> list[int]:
        """Return the numbers of the known words and marks of a caption."""
        known = [token for token in tokenise(text) if token in self.vocabulary]
        if all(_MARK.match(token) for token in known):
            unknown = ", ".join(self.unknown_words(text)) or "none at all"
            raise InputError(
                f"a caption must be of words that the encoder knows, got {text!r} "
                f"(unknown: {unknown}). Name digits and places, as in 'a large three on the left'."
            )
        return [self.vocabulary[token] for token in known]

    def _trunk(self, side: str, maps: _Array, there: _Array | float) -> _Array:
        """Apply the convolutions; `there` keeps what is beyond the end of a caption at zero."""
        for i, stride in enumerate(self._strides[side]):
            weight, bias = self._layer(f"{side}.{i}")
            maps = np.maximum(_convolve(maps, weight, stride) + bias, 0) * there
        return maps

    def _head(self, side: str, features: _Array) -> _Array:
        """Apply the two dense layers."""
        weight, bias = self._layer(f"{side}.hidden")
        hidden = np.maximum(features @ weight.T + bias, 0)
        weight, bias = self._layer(f"{side}.out")
        return hidden @ weight.T + bias

    def _layer(self, name: str) -> tuple[_Array, _Array]:
        return self._arrays[f"{name}.weight"], self._arrays[f"{name}.bias"]


def _convolve(maps: _Array, weight: _Array, stride: int) -> _Array:
    """Slide a kernel of odd size over maps (n, *places, channels), zeros beyond the edge.

    `weight` is (n_out, n_in, *kernel), as PyTorch keeps it.
    """
    kernel = weight.shape[2:]
    axes = tuple(range(1, 1 + len(kernel)))
    padding = [(0, 0), *((size // 2, size // 2) for size in kernel), (0, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(maps, padding), kernel, axis=axes)
    windows = windows[(slice(None), *(slice(None, None, stride) for _ in kernel))]
    places = windows.shape[: 1 + len(kernel)]
    flat = windows.reshape(int(np.prod(places)), -1)
    return (flat @ weight.reshape(len(weight), -1).T).reshape(*places, len(weight))


def _in_blocks(tower: Callable[[Any], _Array], rows: NDArray[Any], what: str) -> _Array:
    """Apply a tower block by block and scale the rows to length one."""
    starts = range(0, len(rows), _BLOCK)
    return unit_rows(np.concatenate([tower(rows[i : i + _BLOCK]) for i in starts]), what)
