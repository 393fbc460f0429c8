"""Scores against the query's own list: some queries are near to everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fillgap.calibration.base import Modality, check_documents, others
from fillgap.calibration.fusion import moments_of_best
from fillgap.calibration.hubness import mean_of_largest
from fillgap.calibration.pairwise import PairwiseCalibration, Sample
from fillgap.errors import check_integer, check_real
from fillgap.linalg import Array


class OwnListCalibration(PairwiseCalibration):
    """Base of maps that come from the list of the query itself: nothing is learnt.

    The list is of documents of one modality, and no copy of the query is in it.
    """

    reads_list = True
    reads_scores = False
    _affine = False

    def level(self, scores: Array, allowed: Array) -> Array:
        """Return scores, as `after` left them, against those of the documents that are allowed."""
        raise NotImplementedError

    def _check(self, sample: Sample) -> None:
        if self.after is None:  # what comes first has read them
            check_documents(sample.documents)
        self.fitted_[f"{sample.query}.{sample.document}.fitted"] = np.array(1.0)

    def _solve(self) -> None:
        """Nothing is learnt: all that counts is the list of the query itself."""

    def _calibrate(
        self, scores: Array, query: Modality, document: Modality, documents: Any | None
    ) -> Array:
        corrected = super()._calibrate(scores, query, document, documents)
        self._get(query, document, "fitted")
        return np.asarray(self.level(corrected, others(scores, same=query == document)))

    def _map(self, scores: Array, query: Modality, document: Modality) -> Array:  # noqa: ARG002
        return scores


@dataclass(kw_only=True, eq=False, repr=False)
class QueryCentering(OwnListCalibration):
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
    >>> from fillgap.calibration import Sides
    >>> rng = np.random.default_rng(0)
    >>> rows = Sides(rng.normal(size=(50, 8)) + 1, rng.normal(size=(50, 8)) - 1)
    >>> centering = QueryCentering(k=1, weight=0.5).fit(rows, rows)
    >>> centering.calibrate(np.array([[0.1, 0.2]]), query="text", document="image")
    array([[0. , 0.1]])
    """

    k: int = 10
    weight: float = 0.5

    def _check_parameters(self) -> None:
        check_integer(self.k, "k", low=1)
        check_real(self.weight, "weight", low=0, high=1)

    def level(self, scores: Array, allowed: Array) -> Array:
        """Return s − w · r(query)."""
        best = mean_of_largest(scores.T, allowed.T, self.k)
        return scores - self.weight * best[:, None]


@dataclass(kw_only=True, eq=False, repr=False)
class QueryStandardisation(OwnListCalibration):
    """How far a score stands out of the query's own list: s' = (s − mean) / deviation.

    Mean and standard deviation are over the query's best documents of one modality, less the very
    best of them: these may be the answers, and answers would widen the list that they are to stand
    out of. Each modality shows what stands out among its own, so that both are seen beside each
    other; how high a whole list scores does not count, nor does it show that a list has no answer.
    A z-score before it makes no difference. It does not fold.

    Parameters
    ----------
    depth : int
        The list is so many of the best documents; all, where there are fewer.
    leave_out : int
        So many of the best take no part in mean and deviation, and at most half of the list: as
        many as there may be answers.
    after : Calibration, optional
        Applied first, such as `NNN`.

    References
    ----------
    Mean and deviation of a query's own list: DBSF, Qdrant's distribution-based score fusion. That
    the best are left out: ours.

    Examples
    --------
    >>> import numpy as np
    >>> from fillgap.calibration import Sides
    >>> rng = np.random.default_rng(0)
    >>> rows = Sides(rng.normal(size=(50, 8)) + 1, rng.normal(size=(50, 8)) - 1)
    >>> standard = QueryStandardisation(leave_out=1).fit(rows, rows)
    >>> standard.calibrate(np.array([[0.75, 0.25, 0.5]]), query="text", document="image")
    array([[ 3., -1.,  1.]])
    """

    depth: int = 100
    leave_out: int = 5

    def _check_parameters(self) -> None:
        check_integer(self.depth, "depth", low=2)
        check_integer(self.leave_out, "leave_out", low=0)

    def level(self, scores: Array, allowed: Array) -> Array:
        """Return (s − mean) / deviation."""
        inside = scores if allowed.all() else np.where(allowed, scores, -np.inf)
        left = min(self.leave_out, scores.shape[1])
        mean, deviation = moments_of_best(inside, self.depth, leave_out=left)
        return (scores - mean) / np.where(deviation > 0, deviation, 1.0)
