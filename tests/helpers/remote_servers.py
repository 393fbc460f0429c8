"""Servers of this machine: of applications, of files, of S3 and of Google storage."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.staticfiles import StaticFiles


class Quiet(SimpleHTTPRequestHandler):
    """Lists folders, and sends each file whole, whatever range is asked for."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def plain_server(folder: Path) -> Iterator[str]:
    """Serve a folder as `python -m http.server` does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def range_server(folder: Path, ranges: list[int | None]) -> Iterator[str]:
    """Serve files with ranges of bytes, and note how many bytes each GET asked for."""
    files = StaticFiles(directory=folder)

    async def noting(scope, receive, send):
        if scope["type"] == "http" and scope["method"] == "GET":
            asked = dict(scope["headers"]).get(b"range")
            first, last = (asked or b"bytes=0-0").removeprefix(b"bytes=").split(b"-")
            ranges.append(int(last) - int(first) + 1 if asked else None)
        await files(scope, receive, send)

    app = Starlette()
    app.mount("/", noting)
    with running(app) as address:
        yield address


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Yield the address of an application that is served until the block ends."""
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def s3_server() -> Iterator[str]:
    """Serve S3, as moto keeps it in memory."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def google_server() -> Iterator[str]:
    """Serve Google's storage, as an emulator keeps it in memory."""
    from gcp_storage_emulator.server import create_server

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
