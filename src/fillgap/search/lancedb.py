"""LanceDB: a table in a folder, read and written by several programs at a time.

Every change is a new version of the table, so a search sees a batch whole or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fillgap.errors import InputError, require
from fillgap.search.backend import Backend, Batch, Found, Term, told

_TABLE = "documents"
#: Fewer documents are searched exactly; a graph is built for each million.
_LEAST_INDEXED, _PER_GRAPH = 10_000, 1_000_000
#: Candidates of the walk through a graph for each document wanted, and at least; the compressed
#: vectors of the graph name this many times more than wanted, which are scored exactly.
_EF_PER_HIT, _LEAST_EF, _REFINED = 8, 200, 4
#: Ids in one condition, and how long a version is kept for those that read it.
_IDS, _KEPT = 1000, timedelta(hours=1)

_in_a_sentence = told(OSError, RuntimeError, ValueError)


class LanceDBBackend(Backend):
    """A table of LanceDB."""

    @_in_a_sentence
    def __init__(
        self, folder: Path, fields: Mapping[str, int], *, create: bool, exact: bool = False
    ) -> None:
        lancedb = require("lancedb", "search", "the backend lancedb")
        super().__init__(fields, exact=exact)
        self._schema = pa.schema(
            [(name, pa.string()) for name in ("id", "modality", "payload")]
            + [(name, pa.list_(pa.float32(), size)) for name, size in fields.items()]
        )
        if not create and not folder.is_dir():  # which connecting would make
            raise InputError(
                "the vectors of the index must be there, got none. Build the index again."
            )
        at_once = timedelta(0)  # another program's additions are seen by the next search
        database = lancedb.connect(folder, read_consistency_interval=at_once)
        if create:
            self._table = database.create_table(_TABLE, schema=self._schema)
            return
        self._table = database.open_table(_TABLE)
        if self._table.schema != self._schema:
            raise InputError(
                "the table of the index must have the fields of the index, got others. "
                "Build the index again."
            )

    @_in_a_sentence
    def add(self, batch: Batch) -> None:
        """Keep a batch, as one new version of the table."""
        columns: list[Any] = [batch.ids, [batch.modality] * len(batch.ids), batch.payloads]
        for name, size in self._fields.items():
            flat = pa.array(batch.vectors[name].ravel(), pa.float32())
            columns.append(pa.FixedSizeListArray.from_arrays(flat, size))
        rows = pa.table(columns, schema=self._schema)
        merge = self._table.merge_insert("id")
        merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    @_in_a_sentence
    def _nearest(
        self, term: Term, k: int, modalities: Collection[str] | None, with_vectors: bool
    ) -> list[list[Found]]:
        limit, exact = self._extent(k)
        found = []
        for query in term.queries:
            asked = self._table.search(query, vector_column_name=term.field)
            asked = asked.distance_type("dot").limit(limit)
            asked = asked.select([*self._columns(with_vectors=with_vectors), "_distance"])
            if modalities is not None:
                asked = asked.where(_one_of("modality", modalities), prefilter=True)
            if exact:
                asked = asked.bypass_vector_index()
            else:
                asked = asked.ef(max(_LEAST_EF, _EF_PER_HIT * limit)).refine_factor(_REFINED)
            rows = asked.to_arrow()
            # Its distance is 1 - product.
            found.append(self._found(rows, 1.0 - rows["_distance"].to_numpy()))
        return found

    @_in_a_sentence
    def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Found]:
        """Return the documents of these ids that there are."""
        found: list[Found] = []
        for at in range(0, len(ids), _IDS):
            some = ids[at : at + _IDS]
            asked = self._table.search().where(_one_of("id", some)).limit(len(some))
            rows = asked.select(self._columns(with_vectors=with_vectors)).to_arrow()
            found += self._found(rows, np.full(len(rows), np.nan))
        return found

    @_in_a_sentence
    def sample(self, modality: str, n: int) -> list[Found]:
        """Return the documents with the lowest hashes of their ids."""
        asked = self._table.search().where(_one_of("modality", [modality])).select(["id"])
        ids = asked.limit(max(1, self._total())).to_arrow()["id"].to_pylist()
        ids.sort(key=lambda identity: hashlib.sha256(identity.encode()).digest())
        found = {document.id: document for document in self.get(ids[:n], with_vectors=True)}
        return [found[identity] for identity in ids[:n]]

    @_in_a_sentence
    def _total(self, modality: str | None = None) -> int:
        chosen = None if modality is None else _one_of("modality", [modality])
        return int(self._table.count_rows(chosen))

    @_in_a_sentence
    def _remove(self, ids: Sequence[str]) -> None:
        self._table.delete(_one_of("id", ids))

    @_in_a_sentence
    def optimise(self) -> None:
        """Join what was added piece by piece, and build or extend the graphs."""
        from lancedb.index import Bitmap, BTree, HnswSq

        total = self._total()
        if total >= _LEAST_INDEXED and not self._table.list_indices():
            self._table.create_index("id", config=BTree())
            self._table.create_index("modality", config=Bitmap())
            for name in self._fields:
                graph = HnswSq(distance_type="dot", num_partitions=-(-total // _PER_GRAPH))
                self._table.create_index(name, config=graph)
        self._table.optimize(cleanup_older_than=_KEPT)

    def _columns(self, *, with_vectors: bool) -> list[str]:
        return ["id", "modality", "payload", *(self._fields if with_vectors else ())]

    def _found(self, rows: pa.Table, scores: Any) -> list[Found]:
        """Return the rows of an answer."""
        matrices = {
            name: rows[name].combine_chunks().flatten().to_numpy().reshape(-1, size)
            for name, size in self._fields.items()
            if name in rows.column_names
        }
        keys = (rows[name].to_pylist() for name in ("id", "modality", "payload"))
        found = []
        for i, (identity, modality, payload, score) in enumerate(zip(*keys, scores, strict=True)):
            vectors = {name: matrix[i] for name, matrix in matrices.items()}
            found.append(Found(identity, modality, payload, float(score), vectors))
        return found


def _one_of(column: str, values: Collection[str]) -> str:
    """Return a condition in SQL; a quote within a value is doubled, nothing else is special."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"
