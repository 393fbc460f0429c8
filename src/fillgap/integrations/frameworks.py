"""A space in LangChain, LlamaIndex, pipelines of Haystack and MTEB, by their own protocols."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import Modality, check_modality
from fillgap.errors import InputError, require
from fillgap.integrations.encoding import SpaceEncoder, as_array, as_rows
from fillgap.maps import scale_to_unit
from fillgap.space import MixedSpace


class LangChainEmbeddings:
    """The methods of LangChain's `Embeddings`, and `embed_images` beside them.

    Vector stores call nothing else, so it needs no LangChain to be made. `embed_image` is another
    name of `embed_images`, the one that multimodal stores look for. Parameters as for
    `SpaceEncoder`; with `queries` the store must compare by inner product.
    """

    def __init__(
        self, encoder: Any, space: MixedSpace | Aligner, *, queries: Modality | None = None
    ) -> None:
        self._encoder = SpaceEncoder(encoder, space, queries=queries)

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector for each text that is to be found."""
        return self._encoder.documents(texts, "text").tolist() if len(texts) else []

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a text that asks."""
        return self._encoder.query([text], "text")[0].tolist()

    def embed_images(self, images: Sequence[Any]) -> list[list[float]]:
        """Return one vector for each image that is to be found, in the form its encoder takes."""
        return self._encoder.documents(images, "image").tolist() if len(images) else []

    def embed_image(self, uris: Sequence[Any]) -> list[list[float]]:
        """Return `embed_images`."""
        return self.embed_images(uris)

    def embed_image_query(self, image: Any) -> list[float]:
        """Return the vector of an image that asks."""
        return self._encoder.query([image], "image")[0].tolist()

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return `embed_documents`, computed in a thread."""
        return await asyncio.to_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """Return `embed_query`, computed in a thread."""
        return await asyncio.to_thread(self.embed_query, text)

    async def aembed_images(self, images: Sequence[Any]) -> list[list[float]]:
        """Return `embed_images`, computed in a thread."""
        return await asyncio.to_thread(self.embed_images, images)


def llama_index_embedding(
    encoder: Any, space: MixedSpace | Aligner, *, queries: Modality | None = None
) -> Any:
    """Return a `MultiModalEmbedding` of LlamaIndex that gives aligned embeddings.

    Parameters as for `SpaceEncoder`; with `queries` the store must compare by inner product.

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
    """Return a subclass: LlamaIndex accepts only objects of its own classes."""
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


def haystack_document_aligner(
    space: MixedSpace | Aligner, *, queries: Modality | None = None
) -> Any:
    """Return a component that aligns embedded documents, to stand behind any document embedder.

    Its input and its output are `documents`. A document is an image where its `meta` says
    "modality": "image", or where it has an image as its blob and no text; otherwise it is a text.

    Parameters
    ----------
    space : MixedSpace or Aligner
        Fitted to embeddings of that embedder.
    queries : {"image", "text"}, optional
        Add the coordinate of the calibration, for a store that compares by inner product.

    Raises
    ------
    ImportError
        If haystack-ai is not installed.
    """
    require("haystack", "haystack", "A component of Haystack")
    return _haystack_classes()[0](SpaceEncoder(None, space, queries=queries))


def haystack_query_aligner(
    space: MixedSpace | Aligner, modality: Modality = "text", *, queries: Modality | None = None
) -> Any:
    """Return a component that aligns the embedding of a query, to stand behind any text embedder.

    Its input and its output are `embedding`; `modality` is that of the queries. Other parameters
    and errors as for `haystack_document_aligner`.
    """
    require("haystack", "haystack", "A component of Haystack")
    check_modality(modality)
    return _haystack_classes()[1](SpaceEncoder(None, space, queries=queries), modality)


@cache
def _haystack_classes() -> tuple[type, type]:
    """Return both components; Haystack reads their types from the signatures of `run`."""
    from haystack import Document, component

    class SpaceDocumentAligner:
        """Aligns the embeddings of documents."""

        def __init__(self, encoder: SpaceEncoder) -> None:
            self.encoder = encoder

        def run(self, documents: list[Any]) -> dict[str, Any]:
            """Return copies of the documents with their embeddings aligned, in the same order."""
            groups: dict[Modality, list[int]] = {"image": [], "text": []}
            for place, document in enumerate(documents):
                if document.embedding is None:
                    raise InputError(
                        f"documents must be embedded before they are aligned, got document {place} "
                        "without an embedding. Put an embedder before this component."
                    )
                stated = document.meta.get("modality")
                if stated is None:
                    kind = getattr(document.blob, "mime_type", None) or ""
                    picture = document.content is None and kind.startswith("image/")
                    stated = "image" if picture else "text"
                groups[check_modality(stated)].append(place)
            aligned = list(documents)
            for modality, places in groups.items():
                if places:
                    rows = as_rows([documents[place].embedding for place in places])
                    vectors = self.encoder.document_rows(rows, modality).tolist()
                    for place, vector in zip(places, vectors, strict=True):
                        aligned[place] = replace(documents[place], embedding=vector)
            return {"documents": aligned}

    class SpaceQueryAligner:
        """Aligns the embedding of a query."""

        def __init__(self, encoder: SpaceEncoder, modality: Modality) -> None:
            self.encoder, self.modality = encoder, modality

        def run(self, embedding: list[float]) -> dict[str, Any]:
            """Return the embedding aligned."""
            rows = self.encoder.query_rows(as_rows([embedding]), self.modality)
            return {"embedding": rows[0].tolist()}

    # Real types, not words: names inside a function cannot be looked up from outside.
    SpaceDocumentAligner.run.__annotations__ |= {"documents": list[Document]}
    SpaceQueryAligner.run.__annotations__ |= {"embedding": list[float]}
    component.output_types(documents=list[Document])(SpaceDocumentAligner.run)
    component.output_types(embedding=list[float])(SpaceQueryAligner.run)
    return component(SpaceDocumentAligner), component(SpaceQueryAligner)


class MTEBEncoder:
    """What `mteb.evaluate` asks of a model, with aligned embeddings.

    A batch with images is encoded as images and a batch with texts as texts; where it has both,
    the two aligned rows of an item are added, as MTEB's own CLIP models do. Queries take the role
    of queries where the space has one.

    Parameters
    ----------
    encoder : object
        A model of MTEB, whose `encode` takes batches, or any other that `SpaceEncoder` takes. Its
        `mteb_model_meta`, which names the model in results, is kept.
    space : MixedSpace or Aligner
        Fitted to embeddings of that encoder.
    """

    def __init__(self, encoder: Any, space: MixedSpace | Aligner) -> None:
        self._encoder = SpaceEncoder(encoder, space)
        self.mteb_model_meta = getattr(encoder, "mteb_model_meta", None)

    def encode(
        self, inputs: Any, *, prompt_type: Any = None, **context: Any
    ) -> NDArray[np.float32]:
        """Return one aligned row for each item.

        Parameters
        ----------
        inputs : iterable of mapping
            Batches, each with "image", "text" or both.
        prompt_type : {"query", "document"} or member of an enumeration of them, optional
            What the items are in a search.
        **context
            The task, its split and subset, and options; passed on to a model of MTEB.
        """
        encoder, rows = self._encoder, []
        query = getattr(prompt_type, "value", prompt_type) == "query"
        map_rows = encoder.query_rows if query else encoder.document_rows
        map_items = encoder.query if query else encoder.documents
        for batch in inputs:
            sides: list[Modality] = [side for side in ("image", "text") if side in batch]
            if not sides:
                columns = ", ".join(sorted(batch)) or "nothing"
                raise InputError(
                    f"a batch must have images or texts, got {columns}. "
                    "Choose tasks of these modalities."
                )
            parts = []
            for side in sides:
                if hasattr(encoder.encoder, "mteb_model_meta"):
                    alone = _Batches([{side: batch[side]}])
                    raw = encoder.encoder.encode(alone, prompt_type=prompt_type, **context)
                    parts.append(map_rows(as_rows(raw), side))
                else:
                    parts.append(map_items(batch[side], side))
            rows.append(np.sum(parts, axis=0, dtype=np.float32))
        if not rows:
            raise InputError("inputs must be at least one batch, got none. Check the data set.")
        return np.concatenate(rows)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> NDArray[Any]:
        """Return the cosine of each row of the first with each row of the second."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> NDArray[Any]:
        """Return the cosine of row i of the first with row i of the second."""
        return np.einsum("ij,ij->i", _unit(embeddings1), _unit(embeddings2))


class _Batches(list[Any]):
    """A list of batches that tells its columns, as the data loaders of MTEB do."""

    @property
    def dataset(self) -> _Batches:
        return self

    @property
    def features(self) -> set[str]:
        return set(self[0])


def _unit(rows: Any) -> NDArray[Any]:
    return np.asarray(scale_to_unit(np.atleast_2d(as_array(rows))))
