"""UMAP and PaCMAP, which come with the extra `fillgap[viz]`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import require

__all__ = ["METHODS", "pacmap_points", "umap_points"]

Array = NDArray[np.float64]


def umap_points(rows: Array, random_state: int) -> Array:
    """Return unit rows in two dimensions by UMAP of their cosines (arXiv:1802.03426)."""
    umap = require("umap", "viz", "UMAP")
    reducer = umap.UMAP(metric="cosine", random_state=random_state, n_jobs=1)
    return _quietly(reducer, rows)


def pacmap_points(rows: Array, random_state: int) -> Array:
    """Return unit rows in two dimensions by PaCMAP (arXiv:2012.04456)."""
    pacmap = require("pacmap", "viz", "PaCMAP")
    reducer = pacmap.PaCMAP(n_components=2, random_state=random_state)
    return _quietly(reducer, rows.astype(np.float32))


#: In the order in which a report shows them.
METHODS: Final[dict[str, Callable[[Array, int], Array]]] = {
    "UMAP": umap_points,
    "PaCMAP": pacmap_points,
}


def _quietly(reducer: Any, rows: Array) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about seeds and threads, which are as we want them
        return np.asarray(reducer.fit_transform(rows), dtype=np.float64)
