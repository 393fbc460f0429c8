"""Small pictures as PNG files."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fillgap._checks import InputError

__all__ = ["check_thumbnails", "small_png"]

#: Pixels of the longer side at most.
MAX_SIDE: Final = 96


def check_thumbnails(thumbnails: Any) -> None:
    """Refuse what are not grey or coloured pictures of one byte a pixel and channel."""
    shape, kind = np.shape(thumbnails), getattr(thumbnails, "dtype", None)
    grey, colour = len(shape) == 3, len(shape) == 4 and shape[3] == 3
    if kind != np.uint8 or not (grey or colour) or 0 in shape:
        raise InputError(
            "thumbnails must be uint8 of shape (n_images, height, width) or (n_images, height, "
            f"width, 3), got {kind} of shape {shape}. Convert them, one picture for each image."
        )


def small_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture of shape (height, width) or (height, width, 3) as a PNG file.

    Parameters
    ----------
    pixels : array of uint8
        A large picture is made smaller: every n-th pixel is the mean of n × n.
    """
    step = -(-max(pixels.shape[:2]) // MAX_SIDE)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).reduce(step).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
