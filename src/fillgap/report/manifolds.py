"""UMAP and PaCMAP, which come with the extra `fillgap[viz]`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import require

__all__ = ["METHODS", "pacmap_points", "umap_points"]

Array = NDArray[np.float64]


def umap_points(rows: Array, random_state: int) -> Array:
    """Return unit rows in two dimensions by UMAP of their cosines (arXiv:1802.03426)."""
    with _quiet("umap"):
        umap = require("umap", "viz", "UMAP")
        reducer = umap.UMAP(metric="cosine", random_state=random_state, n_jobs=1)
        return np.asarray(reducer.fit_transform(rows), dtype=np.float64)


def pacmap_points(rows: Array, random_state: int) -> Array:
    """Return unit rows in two dimensions by PaCMAP (arXiv:2012.04456)."""
    with _quiet("pacmap.pacmap"):
        pacmap = require("pacmap", "viz", "PaCMAP")
        reducer = pacmap.PaCMAP(n_components=2, random_state=random_state)
        return np.asarray(reducer.fit_transform(rows.astype(np.float32)), dtype=np.float64)


#: In the order in which a report shows them.
METHODS: Final[dict[str, Callable[[Array, int], Array]]] = {
    "UMAP": umap_points,
    "PaCMAP": pacmap_points,
}


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Keep to itself what these packages say of missing packages, seeds and threads."""
    speaker = logging.getLogger(logger)
    spoke = not speaker.disabled
    speaker.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        speaker.disabled = not spoke
