"""Rows that move as their nearest neighbour in another set does, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

__all__ = ["shift_of_nearest"]

#: Bytes of similarities that are held at a time.
BLOCK_BYTES = 32 * 2**20


def shift_of_nearest(rows: Any, sources: NDArray[np.float64], targets: NDArray[np.float64]) -> Any:
    """Return target − source of the source nearest to each row, in the type of the rows.

    Parameters
    ----------
    rows : array of shape (n, d)
        Unit rows.
    sources, targets : array of shape (m, d)
        Unit rows, and where they go.
    """
    xp = array_namespace(rows)
    pool, shifts = (
        xp.asarray(side, dtype=rows.dtype, device=device(rows))
        for side in (sources, targets - sources)
    )
    out = xp.empty_like(rows)
    step = max(1, BLOCK_BYTES // (len(sources) * pool.dtype.itemsize))
    for start in range(0, rows.shape[0], step):
        nearest = xp.argmax(rows[start : start + step, :] @ pool.T, axis=1)
        out[start : start + step, :] = xp.take(shifts, nearest, axis=0)
    return out
