"""Small pictures as PNG files."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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
    if step > 1 and min(pixels.shape[:2]) >= step:
        pixels = _averaged(np.asarray(pixels), step)
    height, width = pixels.shape[:2]
    lines = np.ascontiguousarray(pixels).reshape(height, -1)
    scanned = np.hstack([np.zeros((height, 1), np.uint8), lines])  # no filter in any line
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(scanned.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _averaged(pixels: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    height, width = (size // step * step for size in pixels.shape[:2])
    blocks = pixels[:height, :width].reshape(
        height // step, step, width // step, step, *pixels.shape[2:]
    )
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum
