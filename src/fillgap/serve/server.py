"""The page as an application, and a server for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fillgap._checks import require

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


def serve(index: MixedIndex, *, host: str = "127.0.0.1", port: int = 8421, **options: Any) -> None:
    """Serve the page until it is interrupted.

    Parameters
    ----------
    index : MixedIndex
    host : str
        Address to listen on: only this machine by default. There is no password.
    port : int
    **options
        As for `create_app`.
    """
    uvicorn = require("uvicorn", "serve", "the page")
    app = create_app(index, **options)
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)
