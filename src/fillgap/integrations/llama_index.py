"""A space as a multi-modal embedding of LlamaIndex."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import Modality
from fillgap.errors import require
from fillgap.integrations.encoding import SpaceEncoder
from fillgap.space import MixedSpace

__all__ = ["llama_index_embedding"]


def llama_index_embedding(
    encoder: Any, space: MixedSpace | Aligner, *, queries: Modality | None = None
) -> Any:
    """Return a `MultiModalEmbedding` of LlamaIndex that gives aligned embeddings.

    LlamaIndex accepts only objects of its own classes, so the subclass is made here, when it is
    asked for.

    Parameters
    ----------
    encoder : object
        A `BaseEmbedding` of LlamaIndex, or any other encoder that `SpaceEncoder` takes.
    space : MixedSpace or Aligner
        Fitted to embeddings of that encoder.
    queries : {"image", "text"}, optional
        Add the coordinate of the calibration, for a store that compares by inner product.

    Raises
    ------
    ImportError
        If llama-index-core is not installed.
    """
    require("llama_index.core", "llamaindex", "An embedding of LlamaIndex")
    aligned = SpaceEncoder(encoder, space, queries=queries)
    name = getattr(encoder, "model_name", None) or getattr(encoder, "name", None)
    return _embedding_class()(aligned, str(name or type(encoder).__name__))


@cache
def _embedding_class() -> type:
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.embeddings import MultiModalEmbedding

    class SpaceEmbedding(MultiModalEmbedding):
        """What LlamaIndex asks of an embedding, answered by an encoder and a space."""

        _aligned: SpaceEncoder = PrivateAttr()

        def __init__(self, aligned: SpaceEncoder, model_name: str) -> None:
            super().__init__(model_name=model_name)
            self._aligned = aligned

        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            return self._aligned.documents(texts, "text").tolist()

        def _get_text_embedding(self, text: str) -> list[float]:
            return self._get_text_embeddings([text])[0]

        def _get_query_embedding(self, query: str) -> list[float]:
            return self._aligned.query([query], "text").tolist()[0]

        def _get_image_embeddings(self, img_file_paths: list[Any]) -> list[list[float]]:
            return self._aligned.documents(img_file_paths, "image").tolist()

        def _get_image_embedding(self, img_file_path: Any) -> list[float]:
            return self._get_image_embeddings([img_file_path])[0]

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return await asyncio.to_thread(self._get_query_embedding, query)

        async def _aget_text_embedding(self, text: str) -> list[float]:
            return await asyncio.to_thread(self._get_text_embedding, text)

        async def _aget_image_embedding(self, img_file_path: Any) -> list[float]:
            return await asyncio.to_thread(self._get_image_embedding, img_file_path)

    return SpaceEmbedding
