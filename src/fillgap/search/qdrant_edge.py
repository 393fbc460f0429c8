"""Qdrant Edge: the engine of Qdrant inside this program, with an HNSW graph for each field.

One program holds the folder at a time, and may add to it and search it from several threads. Every
change is in the engine's log before it returns, so a crash loses nothing that was added.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fillgap.errors import InputError, require
from fillgap.search.backend import Backend, Batch, Found, Term, told

#: Points have UUIDs; this makes one of an id, always the same.
_SPACE = uuid.UUID("5f2a8a0e-6f0c-4c43-9d3e-6b8f4b1c7a55")
#: Candidates of the walk through a graph for each document wanted, and at least.
_EF_PER_HIT, _LEAST_EF = 4, 128

_in_a_sentence = told(Exception)  # the engine knows no errors but `Exception`


class QdrantEdgeBackend(Backend):
    """A shard of Qdrant in a folder."""

    def __init__(
        self, folder: Path, fields: Mapping[str, int], *, create: bool, exact: bool = False
    ) -> None:
        self._edge = edge = require("qdrant_edge", "search", "the backend qdrant-edge")
        super().__init__(fields, exact=exact)
        if not create:
            self._shard = self._loaded(folder)
            return
        with told(Exception):
            folder.mkdir()
            vectors = {
                name: edge.EdgeVectorParams(size=size, distance=edge.Distance.Dot)
                for name, size in fields.items()
            }
            self._shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors=vectors))
        # Before there are graphs, which get links within each modality thereby.
        keyword = edge.PayloadSchemaType.Keyword
        self._update(edge.UpdateOperation.create_field_index("modality", keyword))

    @_in_a_sentence
    def _loaded(self, folder: Path) -> Any:
        try:
            return self._edge.EdgeShard.load(str(folder))
        except Exception as error:
            if "WouldBlock" not in str(error):
                raise
            raise InputError(
                "an index of qdrant-edge must be open in one program at a time, got a second one. "
                "Close the other, or build the index with another backend."
            ) from error

    def add(self, batch: Batch) -> None:
        """Keep a batch, as one entry of the log."""
        vectors = {name: matrix.tolist() for name, matrix in batch.vectors.items()}
        points = [
            self._edge.Point(
                _point_id(identity),
                {name: rows[i] for name, rows in vectors.items()},
                {"id": identity, "modality": batch.modality, "payload": batch.payloads[i]},
            )
            for i, identity in enumerate(batch.ids)
        ]
        self._update(self._edge.UpdateOperation.upsert_points(points))

    @_in_a_sentence
    def _nearest(
        self, term: Term, k: int, modalities: Collection[str] | None, with_vectors: bool
    ) -> list[list[Found]]:
        edge = self._edge
        limit, exact = self._extent(k)
        params = edge.SearchParams(hnsw_ef=max(_LEAST_EF, _EF_PER_HIT * limit), exact=exact)
        requests = [
            edge.QueryRequest(
                limit=limit,
                query=edge.Query.Nearest(query.tolist(), using=term.field),
                filter=None if modalities is None else self._only(modalities),
                with_payload=True,
                with_vector=with_vectors,
                params=params,
            )
            for query in term.queries
        ]
        answers = self._shard.query_batch(edge.QueryBatchRequest(requests))
        return [[_found(point, point.score) for point in points] for points in answers]

    @_in_a_sentence
    def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Found]:
        """Return the documents of these ids that there are."""
        named = [_point_id(identity) for identity in ids]
        points = self._shard.retrieve(named, with_payload=True, with_vector=with_vectors)
        return [_found(point) for point in points]

    @_in_a_sentence
    def sample(self, modality: str, n: int) -> list[Found]:
        """Return the documents with the lowest UUIDs, which are as good as drawn."""
        request = self._edge.ScrollRequest(
            limit=n, filter=self._only([modality]), with_payload=True, with_vector=True
        )
        points, _ = self._shard.scroll(request)
        return [_found(point) for point in points]

    @_in_a_sentence
    def _total(self, modality: str | None = None) -> int:
        chosen = None if modality is None else self._only([modality])
        return int(self._shard.count(self._edge.CountRequest(filter=chosen)))

    def _remove(self, ids: Sequence[str]) -> None:
        self._update(self._edge.UpdateOperation.delete_points([_point_id(name) for name in ids]))

    @_in_a_sentence
    def optimise(self) -> None:
        """Build the graphs of what was added, where it is enough for one."""
        self._shard.optimize()

    @_in_a_sentence
    def close(self) -> None:
        """Let another program open the folder."""
        self._shard.close()

    @_in_a_sentence
    def _update(self, operation: Any) -> None:
        self._shard.update(operation)
        self._shard.flush()

    def _only(self, modalities: Collection[str]) -> Any:
        match = self._edge.MatchAny(sorted(modalities))
        return self._edge.Filter(must=[self._edge.FieldCondition("modality", match=match)])


def _point_id(identity: str) -> str:
    return str(uuid.uuid5(_SPACE, identity))


def _found(point: Any, score: float = np.nan) -> Found:
    kept, vectors = point.payload, point.vector or {}
    rows = {name: np.asarray(row, dtype=np.float32) for name, row in vectors.items()}
    return Found(kept["id"], kept["modality"], kept["payload"], float(score), rows)
