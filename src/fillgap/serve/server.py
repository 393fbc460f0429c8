"""The page as an application, and a server for it."""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fillgap.datasets.scenes import load_digit_scenes
from fillgap.errors import InputError, require
from fillgap.search.opening import fit_space, new_index

if TYPE_CHECKING:
    from fillgap.search.index import MixedIndex


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
    """Serve the page until it is interrupted; there is no password.

    Parameters
    ----------
    index : MixedIndex
    host, port : str and int
        Address to listen on: only this machine by default.
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
    try:  # uvicorn would end the program where it cannot listen
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server((str(address[0]), port), family=family)
    except OSError as error:
        raise InputError(
            f"the address must be a free one of this machine, got {host or 'no host,'} port {port} "
            f"({error.strerror or error}). Choose another with --port or --host."
        ) from error
    with listening:
        if ready is not None:
            ready()
        uvicorn.Server(config).run(sockets=[listening])


def build_demo_index(target: str | Path, **parameters: Any) -> Path:
    """Build an index of the 2500 bundled scenes and their 5000 captions.

    Aligner and calibration are fitted to other scenes, the 1000 for fitting. `target`, parameters
    and errors are those of `fillgap.search.create_index`.
    """
    fitting, scenes = load_digit_scenes("fitting"), load_digit_scenes()
    space = fit_space(fitting.images, fitting.texts, model="digit-scenes")
    notes = ["Aligner and calibration were fitted to 1000 other scenes."]

    def png(pixels: NDArray[np.uint8]) -> str:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

    named = {"encoder": "digit-scenes", "name": "Scenes of handwritten digits", "notes": notes}
    pictures: Any = scenes.thumbnails if scenes.thumbnails is not None else []
    owner = np.asarray(scenes.image_index).tolist()
    with new_index(target, space, **{**named, **parameters}) as index:
        index.add_images(
            [f"image:{i}" for i in range(scenes.n_images)],
            scenes.images,
            [{"name": f"scene {i}", "thumbnail": png(p)} for i, p in enumerate(pictures)],
        )
        index.add_texts(
            [f"text:{i}" for i in range(scenes.n_texts)],
            scenes.texts,
            [
                {"caption": caption, "image": f"image:{image}"}
                for caption, image in zip(scenes.captions or (), owner, strict=True)
            ],
        )
    return Path(target)
