"""A map of both modalities: principal components of a sample, before and after alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import unit_rows
from fillgap.search import Kind, MixedIndex

__all__ = ["Atlas"]

Array = NDArray[Any]
#: Documents of each modality on the map.
_SAMPLE = 500


class Atlas:
    """Two maps of one sample: `raw`, and `aligned` where the index has an aligner.

    Parameters
    ----------
    index : MixedIndex

    Attributes
    ----------
    points : dict
        For each map a list of [x, y], in the order of `modalities`; coordinates are within −1 to 1
        for the sample.
    modalities : list of str
        Of each point.
    """

    def __init__(self, index: MixedIndex) -> None:
        self.index = index
        kinds = [kind for kind in get_args(Kind) if kind in index.count()]
        found = [one for kind in kinds for one in index.sample(kind, _SAMPLE)]
        self.modalities = [one.modality for one in found]
        self.names = ["raw", *(["aligned"] if "aligned" in index.stages else [])]
        self._maps: dict[str, _Plane] = {}
        self.points: dict[str, list[list[float]]] = {name: [] for name in self.names}
        for name in self.names if len(found) > 2 else ():
            rows = np.stack([one.vectors[name] for one in found])
            self._maps[name] = _Plane(rows)
            self.points[name] = self._maps[name](rows)

    def place_query(self, sides: Mapping[str, Array]) -> dict[str, list[float]]:
        """Return where a query lies on each map; of one of both kinds, the mean."""
        space = self.index.space
        rows: dict[str, list[Array]] = {"raw": [], "aligned": []}
        for side, vector in sides.items():
            one = np.asarray(vector)[None]
            rows["raw"].append(unit_rows(one, "the query"))
            rows["aligned"].append(space.align_queries(one, side))  # type: ignore[arg-type]
        return {name: plane(np.mean(rows[name], axis=0))[0] for name, plane in self._maps.items()}

    def place_documents(self, ids: list[str]) -> dict[str, dict[str, list[float]]]:
        """Return where documents lie on each map, by their ids."""
        found = self.index.fetch(ids) if ids else []
        return {
            name: {one.id: plane(one.vectors[name][None])[0] for one in found}
            for name, plane in self._maps.items()
        }


class _Plane:
    """The plane of the two first principal components, scaled to the sample."""

    def __init__(self, rows: Array) -> None:
        self.centre = rows.mean(axis=0)
        _, axes = np.linalg.eigh(np.cov(rows.T, dtype=np.float64))
        axes = axes[:, :-3:-1]
        self.axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
        self.scale = float(np.abs((rows - self.centre) @ self.axes).max()) or 1.0

    def __call__(self, rows: Array) -> list[list[float]]:
        places = (rows - self.centre) @ self.axes / self.scale
        return [[round(float(x), 4), round(float(y), 4)] for x, y in places]
