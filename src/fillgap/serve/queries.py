"""From what a person types or drops to a vector, by the encoder that an index names."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fillgap.encoders.base import Encoder, open_encoder
from fillgap.encoders.digits import DigitSceneEncoder
from fillgap.errors import InputError

#: Of an uploaded picture, as bytes and as pixels once it is decoded.
MAX_BYTES, MAX_PIXELS = 10 * 2**20, 40_000_000


def open_query_encoder(spec: str | None) -> QueryEncoder | None:
    """Return the encoder that an index names, or None where it names none."""
    return None if spec is None else QueryEncoder(open_encoder(spec))


class QueryEncoder:
    """One text or one picture at a time; a larger picture is refused before it is decoded."""

    def __init__(
        self, encoder: Encoder, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.encoder, self.max_bytes, self.max_pixels = encoder, max_bytes, max_pixels

    def text(self, text: str) -> NDArray[Any]:
        """Return the vector of a text that is not empty."""
        if not text.strip():
            raise InputError("the text must be at least one word, got none. Type what to find.")
        return np.asarray(self.encoder.encode_texts([text]))[0]

    def unknown_words(self, text: str) -> list[str]:
        """Return the words that the encoder does not know, where it has a list of words."""
        named = getattr(self.encoder, "unknown_words", None)
        return list(named(text)) if named else []

    def image(self, data: bytes) -> NDArray[Any]:
        """Return the vector of an encoded picture (PNG, JPEG, ...)."""
        picture = self._decoded(data)
        if isinstance(self.encoder, DigitSceneEncoder):
            pixels = scene_pixels(picture, self.encoder.size)
            return np.asarray(self.encoder.encode_images(pixels[None]))[0]
        return np.asarray(self.encoder.encode_images([np.asarray(picture.convert("RGB"))]))[0]

    def _decoded(self, data: bytes) -> Any:
        if len(data) > self.max_bytes:
            raise InputError(
                f"a picture must be of at most {self.max_bytes} bytes, got {len(data)}. "
                "Scale it down first."
            )
        try:
            picture = Image.open(io.BytesIO(data))
            if picture.width * picture.height <= self.max_pixels:
                picture.load()
        except Image.DecompressionBombError as error:
            raise InputError(
                f"a picture must be of at most {self.max_pixels} pixels, got far more. "
                "Scale it down first."
            ) from error
        except Exception as error:  # decoders raise nearly anything over damaged bytes
            raise InputError(
                "the file must be a picture that can be decoded, got something else or a damaged "
                "one. Pass a PNG, JPEG or WebP file."
            ) from error
        if picture.width * picture.height > self.max_pixels:
            raise InputError(
                f"a picture must be of at most {self.max_pixels} pixels, got "
                f"{picture.width} × {picture.height}. Scale it down first."
            )
        return picture


def scene_pixels(picture: Any, size: int) -> NDArray[np.uint8]:
    """Return a picture as the encoder of the scenes takes it: grey, light strokes on black.

    A picture with a light border is dark ink on paper, and is inverted.
    """
    grey = picture.convert("RGBA")
    ground = grey.copy()
    ground.paste((0, 0, 0, 255), (0, 0, *grey.size))
    ground.alpha_composite(grey)
    pixels = np.asarray(ground.convert("L").resize((size, size)), dtype=np.uint8)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return np.asarray(255 - pixels if np.median(border) > 127 else pixels)
