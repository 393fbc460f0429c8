"""A space as an embedding of LangChain, by its protocol alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import Modality
from fillgap.integrations.encoding import SpaceEncoder
from fillgap.space import MixedSpace

__all__ = ["LangChainEmbeddings"]


class LangChainEmbeddings:
    """The methods of LangChain's `Embeddings`, and `embed_images` beside them.

    Vector stores call nothing else, so it needs no LangChain to be made. `embed_image` is another
    name of `embed_images`, the one that multimodal stores look for.

    Parameters
    ----------
    encoder : object
        An `Embeddings` of LangChain, or any other encoder that `SpaceEncoder` takes.
    space : MixedSpace or Aligner
        Fitted to embeddings of that encoder.
    queries : {"image", "text"}, optional
        Add the coordinate of the calibration, for a store that compares by inner product.
    """

    def __init__(
        self, encoder: Any, space: MixedSpace | Aligner, *, queries: Modality | None = None
    ) -> None:
        self._encoder = SpaceEncoder(encoder, space, queries=queries)

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector for each text that is to be found."""
        return _lists(self._encoder.documents(texts, "text")) if len(texts) else []

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a text that asks."""
        return _lists(self._encoder.query([text], "text"))[0]

    def embed_images(self, images: Sequence[Any]) -> list[list[float]]:
        """Return one vector for each image that is to be found, in the form its encoder takes."""
        return _lists(self._encoder.documents(images, "image")) if len(images) else []

    def embed_image(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return `embed_images`."""
        return self.embed_images(uris)

    def embed_image_query(self, image: Any) -> list[float]:
        """Return the vector of an image that asks."""
        return _lists(self._encoder.query([image], "image"))[0]

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return `embed_documents`, computed in a thread."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """Return `embed_query`, computed in a thread."""
        return await asyncio.to_thread(self.embed_query, text)

    async def aembed_images(self, images: Sequence[Any]) -> list[list[float]]:
        """Return `embed_images`, computed in a thread."""
        return await asyncio.to_thread(self.embed_images, images)


def _lists(rows: Any) -> list[list[float]]:
    return [list(map(float, row)) for row in rows]
