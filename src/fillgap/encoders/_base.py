"""What every encoder offers, whatever model is behind it, and what is tested when one is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError

__all__ = ["Encoder", "check_batches"]

#: Two captions that any encoder can read, that of the bundled scenes among them.
_SHORT = "a three"
_LONG = "a large three at the top, a small seven on the left, a five on the right"


class Encoder(Protocol):
    """A model that puts pictures and texts into one space.

    Attributes
    ----------
    name : str
        Name of the model.
    revision : str
        Which weights: embeddings of different revisions must not be mixed.
    n_features : int
        Dimension of the embeddings.

    Notes
    -----
    Two more are used where an encoder has them: `batch_size`, how many pictures are best passed at
    once, and `prepare_image(picture)`, which does in a thread what can be done to one picture
    beforehand and returns what `encode_images` takes in its place.
    """

    name: str
    revision: str
    n_features: int

    def encode_images(self, pixels: Any) -> NDArray[np.floating[Any]]:
        """Return one unit row a picture, shape (n_images, n_features)."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.floating[Any]]:
        """Return one unit row a text, shape (n_texts, n_features)."""
        ...


def check_batches(encoder: Encoder, *, tolerance: float = 1e-3) -> None:
    """Refuse an encoder that gives a text another vector beside a longer one than alone.

    That is what happens when a model is not told which of its tokens are padding, or was trained
    on padding of a fixed length: no error, and vectors that mean little.

    Parameters
    ----------
    encoder : Encoder
        As it was loaded.
    tolerance : float
        Greatest Euclidean distance between the two unit rows.

    Raises
    ------
    InputError
        If they differ by more.
    """
    alone = encoder.encode_texts([_SHORT])[0]
    beside = encoder.encode_texts([_SHORT, _LONG])[0]
    distance = float(np.linalg.norm(np.subtract(alone, beside, dtype=np.float64)))
    if not distance <= tolerance:  # NaN fails too
        raise InputError(
            f"{encoder.name} must give a text the same vector alone and in a batch, got vectors "
            f"{distance:.2g} apart. Its padding is wrong: correct the settings of its tokenizer, "
            "or load it as what it is (fillgap.encoders.open_encoder)."
        )
