"""The bundled scenes as an index."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fillgap.datasets import load_digit_scenes
from fillgap.search import fit_space, new_index

__all__ = ["build_demo_index"]


def build_demo_index(target: str | Path, **parameters: Any) -> Path:
    """Build an index of the 2500 bundled scenes and their 5000 captions.

    Aligner and calibration are fitted to other scenes, the 1000 for fitting.

    Parameters
    ----------
    target : str or path
        The index, which appears when it is complete.
    **parameters
        As for `fillgap.search.new_index`.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    fitting, scenes = load_digit_scenes("fitting"), load_digit_scenes()
    space = fit_space(fitting.images, fitting.texts, model="digit-scenes")
    notes = ["Aligner and calibration were fitted to 1000 other scenes."]
    named = {"encoder": "digit-scenes", "name": "Scenes of handwritten digits", "notes": notes}
    pictures: Any = scenes.thumbnails if scenes.thumbnails is not None else []
    owner = np.asarray(scenes.image_index).tolist()
    with new_index(target, space, **{**named, **parameters}) as index:
        index.add_images(
            [f"image:{i}" for i in range(scenes.n_images)],
            scenes.images,
            [{"name": f"scene {i}", "thumbnail": _png(p)} for i, p in enumerate(pictures)],
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


def _png(pixels: NDArray[np.uint8]) -> str:
    """Return a grey picture as a PNG in a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
