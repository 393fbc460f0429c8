"""A space as components of a Haystack pipeline."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import Modality, check_modality
from fillgap.errors import InputError, require
from fillgap.integrations.encoding import SpaceEncoder, as_rows
from fillgap.space import MixedSpace

__all__ = ["haystack_document_aligner", "haystack_query_aligner"]


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
    return _classes()[0](SpaceEncoder(None, space, queries=queries))


def haystack_query_aligner(
    space: MixedSpace | Aligner, modality: Modality = "text", *, queries: Modality | None = None
) -> Any:
    """Return a component that aligns the embedding of a query, to stand behind any text embedder.

    Its input and its output are `embedding`.

    Parameters
    ----------
    space : MixedSpace or Aligner
        Fitted to embeddings of that embedder.
    modality : {"image", "text"}
        Of the queries.
    queries : {"image", "text"}, optional
        Add the coordinate of the calibration; it must then be the modality of the queries.

    Raises
    ------
    ImportError
        If haystack-ai is not installed.
    """
    require("haystack", "haystack", "A component of Haystack")
    check_modality(modality)
    return _classes()[1](SpaceEncoder(None, space, queries=queries), modality)


def _modality(document: Any) -> Modality:
    """Return what a document says of itself."""
    stated = document.meta.get("modality")
    if stated is not None:
        return check_modality(stated)
    kind = getattr(document.blob, "mime_type", None) or ""
    return "image" if document.content is None and kind.startswith("image/") else "text"


def _aligned_documents(encoder: SpaceEncoder, documents: list[Any]) -> list[Any]:
    """Return copies of documents with their embeddings aligned, in the same order."""
    groups: dict[Modality, list[int]] = {"image": [], "text": []}
    for place, document in enumerate(documents):
        if document.embedding is None:
            raise InputError(
                f"documents must be embedded before they are aligned, got document {place} "
                "without an embedding. Put an embedder before this component."
            )
        groups[_modality(document)].append(place)
    found = list(documents)
    for modality, places in groups.items():
        if places:
            rows = as_rows([documents[place].embedding for place in places])
            aligned = encoder.document_rows(rows, modality).tolist()
            for place, row in zip(places, aligned, strict=True):
                found[place] = replace(documents[place], embedding=row)
    return found


@cache
def _classes() -> tuple[type, type]:
    """Return both components; Haystack reads their types from the signatures of `run`."""
    from haystack import Document, component

    class SpaceDocumentAligner:
        """Aligns the embeddings of documents."""

        def __init__(self, encoder: SpaceEncoder) -> None:
            self.encoder = encoder

        def run(self, documents: list[Any]) -> dict[str, Any]:
            """Return the documents with their embeddings aligned."""
            return {"documents": _aligned_documents(self.encoder, documents)}

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
