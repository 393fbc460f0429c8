"""pgvector: a table of a PostgreSQL server; a connection that breaks is made again."""

from __future__ import annotations

import secrets
import struct
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fillgap.errors import InputError, InputTypeError, require
from fillgap.search.backend import MODALITIES, Backend, Batch, Found, Term

T = TypeVar("T")
_ATTEMPTS, _PAUSE_S, _TIMEOUT_S = 3, 0.2, 5
#: Fewer documents of a modality are searched exactly, and so are vectors longer than a graph takes.
_LEAST_INDEXED, _LONGEST_INDEXED = 10_000, 2000
#: Candidates of the walk through a graph: the most that pgvector takes, and for each one wanted.
_MOST_EF, _EF_PER_HIT, _LEAST_EF = 1000, 4, 200
#: What begins a binary COPY.
_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)


class PgvectorBackend(Backend):
    """A table of a PostgreSQL server, asked by one transaction at a time.

    `server` is a connection string of libpq, whose password is not kept with the index; the `table`
    is named by chance where it is left out.
    """

    def __init__(
        self,
        folder: Path,  # noqa: ARG002  (every engine gets one)
        fields: Mapping[str, int],
        *,
        create: bool,
        server: str = "",
        table: str | None = None,
        exact: bool = False,
    ) -> None:
        if not isinstance(server, str):
            raise InputTypeError(
                f"server must be a connection string of libpq, got {server!r}. "
                "Pass for example 'host=localhost dbname=search'."
            )
        super().__init__(fields, exact=exact)
        self._pg, self._sql, reader = (
            require(module, "pgvector", "the backend pgvector")
            for module in ("psycopg", "psycopg.sql", "psycopg.conninfo")
        )
        try:
            parts = reader.conninfo_to_dict(server)
        except self._pg.Error as error:
            raise InputError(
                "server must be a connection string of PostgreSQL, got one that cannot be read. "
                'Write "host=... dbname=..." or postgresql://...'
            ) from error
        parts.pop("password", None)
        table = table or f"fillgap_{secrets.token_hex(8)}"
        self.kept_options = {"server": reader.make_conninfo(**parts), "table": table}
        self._table, self._server, self._connection = self._name(table), server, None
        self._lock = threading.RLock()
        try:
            if create:
                self._run(self._create)
            else:
                query = "SELECT {columns} FROM {table} LIMIT 0"
                self._rows(query, columns=self._columns(with_vectors=True))
        except BaseException:
            self.close()
            raise

    def _run(self, work: Callable[[Any], T]) -> T:
        """Do work, given a cursor, in one transaction; where the connection breaks, try again."""
        reason = ""
        with self._lock:
            for attempt in range(_ATTEMPTS):
                try:
                    connection = self._connection = self._connection or self._pg.connect(
                        self._server, connect_timeout=_TIMEOUT_S, client_encoding="utf8",
                        application_name="fillgap",
                    )  # fmt: skip
                    with connection.transaction(), connection.cursor(binary=True) as cursor:
                        return work(cursor)
                except self._pg.OperationalError as error:
                    self.close()
                    reason = str(error).partition("\n")[0].rpartition("failed: ")[2]
                    time.sleep(_PAUSE_S * 2**attempt)
                except self._pg.Error as error:
                    raise InputError(
                        "the database of the index must be as fillgap left it, on a server with "
                        f"pgvector, got {str(error).partition(chr(10))[0]}. Mend that, or build "
                        "the index again."
                    ) from error
        raise InputError(
            f"the PostgreSQL server must answer, got {_ATTEMPTS} failures ({reason}). Start it, or "
            "say where it is with --server or PGHOST, and the password with PGPASSWORD."
        )

    def close(self) -> None:
        """Close the connection; what is asked next makes another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _rows(self, query: str, values: Any = None, **parts: Any) -> list[Any]:
        """Execute one query in a transaction of its own, and return its rows."""
        return self._run(lambda cursor: self._ask(cursor, query, values, **parts))

    def _ask(self, cursor: Any, query: str, values: Any = None, **parts: Any) -> list[Any]:
        """Execute a query with names in it, and return its rows where it has any."""
        cursor.execute(self._sql.SQL(query).format(table=self._table, **parts), values)
        return cursor.fetchall() if cursor.description else []

    def _name(self, name: str) -> Any:
        return self._sql.Identifier(name)

    def _create(self, cursor: Any) -> None:
        columns = [
            self._sql.SQL("{} vector({}) NOT NULL").format(self._name(name), self._sql.Literal(n))
            for name, n in self._fields.items()
        ]
        self._ask(cursor, "CREATE EXTENSION IF NOT EXISTS vector")
        self._ask(
            cursor,
            "CREATE TABLE {table} (id text PRIMARY KEY, modality text NOT NULL, "
            "payload text NOT NULL, {columns})",
            columns=self._sql.SQL(", ").join(columns),
        )

    def add(self, batch: Batch) -> None:
        """Keep a batch in one transaction."""
        names = ["modality", "payload", *self._fields]
        updates = [self._sql.SQL("{0} = EXCLUDED.{0}").format(self._name(name)) for name in names]

        def keep(cursor: Any) -> None:
            self._ask(cursor, "CREATE TEMP TABLE incoming (LIKE {table}) ON COMMIT DROP")
            with cursor.copy("COPY incoming FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(_HEAD)
                for i, (identity, payload) in enumerate(
                    zip(batch.ids, batch.payloads, strict=True)
                ):
                    values = [text.encode() for text in (identity, batch.modality, payload)]
                    for name, size in self._fields.items():
                        entries = batch.vectors[name][i].astype(">f4").tobytes()
                        values.append(struct.pack(">hh", size, 0) + entries)
                    sized = (struct.pack(">i", len(value)) + value for value in values)
                    copy.write(struct.pack(">h", len(values)) + b"".join(sized))
                copy.write(struct.pack(">h", -1))
            self._ask(
                cursor,
                "INSERT INTO {table} SELECT * FROM incoming ON CONFLICT (id) DO UPDATE SET {new}",
                new=self._sql.SQL(", ").join(updates),
            )

        self._run(keep)

    def _nearest(
        self, term: Term, k: int, modalities: Collection[str] | None, with_vectors: bool
    ) -> list[list[Found]]:
        """Return the k best documents of each query by one field; modalities one by one."""
        settings = {
            "enable_indexscan": "off" if self._exact or k * _EF_PER_HIT > _MOST_EF else "on",
            "hnsw.ef_search": str(min(_MOST_EF, max(_LEAST_EF, _EF_PER_HIT * k))),
            "hnsw.iterative_scan": "strict_order",
        }

        def search(cursor: Any) -> list[list[Found]]:
            for setting in settings.items():
                cursor.execute("SELECT set_config(%s, %s, true)", setting)
            lists = []
            for query in term.queries:
                asked = "[" + ",".join(map(repr, query.tolist())) + "]"
                found: list[Found] = []
                for modality in MODALITIES if modalities is None else sorted(modalities):
                    rows = self._ask(
                        cursor,
                        "SELECT {columns}, -({field} <#> %(asked)s::vector) FROM {table} "
                        "WHERE modality = {modality} ORDER BY {field} <#> %(asked)s::vector "
                        "LIMIT %(k)s",
                        {"asked": asked, "k": k},
                        columns=self._columns(with_vectors=with_vectors),
                        field=self._name(term.field),
                        modality=self._sql.Literal(modality),  # a graph is of one modality
                    )
                    found += [self._found(row[:-1], row[-1]) for row in rows]
                lists.append(sorted(found, key=lambda document: -document.score)[:k])
            return lists

        return self._run(search)

    def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Found]:
        """Return the documents of these ids that there are."""
        query = "SELECT {columns} FROM {table} WHERE id = ANY(%s)"
        columns = self._columns(with_vectors=with_vectors)
        return [self._found(row) for row in self._rows(query, [list(ids)], columns=columns)]

    def sample(self, modality: str, n: int) -> list[Found]:
        """Return the documents with the lowest hashes of their ids."""
        query = "SELECT {columns} FROM {table} WHERE modality = %s ORDER BY md5(id) LIMIT %s"
        columns = self._columns(with_vectors=True)
        return [self._found(row) for row in self._rows(query, [modality, n], columns=columns)]

    def count(self) -> dict[str, int]:
        """Return the number of documents of each modality."""
        return dict(self._rows("SELECT modality, count(*) FROM {table} GROUP BY modality"))

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and return how many there were."""
        return len(self._rows("DELETE FROM {table} WHERE id = ANY(%s) RETURNING id", [list(ids)]))

    def optimise(self) -> None:
        """Build a graph for each field of a modality that has enough documents; they then grow."""
        for modality, total in self.count().items():
            for field, size in self._fields.items():
                if total >= _LEAST_INDEXED and size <= _LONGEST_INDEXED:
                    self._rows(
                        "CREATE INDEX IF NOT EXISTS {name} ON {table} "
                        "USING hnsw ({field} vector_ip_ops) WHERE modality = {modality}",
                        name=self._name(f"{self.kept_options['table']}_{modality}_{field}"),
                        field=self._name(field),
                        modality=self._sql.Literal(modality),
                    )
        self._rows("ANALYZE {table}")

    def drop(self) -> None:
        """Remove the table."""
        self._rows("DROP TABLE IF EXISTS {table}")

    def _columns(self, *, with_vectors: bool) -> Any:
        """Return what a document is read from; vectors as their bytes."""
        fields = self._fields if with_vectors else ()
        sent = [self._sql.SQL("vector_send({})").format(self._name(name)) for name in fields]
        return self._sql.SQL(", ").join([*map(self._name, ("id", "modality", "payload")), *sent])

    def _found(self, row: Sequence[Any], score: float = np.nan) -> Found:
        vectors = {
            name: np.frombuffer(sent, ">f4", offset=4).astype(np.float32)
            for name, sent in zip(self._fields, row[3:], strict=False)
        }
        return Found(row[0], row[1], row[2], float(score), vectors)
