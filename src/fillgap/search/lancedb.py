"""LanceDB: a table in a folder, read and written by several programs at a time.

Every change is a new version of the table, so a search sees a batch whole or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fillgap.errors import InputError, require
from fillgap.search.backend import MODALITIES, Batch, Found, ListEngine, Term

_TABLE = "documents"
#: Fewer documents are searched exactly; a graph is built for each million.
_LEAST_INDEXED, _PER_GRAPH = 10_000, 1_000_000
#: Candidates of the walk through a graph for each document wanted, and at least; the compressed
#: vectors of the graph name this many times more than wanted, which are scored exactly.
_EF_PER_HIT, _LEAST_EF, _REFINED = 8, 200, 4
#: Ids in one condition, and how long a version is kept for those that read it.
_IDS, _KEPT = 1000, timedelta(hours=1)


class LanceDBBackend(ListEngine):
    """A table of LanceDB.

    Parameters
    ----------
    folder : path
    fields : mapping from str to int
        Dimension of each field.
    create : bool
        Whether the table is made, or must exist.
    exact : bool
        Whether graphs are left aside in a search.
    """

    def __init__(
        self, folder: Path, fields: Mapping[str, int], *, create: bool, exact: bool = False
    ) -> None:
        lancedb = require("lancedb", "search", "the backend lancedb")
        super().__init__(exact=exact)
        self._fields = dict(fields)
        self._schema = pa.schema(
            [(name, pa.string()) for name in ("id", "modality", "payload")]
            + [(name, pa.list_(pa.float32(), size)) for name, size in fields.items()]
        )
        if not create and not folder.is_dir():  # which connecting would make
            raise InputError(
                "the vectors of the index must be there, got none. Build the index again."
            )
        with _told():
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

    def add(self, batch: Batch) -> None:
        """Keep a batch, as one new version of the table."""
        columns: list[Any] = [batch.ids, [batch.modality] * len(batch.ids), batch.payloads]
        for name, size in self._fields.items():
            flat = pa.array(batch.vectors[name].ravel(), pa.float32())
            columns.append(pa.FixedSizeListArray.from_arrays(flat, size))
        rows = pa.table(columns, schema=self._schema)
        with _told():
            merge = self._table.merge_insert("id")
            merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def _lists(
        self, modalities: Collection[str] | None, term: Term, k: int, with_vectors: bool
    ) -> list[list[Found]]:
        with _told():
            limit, exact = self._extent(k, self._table.count_rows())
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
                scores = 1.0 - rows["_distance"].to_numpy()  # its distance is 1 - product
                found.append(self._found(rows, scores))
        return found

    def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Found]:
        """Return the documents of these ids that there are."""
        found: list[Found] = []
        for at in range(0, len(ids), _IDS):
            some = ids[at : at + _IDS]
            with _told():
                asked = self._table.search().where(_one_of("id", some)).limit(len(some))
                rows = asked.select(self._columns(with_vectors=with_vectors)).to_arrow()
            found += self._found(rows)
        return found

    def sample(self, modality: str, n: int) -> list[Found]:
        """Return the documents with the lowest hashes of their ids."""
        with _told():
            asked = self._table.search().where(_one_of("modality", [modality])).select(["id"])
            ids = asked.limit(max(1, self._table.count_rows())).to_arrow()["id"].to_pylist()
        ids.sort(key=lambda one: hashlib.sha256(one.encode()).digest())
        found = {one.id: one for one in self.get(ids[:n], with_vectors=True)}
        return [found[one] for one in ids[:n]]

    def count(self) -> dict[str, int]:
        """Return the number of documents of each modality."""
        with _told():
            counts = {one: self._table.count_rows(_one_of("modality", [one])) for one in MODALITIES}
        return {modality: n for modality, n in counts.items() if n}

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and return how many there were."""
        known = [found.id for found in self.get(ids)]
        if known:
            with _told():
                self._table.delete(_one_of("id", known))
        return len(known)

    def optimise(self) -> None:
        """Join what was added piece by piece, and build or extend the graphs."""
        from lancedb.index import Bitmap, BTree, HnswSq

        with _told():
            built = {index.columns[0] for index in self._table.list_indices()}
            total = self._table.count_rows()
            if total >= _LEAST_INDEXED and not built:
                self._table.create_index("id", config=BTree())
                self._table.create_index("modality", config=Bitmap())
                for name in self._fields:
                    graph = HnswSq(distance_type="dot", num_partitions=-(-total // _PER_GRAPH))
                    self._table.create_index(name, config=graph)
            self._table.optimize(cleanup_older_than=_KEPT)

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""

    def _columns(self, *, with_vectors: bool) -> list[str]:
        return ["id", "modality", "payload", *(self._fields if with_vectors else ())]

    def _found(self, rows: pa.Table, scores: Any = None) -> list[Found]:
        """Return the rows of an answer."""
        names = [name for name in self._fields if name in rows.column_names]
        matrices = {
            name: rows[name].combine_chunks().flatten().to_numpy().reshape(-1, self._fields[name])
            for name in names
        }
        keys = (rows[name].to_pylist() for name in ("id", "modality", "payload"))
        found = []
        for i, (identity, modality, payload) in enumerate(zip(*keys, strict=True)):
            vectors = {name: matrices[name][i] for name in names}
            score = np.nan if scores is None else float(scores[i])
            found.append(Found(identity, modality, payload, score, vectors))
        return found


def _one_of(column: str, values: Collection[str]) -> str:
    """Return a condition in SQL; a quote within a value is doubled, nothing else is special."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"


@contextmanager
def _told() -> Iterator[None]:
    """Say in one sentence what the engine says."""
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            "the vectors of the index must be whole, got "
            f"{str(error).partition(chr(10))[0][:200]}. Build the index again."
        ) from error
