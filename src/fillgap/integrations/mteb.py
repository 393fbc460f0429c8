"""A space behind an encoder of MTEB, by its protocol alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.aligners.base import Aligner
from fillgap.calibration.base import Modality
from fillgap.errors import InputError
from fillgap.integrations.encoding import SpaceEncoder, as_array, as_rows
from fillgap.maps import scale_to_unit
from fillgap.space import MixedSpace


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
