"""What every encoder offers, whatever model is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Encoder"]


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
