"""fillgap serve: a page that asks an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fillgap.cli.output import say

__all__ = ["serve"]


def serve(
    index: Annotated[
        Path | None,
        typer.Argument(
            metavar="[INDEX]",
            help="The folder that fillgap index wrote; the bundled scenes where it is left out.",
            show_default=False,
        ),
    ] = None,
    *,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; only this machine by default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port.")] = 8421,
    names: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="A further name it may be asked under."),
    ] = None,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", min=1, help="Largest picture that is taken, in bytes.")
    ] = 10_485_760,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Largest picture that is taken, in pixels.")
    ] = 40_000_000,
) -> None:
    """Serve a page where one types or drops a picture and sees what calibration changes.

    The raw ranking stands beside the aligned or calibrated one, over a map of both modalities. The
    page answers this machine only, and has no password: think before you open it to others.
    """
    import tempfile
    from functools import partial

    from fillgap._checks import require
    from fillgap.search import open_index
    from fillgap.serve import build_demo_index
    from fillgap.serve import serve as run

    for module in ("fastapi", "uvicorn"):
        require(module, "serve", "the page")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if index is None:
            say("Indexing the bundled scenes of handwritten digits.")
        path = index or build_demo_index(Path(folder) / "demo")
        with open_index(path) as opened:
            shown = f"[{host}]" if ":" in host else host
            told = f"Serving {opened.manifest.name} at http://{shown}:{port} (Ctrl-C ends it)"
            run(
                opened, ready=partial(say, told), host=host, port=port,
                hosts=[host, *(names or [])], max_bytes=max_bytes, max_pixels=max_pixels,
            )  # fmt: skip
