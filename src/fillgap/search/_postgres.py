"""A connection to PostgreSQL that is made again where it breaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from fillgap._checks import InputError, require

__all__ = ["Server"]

T = TypeVar("T")
_ATTEMPTS, _PAUSE_S, _TIMEOUT_S = 3, 0.2, 5


class Server:
    """A server, asked by one transaction at a time.

    Parameters
    ----------
    conninfo : str
        Connection string of libpq; what it leaves out is taken from PGHOST, PGPASSWORD and the
        like.

    Attributes
    ----------
    public_name : str
        The connection string without its password.
    sql : module
        Where queries are put together.
    """

    def __init__(self, conninfo: str) -> None:
        self._pg = require("psycopg", "pgvector", "the backend pgvector")
        self.sql = require("psycopg.sql", "pgvector", "the backend pgvector")
        self._conninfo, self._connection = conninfo, None
        self._lock = threading.RLock()
        reader = require("psycopg.conninfo", "pgvector", "the backend pgvector")
        try:
            parts = reader.conninfo_to_dict(conninfo)
        except self._pg.Error as error:
            raise InputError(
                "server must be a connection string of PostgreSQL, got one that cannot be read. "
                'Write "host=... dbname=..." or postgresql://...'
            ) from error
        parts.pop("password", None)
        self.public_name = reader.make_conninfo(**parts)

    def run(self, work: Callable[[Any], T]) -> T:
        """Do work, given a cursor, in one transaction; where the connection breaks, try again.

        Raises
        ------
        InputError
            If the server does not answer after a few attempts, or refuses.
        """
        reason = ""
        with self._lock:
            for attempt in range(_ATTEMPTS):
                try:
                    connection = self._connected()
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
        """Close the connection; the next work makes another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _connected(self) -> Any:
        if self._connection is None:
            self._connection = self._pg.connect(
                self._conninfo, connect_timeout=_TIMEOUT_S, client_encoding="utf8",
                application_name="fillgap",
            )  # fmt: skip
        return self._connection
