"""Scores by their place in what is usual between two modalities."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_choice
from fillgap.scores.base import Calibration
from fillgap.scores.pairwise import Block, PairwiseCalibration, Sample
from fillgap.scores.samples import Modality
from fillgap.scores.sketch import ScoreHistogram
from fillgap.scores.zscore import ON

__all__ = ["QuantileMap"]

Array = NDArray[Any]

#: Evenly spaced, and ever closer to 1: retrieval happens in the upper tail.
_LEVELS: Final = np.unique(
    np.concatenate([np.linspace(0.0, 0.98, 50), 1 - np.logspace(-1.7, -5, 34)])
)


class QuantileMap(PairwiseCalibration):
    """Map each score to the score that has the same quantile on average over all modality pairs.

    Afterwards the sample scores of every (query modality, document modality) have one
    distribution, that of the mean quantile function (the barycentre of optimal transport on the
    line). Between quantiles the map is linear, and beyond them it goes on with slope one, so that
    no two scores become level. It does not fold.

    Parameters
    ----------
    on : {"all", "pseudo-positives"}
        Over which scores of sample queries: all of them, or the best score of each query only.
    after : Calibration, optional
        Applied first, for example `NNN()`.

    References
    ----------
    Quantile normalisation: Bolstad et al. (2003), "A comparison of normalization methods".
    """

    def __init__(self, *, on: str = "all", after: Calibration | None = None) -> None:
        self.on = on
        self.after = after

    @property
    def _affine(self) -> bool:
        return False

    def _check_parameters(self) -> None:
        check_choice(self.on, "on", ON)

    @property
    def _wants_best(self) -> bool:
        return self.on == "pseudo-positives"

    def _add_block(self, sample: Sample, block: Block) -> None:
        if self.on == "all":
            self._histogram(sample).add(block.values)

    def _add_best(self, sample: Sample, best: Array) -> None:
        self._histogram(sample).add(best)

    def _histogram(self, sample: Sample) -> ScoreHistogram:
        key = (sample.query, sample.document)
        histogram: ScoreHistogram = self.sums_.setdefault(key, ScoreHistogram())
        return histogram

    def _solve(self) -> None:
        for (query, document), histogram in self.sums_.items():
            if histogram.total < 2:
                raise InputError(
                    f"scores of {query} queries with {document} documents must be at least 2, got "
                    f"{histogram.total}. Use more sample queries."
                )
            # A level beyond what so many scores can tell would repeat the largest of them.
            levels = np.minimum(_LEVELS, 1 - 0.5 / histogram.total)
            self.fitted_[f"{query}.{document}.knots"] = _rising(histogram.quantiles(levels))
        knots = [array for name, array in self.fitted_.items() if name.endswith(".knots")]
        self.fitted_["target"] = _rising(np.mean(knots, axis=0))

    def _map(self, scores: Array, query: Modality, document: Modality) -> Array:
        knots, target = self._get(query, document, "knots"), self.fitted_["target"]
        inside = np.interp(scores, knots, target)
        return np.asarray(
            inside + np.minimum(scores - knots[0], 0.0) + np.maximum(scores - knots[-1], 0.0)
        )


def _rising(values: Array) -> Array:
    """Return values that rise strictly, by steps far below any difference that matters."""
    return np.asarray(np.maximum.accumulate(values) + 1e-9 * np.arange(len(values)))
