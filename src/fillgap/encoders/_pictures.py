"""Pictures decoded, a few ahead of where they are needed."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fillgap._checks import InputError, InputTypeError
from fillgap._files import missing_path

__all__ = ["MAX_PIXELS", "Picture", "load_picture", "prefetch"]

#: A file, an encoded picture, pixels, or a picture of Pillow.
Picture: TypeAlias = str | Path | bytes | NDArray[np.uint8] | Image.Image

#: A few bytes can claim to be a picture of any size; Pillow warns from this size on.
MAX_PIXELS: Final = 89_478_485

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def load_picture(picture: Picture) -> Image.Image:
    """Return a picture in RGB, upright.

    The orientation that cameras write beside the pixels (EXIF) is applied, grey of 16 bits is
    scaled to 8, and what is transparent shows the colour beneath it.

    Parameters
    ----------
    picture : path, bytes, array of uint8 or PIL image
        A file, an encoded picture, or pixels of shape (height, width) or (height, width, 3).

    Raises
    ------
    InputError
        If there is no such file, it cannot be decoded, or it has more than `MAX_PIXELS` pixels.
    InputTypeError
        If it is nothing of the kind.
    """
    if isinstance(picture, np.ndarray):
        return Image.fromarray(_check_pixels(picture)).convert("RGB")
    if isinstance(picture, Image.Image):
        return _upright(picture, "a picture")
    if isinstance(picture, bytes):
        return _opened(io.BytesIO(picture), "an encoded picture")
    if not isinstance(picture, (str, Path)):
        raise InputTypeError(
            f"a picture must be a path, bytes, uint8 pixels or a PIL image, "
            f"got {type(picture).__name__}. Pass one of these."
        )
    path = Path(picture)
    if not path.is_file():
        raise missing_path(path)
    return _opened(path, str(path))


def prefetch(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    n_threads: int,
    ahead: int,
) -> Iterator[_Result]:
    """Yield function(item) in order, computed by threads up to `ahead` items early.

    No more than `ahead` results are held. What is not asked for any more is not begun.
    """
    source, waiting = iter(items), deque[Future[_Result]]()
    pool = ThreadPoolExecutor(n_threads)
    try:
        waiting.extend(pool.submit(function, item) for item in islice(source, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(source, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _check_pixels(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels as Pillow takes them."""
    if pixels.dtype != np.uint8:
        raise InputTypeError(
            f"pixels must be uint8, got {pixels.dtype}. Scale them to 0 … 255 and convert them."
        )
    grey = pixels.ndim == 2
    if not pixels.size or not (grey or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise InputError(
            f"pixels must be of shape (height, width) or (height, width, 3), got {pixels.shape}. "
            "Pass one picture at a time, the colours last."
        )
    return np.ascontiguousarray(pixels)


def _opened(file: io.BytesIO | Path, name: str) -> Image.Image:
    """Decode a file; whatever a decoder raises over damaged bytes becomes one sentence."""
    try:
        with Image.open(file) as picture:
            return _upright(picture, name)
    except (InputError, InputTypeError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name} must be of at most {MAX_PIXELS} pixels, got more ({error}). "
            "Scale it down first."
        ) from error
    except Exception as error:  # decoders raise nearly anything: SyntaxError, struct.error, ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"{name} must be a picture that can be decoded, got other or damaged content "
            f"({reason[:120]}). Copy it again, or remove it."
        ) from error


def _upright(picture: Image.Image, name: str) -> Image.Image:
    """Return the picture in RGB, turned as its EXIF says, if it is not too large."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{name} must be of at most {MAX_PIXELS} pixels, got {width} × {height}. "
            "Scale it down first."
        )
    if picture.mode.startswith("I;16"):  # Pillow would cut off at 255 instead of scaling
        wide = np.asarray(picture)
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    return ImageOps.exif_transpose(picture).convert("RGB")
