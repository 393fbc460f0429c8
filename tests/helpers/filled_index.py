"""A small collection with a gap, its space, and an index filled with it."""

from __future__ import annotations

from functools import cache

import numpy as np

from fillgap.search import MixedIndex, fit_space
from fillgap.space import MixedSpace
from worlds import make_gapped

N, D = 120, 16
STAGES = ("raw", "aligned", "calibrated")
X, Y = (side.astype(np.float32) for side in make_gapped(N, D, seed=3))
#: Ids and payloads that a query language, a page or a terminal could take for its own.
NASTY = [
    "'; DROP TABLE x; --", "<script>alert(1)</script>", "Ünï\n🙂", '"quoted"\\', " ", "%s {table}",
]  # fmt: skip


@cache
def fitted_space() -> MixedSpace:
    return fit_space(X, Y, model="toy")


def fill(index: MixedIndex) -> None:
    """Add 120 images, as many texts and one document of both, in two batches a side."""
    for rows in (range(50), range(50, N)):
        part = slice(rows.start, rows.stop)
        index.add_images([f"i{i}" for i in rows], X[part], [{"row": i} for i in rows])
        index.add_texts([f"t{i}" for i in rows], Y[part], [{"row": i} for i in rows])
    index.add_documents(["both"], X[:1], Y[5:6])
