"""Scores less what the query itself scores high: some queries are near to everything."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import check_integer, check_real, unit_rows
from fillgap.rows import iter_blocks
from fillgap.scores.base import Calibration
from fillgap.scores.hubness import mean_of_largest
from fillgap.scores.pairwise import PairwiseCalibration, Sample
from fillgap.scores.samples import Modality, others

__all__ = ["QueryCentering"]

Array = NDArray[Any]


class QueryCentering(PairwiseCalibration):
    """Subtract a part of the mean of the query's k best scores: s' = s − w · r(query).

    r(query) is taken over documents of one modality, so that a query whose neighbours among texts
    are nearer than is usual does not see texts alone. All of it (w = 1) makes every query's two
    lists level, whether one of them answers it or not; w = 0 changes nothing. It is the query's
    half of CSLS, of scores that are on one scale already, and weighted. It does not fold.

    Parameters
    ----------
    k : int
        How many of the best documents count; all, where there are fewer.
    weight : float
        w, from 0 to 1.
    after : Calibration, optional
        Applied first. Left out, the cosines should be on one scale by themselves.

    References
    ----------
    The mean similarity of the query's neighbours: Conneau et al., "Word Translation Without
    Parallel Data" (ICLR 2018). Its weight: ours.

    Examples
    --------
    >>> import numpy as np
    >>> from fillgap.scores import Sides
    >>> rng = np.random.default_rng(0)
    >>> rows = Sides(rng.normal(size=(50, 8)) + 1, rng.normal(size=(50, 8)) - 1)
    >>> centering = QueryCentering(k=1, weight=0.5).fit(rows, rows)
    >>> centering.calibrate(np.array([[0.1, 0.2]]), query="text", document="image")
    array([[0. , 0.1]])
    """

    def __init__(
        self, *, k: int = 10, weight: float = 0.5, after: Calibration | None = None
    ) -> None:
        self.k = k
        self.weight = weight
        self.after = after

    @property
    def reads_list(self) -> bool:  # type: ignore[override]
        """Whether the other documents count: they do."""
        return True

    @property
    def _affine(self) -> bool:
        return False

    def _add(self, sample: Sample) -> None:
        check_integer(self.k, "k", low=1)
        check_real(self.weight, "weight", low=0, high=1)
        for start, block in iter_blocks(sample.documents, "documents"):
            unit_rows(block, "documents", first_row=start)  # refused here, not when asked
        self.fitted_[f"{sample.query}.{sample.document}.fitted"] = np.array(1.0)

    def _solve(self) -> None:
        """Nothing is learnt: all that counts is the list of the query itself."""

    def _calibrate(
        self, scores: Array, query: Modality, document: Modality, documents: Any | None
    ) -> Array:
        corrected = super()._calibrate(scores, query, document, documents)
        self._get(query, document, "fitted")
        allowed = others(scores, same=query == document)
        best = mean_of_largest(corrected.T, allowed.T, self.k)
        return np.asarray(corrected - self.weight * best[:, None])

    def _map(self, scores: Array, query: Modality, document: Modality) -> Array:  # noqa: ARG002
        return scores
