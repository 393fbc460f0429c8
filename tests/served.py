"""The search page of an index on a free port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fillgap.search import MixedIndex
from fillgap.serve import create_app


@contextmanager
def serving(index: MixedIndex, **options: Any) -> Iterator[str]:
    """Yield the address of a server that ends with the block."""
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    app = create_app(index, **options)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
