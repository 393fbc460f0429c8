"""Rows as an index would store them, to be judged again: what rounding costs after alignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import unit_rows
from fillgap.io._scales import quantised
from fillgap.pair import EmbeddingPair
from fillgap.runtime import to_host

__all__ = ["QUANTISED", "as_stored"]

Rows = NDArray[np.float32]


def _int8(rows: Any, per: str) -> Rows:
    vectors, scales = quantised(rows, per=per)
    return vectors * (scales[:, None] if per == "row" else scales)


#: How rows may be stored: by name, what is read back.
QUANTISED: Final[Mapping[str, Callable[[Any], Rows]]] = {
    "float16": lambda rows: np.asarray(rows, np.float16).astype(np.float32),
    "int8": partial(_int8, per="row"),
    "int8-dimension": partial(_int8, per="dimension"),
}


def as_stored(pair: EmbeddingPair, kind: str) -> EmbeddingPair:
    """Return a pair with the unit rows of both sides as they are read back from storage.

    Parameters
    ----------
    pair : EmbeddingPair
    kind : {"float16", "int8", "int8-dimension"}
        Half precision; int8 with a scale for each row; int8 with a scale for each dimension.
    """
    sides = []
    for rows, what in ((pair.images, "images"), (pair.texts, "texts")):
        units = unit_rows(rows, what)
        sides.append(QUANTISED[kind](to_host(units)))
    return pair.with_vectors(*sides)
