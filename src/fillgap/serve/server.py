"""The page as an application, and a server for it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fillgap._checks import InputError, require

if TYPE_CHECKING:
    from fillgap.search import MixedIndex

__all__ = ["create_app", "serve"]


def create_app(index: MixedIndex, **options: Any) -> Any:
    """Return the page and its JSON interface as an ASGI application.

    Parameters
    ----------
    index : MixedIndex
        Searched while others may add to it.
    **options
        `encoder`: an encoder for queries, in place of the one that the index names;
        `hosts`: names besides those of this machine under which it may be asked;
        `max_bytes`, `max_pixels`: limits on a picture.

    Raises
    ------
    ImportError
        If FastAPI is not installed.
    """
    require("fastapi", "serve", "the page")
    from fillgap.serve.app import make_app

    return make_app(index, **options)


def serve(
    index: MixedIndex,
    *,
    host: str = "127.0.0.1",
    port: int = 8421,
    ready: Callable[[], None] | None = None,
    **options: Any,
) -> None:
    """Serve the page until it is interrupted.

    Parameters
    ----------
    index : MixedIndex
    host : str
        Address to listen on: only this machine by default. There is no password.
    port : int
    ready : callable, optional
        Called once the address is ours.
    **options
        As for `create_app`.

    Raises
    ------
    InputError
        If the address is taken, or none of this machine.
    ImportError
        If FastAPI or uvicorn is not installed.
    """
    uvicorn = require("uvicorn", "serve", "the page")
    app = create_app(index, **options)
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", server_header=False)
    with _listening(host, port) as listening:
        if ready is not None:
            ready()
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; uvicorn would end the program where it cannot."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((str(address[0]), port), family=family)
    except OSError as error:
        raise InputError(
            f"the address must be a free one of this machine, got {host or 'no host,'} port {port} "
            f"({error.strerror or error}). Choose another with --port or --host."
        ) from error
