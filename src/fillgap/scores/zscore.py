"""Scores in standard deviations from what is usual between two modalities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_choice
from fillgap.scores.base import Calibration
from fillgap.scores.pairwise import Block, PairwiseCalibration, Sample
from fillgap.scores.samples import Modality

__all__ = ["ON", "ZScore"]

Array = NDArray[Any]

#: Which scores of the sample queries a calibration looks at.
ON = ("pseudo-positives", "all")


class ZScore(PairwiseCalibration):
    """Subtract the mean and divide by the standard deviation: s' = (s − μ) / σ.

    Parameters
    ----------
    on : {"pseudo-positives", "all"}
        Over which scores of sample queries μ and σ are taken: the best score of each query only,
        which stands for the score of what is relevant, or all of its scores.
    after : Calibration, optional
        Applied first, for example `NNN()`.

    References
    ----------
    The best score in place of judgements: arXiv:2511.22141.

    Examples
    --------
    >>> import numpy as np
    >>> from fillgap.scores import Sides
    >>> rng = np.random.default_rng(0)
    >>> rows = Sides(rng.normal(size=(50, 8)) + 1, rng.normal(size=(50, 8)) - 1)
    >>> z = ZScore(on="all").fit(rows, rows)
    >>> scores = np.array([[0.1, 0.2]])
    >>> z.calibrate(scores, query="text", document="image").shape
    (1, 2)
    """

    def __init__(self, *, on: str = "pseudo-positives", after: Calibration | None = None) -> None:
        self.on = on
        self.after = after

    def _check_parameters(self) -> None:
        check_choice(self.on, "on", ON)

    @property
    def _wants_best(self) -> bool:
        return self.on == "pseudo-positives"

    def _add_block(self, sample: Sample, block: Block) -> None:
        if self.on == "all":
            self._merge((sample.query, sample.document), block.values)

    def _add_best(self, sample: Sample, best: Array) -> None:
        self._merge((sample.query, sample.document), best)

    def _merge(self, key: tuple[Modality, Modality], values: Array) -> None:
        """Merge values into (count, mean, sum of squared deviations)."""
        if not len(values):
            return
        wide = values.astype(np.float64, copy=False)
        mean = float(wide.mean())
        n, before, scatter = self.sums_.get(key, (0, 0.0, 0.0))
        total, delta = n + len(wide), mean - before
        scatter += float(((wide - mean) ** 2).sum()) + delta**2 * n * len(wide) / total
        self.sums_[key] = (total, before + delta * len(wide) / total, scatter)

    def _solve(self) -> None:
        for (query, document), (count, mean, scatter) in self.sums_.items():
            spread = float(np.sqrt(scatter / count))
            if not spread > 1e-9:
                raise InputError(
                    f"scores of {query} queries with {document} documents must differ, got a "
                    f"standard deviation of {spread:.1g} over {count}. Use more sample queries."
                )
            self.fitted_[f"{query}.{document}.mean"] = np.array(mean)
            self.fitted_[f"{query}.{document}.deviation"] = np.array(spread)

    def _slope_and_offset(self, query: Modality, document: Modality) -> tuple[float, float]:
        mean = float(self._get(query, document, "mean"))
        spread = float(self._get(query, document, "deviation"))
        return 1 / spread, -mean / spread
