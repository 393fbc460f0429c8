"""Qdrant Edge: the engine of Qdrant inside this program, with an HNSW graph for each field.

One program holds the folder at a time, and may add to it and search it from several threads. Every
change is in the engine's log before it returns, so a crash loses nothing that was added.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fillgap.errors import InputError, require
from fillgap.search.backend import MODALITIES, Batch, Found, ListEngine, Term

#: Points have UUIDs; this makes one of an id, always the same.
_SPACE = uuid.UUID("5f2a8a0e-6f0c-4c43-9d3e-6b8f4b1c7a55")
#: Candidates of the walk through a graph for each document wanted, and at least.
_EF_PER_HIT, _LEAST_EF = 4, 128


class QdrantEdgeBackend(ListEngine):
    """A shard of Qdrant in a folder.

    Parameters
    ----------
    folder : path
    fields : mapping from str to int
        Dimension of each field.
    create : bool
        Whether the shard is made, or must exist.
    exact : bool
        Whether graphs are left aside in a search.
    """

    def __init__(
        self, folder: Path, fields: Mapping[str, int], *, create: bool, exact: bool = False
    ) -> None:
        self._edge = edge = require("qdrant_edge", "search", "the backend qdrant-edge")
        super().__init__(exact=exact)
        with _told():
            if not create:
                self._shard = edge.EdgeShard.load(str(folder))
                return
            folder.mkdir()
            vectors = {
                name: edge.EdgeVectorParams(size=size, distance=edge.Distance.Dot)
                for name, size in fields.items()
            }
            self._shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors=vectors))
            # Before there are graphs, which get links within each modality thereby.
            keyword = edge.PayloadSchemaType.Keyword
            self._update(edge.UpdateOperation.create_field_index("modality", keyword))

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

    def _lists(
        self, modalities: Collection[str] | None, term: Term, k: int, with_vectors: bool
    ) -> list[list[Found]]:
        edge = self._edge
        with _told():
            limit, exact = self._extent(k, self._shard.count(edge.CountRequest()))
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

    def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Found]:
        """Return the documents of these ids that there are."""
        with _told():
            points = self._shard.retrieve(
                [_point_id(identity) for identity in ids],
                with_payload=True,
                with_vector=with_vectors,
            )
        return [_found(point) for point in points]

    def sample(self, modality: str, n: int) -> list[Found]:
        """Return the documents with the lowest UUIDs, which are as good as drawn."""
        request = self._edge.ScrollRequest(
            limit=n, filter=self._only([modality]), with_payload=True, with_vector=True
        )
        with _told():
            points, _ = self._shard.scroll(request)
        return [_found(point) for point in points]

    def count(self) -> dict[str, int]:
        """Return the number of documents of each modality."""
        with _told():
            counts = {
                one: self._shard.count(self._edge.CountRequest(filter=self._only([one])))
                for one in MODALITIES
            }
        return {modality: n for modality, n in counts.items() if n}

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and return how many there were."""
        known = [_point_id(found.id) for found in self.get(ids)]
        if known:
            self._update(self._edge.UpdateOperation.delete_points(known))
        return len(known)

    def optimise(self) -> None:
        """Build the graphs of what was added, where it is enough for one."""
        with _told():
            self._shard.optimize()

    def close(self) -> None:
        """Let another program open the folder."""
        with _told():
            self._shard.close()

    def _update(self, operation: Any) -> None:
        with _told():
            self._shard.update(operation)
            self._shard.flush()

    def _only(self, modalities: Collection[str]) -> Any:
        match = self._edge.MatchAny(sorted(modalities))
        return self._edge.Filter(must=[self._edge.FieldCondition("modality", match=match)])


def _point_id(identity: str) -> str:
    return str(uuid.uuid5(_SPACE, identity))


def _found(point: Any, score: float = np.nan) -> Found:
    kept = point.payload
    vectors = {
        name: np.asarray(row, dtype=np.float32) for name, row in (point.vector or {}).items()
    }
    return Found(kept["id"], kept["modality"], kept["payload"], float(score), vectors)


@contextmanager
def _told() -> Iterator[None]:
    """Say in one sentence what the engine says; it knows no errors but `Exception`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if "WouldBlock" in str(error):
            raise InputError(
                "an index of qdrant-edge must be open in one program at a time, got a second one. "
                "Close the other, or build the index with another backend."
            ) from error
        raise InputError(
            f"the vectors of the index must be whole, got {str(error).partition(chr(10))[0]}. "
            "Build the index again."
        ) from error
