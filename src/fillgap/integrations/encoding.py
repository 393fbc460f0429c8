"""The user's own encoder, whatever its protocol, followed by a space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import Modality, check_modality
from fillgap.errors import InputError, InputTypeError
from fillgap.space import MixedSpace

Array = NDArray[np.float32]

#: Methods that take a list, in the order in which they are looked for: fillgap, LangChain,
#: LlamaIndex, sentence-transformers.
_IMAGES = ("encode_images", "embed_images", "embed_image", "get_image_embedding_batch")
_LISTS = {
    ("image", "document"): (*_IMAGES, "encode"),
    ("image", "query"): (*_IMAGES, "encode_query", "encode"),
    ("text", "document"): (
        "encode_texts", "embed_documents", "get_text_embedding_batch", "encode_document", "encode",
    ),
    ("text", "query"): ("encode_texts", "encode_query", "encode"),
}  # fmt: skip
#: Methods that take one text, and treat it as a query: LangChain, LlamaIndex.
_SINGLE = ("embed_query", "get_query_embedding")


class SpaceEncoder:
    """The user's own encoder, followed by a space: images and texts that can be compared.

    Parameters
    ----------
    encoder : object
        Any that encodes lists of images or of texts: an `fillgap.encoders.Encoder`, a
        SentenceTransformer, an embedding of LangChain or LlamaIndex. What it cannot encode is
        refused when it is asked for.
    space : MixedSpace or Aligner
        Fitted to embeddings of that encoder.
    queries : {"image", "text"}, optional
        Add the coordinate of the calibration for queries of this modality. Documents are then
        `MixedSpace.stored` and queries `MixedSpace.asked`, to be compared by inner product.
    """

    def __init__(
        self, encoder: Any, space: MixedSpace | Aligner, *, queries: Modality | None = None
    ) -> None:
        if isinstance(space, Aligner):
            space = MixedSpace(space)
        if not isinstance(space, MixedSpace):
            raise InputTypeError(
                f"space must be a MixedSpace or a fitted aligner, got {type(space).__name__}. "
                "Load it with load_space."
            )
        self.encoder, self.space = encoder, space
        self.queries = None if queries is None else check_modality(queries)

    @property
    def n_outputs(self) -> int:
        """Dimension of the vectors."""
        return self.space.n_components + (self.queries is not None)

    def documents(self, items: Sequence[Any], modality: Modality) -> Array:
        """Return one row for each image or text that is to be found."""
        return self.document_rows(self._encoded(items, modality, "document"), modality)

    def query(self, items: Sequence[Any], modality: Modality) -> Array:
        """Return one row for each image or text that asks."""
        return self.query_rows(self._encoded(items, modality, "query"), modality)

    def document_rows(self, rows: Any, modality: Modality) -> Array:
        """Return documents of which the encoder's rows are known."""
        if self.queries is None:
            return np.asarray(self.space.align_documents(rows, modality))
        return np.asarray(self.space.stored(rows, document=modality, query=self.queries))

    def query_rows(self, rows: Any, modality: Modality) -> Array:
        """Return queries of which the encoder's rows are known."""
        if self.queries is None:
            return np.asarray(self.space.align_queries(rows, modality))
        if self.queries != modality:
            raise InputError(
                f"queries must be {self.queries} queries, as this encoder was made for, got "
                f"{modality}. Make one with queries={modality!r}, and an index for it."
            )
        return np.asarray(self.space.asked(rows, query=modality))

    def _encoded(self, items: Sequence[Any], modality: Modality, role: str) -> NDArray[Any]:
        """Return the rows of the user's encoder as an array, one for each item."""
        single = _SINGLE if (modality, role) == ("text", "query") else ()
        names = _LISTS[modality, role]
        methods = {name: getattr(self.encoder, name, None) for name in (*single, *names)}
        name = next((name for name, method in methods.items() if callable(method)), None)
        if name is None:
            raise InputTypeError(
                f"the encoder must have one of the methods {', '.join(names)} to encode "
                f"{modality}s, got {type(self.encoder).__name__} without. Wrap it in a class that "
                "has one."
            )
        encode: Any = methods[name]
        given = list(items)
        rows = as_rows([encode(item) for item in given] if name in single else encode(given))
        if len(rows) != len(items):
            raise InputError(
                f"the encoder must give one row for each item, got {len(rows)} for {len(items)}. "
                "Check what its method returns for a list."
            )
        return rows


def as_rows(rows: Any) -> NDArray[Any]:
    """Return what an encoder gave (arrays, tensors on any device, lists) as a 2-D float array."""
    if isinstance(rows, (list, tuple)):
        rows = [as_array(row) for row in rows]
    array = as_array(rows)
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def as_array(value: Any) -> NDArray[Any]:
    """Return an array, or a tensor of PyTorch on any device, as NumPy."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.dtype.itemsize < 4 else value  # NumPy has no bfloat16
        return np.asarray(value.numpy())
    return np.asarray(value)
