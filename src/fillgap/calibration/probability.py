"""Calibrations fitted from distributions of scores: quantile maps and probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fillgap.calibration.base import Modality
from fillgap.calibration.pairwise import Block, PairwiseCalibration, Sample, ScoreCalibration
from fillgap.errors import InputError, InputTypeError, as_array, check_choice
from fillgap.linalg import Array

#: Corrected cosines lie within ± 4: twice a cosine, less two mean scores.
_LIMIT: Final = 4.0
_BINS: Final = 2**16
#: Scores counted at a time, so that what is made of them stays in the cache.
_CHUNK: Final = 2**18


class ScoreHistogram:
    """Counts of scores in bins of 1.2e-4; histograms of parts add up to that of the whole.

    The bins get twice as wide as often as it takes to count a score beyond them.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS, dtype=np.int64)
        self.limit = _LIMIT

    def add(self, scores: Array) -> None:
        """Add scores of any shape."""
        flat = scores.ravel()
        for start in range(0, len(flat), _CHUNK):
            chunk = flat[start : start + _CHUNK]
            self._reach(float(max(-chunk.min(), chunk.max())))
            places = chunk + self.limit
            places *= _BINS / (2 * self.limit)
            np.clip(places, 0, _BINS - 1, out=places)
            self.counts += np.bincount(places.astype(np.int32), minlength=_BINS)

    def with_others(self, other: ScoreHistogram) -> tuple[Array, Array, Array]:
        """Return the middles of the bins not empty in both, and the counts of each in them."""
        self._reach(other.limit)
        other._reach(self.limit)
        filled = np.flatnonzero(self.counts + other.counts)
        return self._middles(filled), self.counts[filled], other.counts[filled]

    @property
    def total(self) -> int:
        """Number of scores."""
        return int(self.counts.sum())

    def quantiles(self, levels: Array) -> Array:
        """Return the scores below which these shares of all scores lie."""
        filled = np.flatnonzero(self.counts)
        counts = self.counts[filled]
        upper = np.cumsum(counts)
        return np.interp(levels * upper[-1], upper - 0.5 * counts, self._middles(filled))

    def _middles(self, bins: Array) -> Array:
        return (bins + 0.5) * (2 * self.limit / _BINS) - self.limit

    def _reach(self, score: float) -> None:
        """Make the bins twice as wide until a score of this size lies in one."""
        while self.limit < score < np.inf:
            counts = np.zeros_like(self.counts)
            counts[_BINS // 4 : -_BINS // 4] = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts, self.limit = counts, 2 * self.limit


Histograms: TypeAlias = tuple[ScoreHistogram, ScoreHistogram]

#: Evenly spaced, and ever closer to 1: retrieval happens in the upper tail.
_LEVELS: Final = np.unique(
    np.concatenate([np.linspace(0.0, 0.98, 50), 1 - np.logspace(-1.7, -5, 34)])
)


class QuantileMap(ScoreCalibration):
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

    _affine = False

    def _add(self, key: tuple[Modality, Modality], values: Array) -> None:
        self.sums_.setdefault(key, ScoreHistogram()).add(values)

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
        return _through(scores, knots, target)


def _rising(values: Array) -> Array:
    """Return values that rise strictly, by steps far below any difference that matters."""
    return np.asarray(np.maximum.accumulate(values) + 1e-9 * np.arange(len(values)))


def _through(scores: Array, knots: Array, values: Array) -> Array:
    """Return the line through the values at the knots, with slope one beyond them."""
    below, above = np.minimum(scores - knots[0], 0.0), np.maximum(scores - knots[-1], 0.0)
    return np.asarray(np.interp(scores, knots, values) + below + above)


@dataclass(kw_only=True, eq=False, repr=False)
class RelevanceProbability(PairwiseCalibration):
    """The log-odds that a document of this score is relevant, for each pair of modalities.

    Needs pairs or judgements: `fit(..., relevant=...)`. `calibrate` returns log-odds, which a sum
    can fold into; `probability` returns what they mean. Where documents of one modality were never
    judged for queries of another, such as images for an image, `calibrate` takes them to be as
    relevant as the query's other documents at as many standard deviations from the mean of all
    scores, so that they can be ranked; `probability` promises nothing for them and refuses.

    The probability is that of a document drawn from a collection of the size fitted to: of ten
    times as many documents a tenth as many are relevant, and the log-odds are too high by log 10.

    Parameters
    ----------
    kind : {"logistic", "isotonic"}
        A straight line in the log-odds, which folds, or any rising curve, which needs some hundred
        relevant pairs and does not fold.
    after : Calibration, optional
        Applied first, for example `NNN()`.

    References
    ----------
    Platt (1999), "Probabilistic outputs for support vector machines", with his smoothed targets;
    Zadrozny and Elkan (2002), "Transforming classifier scores into accurate multiclass probability
    estimates", for the isotonic one.
    """

    needs_relevant = True

    kind: str = "logistic"

    @property
    def _affine(self) -> bool:  # type: ignore[override]
        return self.kind == "logistic"

    def probability(
        self, scores: Any, *, query: Modality, document: Modality, documents: Any | None = None
    ) -> Array:
        """Return the probability of relevance, between 0 and 1. Parameters as for `calibrate`.

        Raises
        ------
        InputError
            If no judgement was of these modalities.
        """
        self._check_fitted()
        if f"{query}.{document}.unjudged" in self.fitted_:
            raise InputError(
                f"{query} queries with {document} documents must have been judged for a "
                "probability, got none that were. Fit with such judgements, or rank by calibrate."
            )
        log_odds = self.calibrate(scores, query=query, document=document, documents=documents)
        return np.asarray(1 / (1 + np.exp(-log_odds)))

    def _check_parameters(self) -> None:
        check_choice(self.kind, "kind", ("logistic", "isotonic"))

    def _check(self, sample: Sample) -> None:
        if sample.relevant is not None:
            _checked_pairs(sample)

    def _add_block(self, sample: Sample, block: Block) -> None:
        key = (sample.query, sample.document)
        of_relevant, of_others = self.sums_.setdefault(key, (ScoreHistogram(), ScoreHistogram()))
        marked = np.zeros(block.scores.shape, dtype=bool)
        if sample.relevant is not None:
            pairs = _checked_pairs(sample)
            start, stop = block.first_row, block.first_row + block.scores.shape[1]
            inside = (pairs[:, 1] >= start) & (pairs[:, 1] < stop)
            marked[pairs[inside, 0], pairs[inside, 1] - start] = True
        of_relevant.add(block.scores[marked & block.allowed])
        of_others.add(block.scores[~marked & block.allowed])

    def _solve(self) -> None:
        judged = {key: both for key, both in self.sums_.items() if both[0].total}
        if not judged:
            raise InputError(
                "relevant must name pairs of modalities that are there, got none of them. "
                "Its keys are (query modality, document modality)."
            )
        for (query, document), (of_relevant, of_others) in judged.items():
            name = f"{query}.{document}"
            counts = (of_relevant.total, of_others.total)
            if min(counts) < 2:
                raise InputError(
                    f"{query} queries with {document} documents must have at least 2 relevant "
                    f"pairs and 2 others, got {counts[0]} and {counts[1]}. Pass more judgements."
                )
            fit = _logistic if self.kind == "logistic" else _isotonic
            curve = fit(*of_relevant.with_others(of_others))
            if curve is None:
                tendency = "the contrary" if self.kind == "logistic" else "no such tendency"
                raise InputError(
                    f"relevant documents must score higher than others ({query} to {document}), "
                    f"got {tendency}. Check that the pairs belong to these rows."
                )
            self.fitted_[f"{name}.curve"] = curve
            self.fitted_.pop(f"{name}.unjudged", None)
        for query, document in self.sums_.keys() - judged.keys():
            like = (query, "image" if document == "text" else "text")
            if like in judged:
                curve = self.fitted_[f"{like[0]}.{like[1]}.curve"]
                moved = self._moved(curve, judged[like], self.sums_[query, document])
                self.fitted_[f"{query}.{document}.curve"] = moved
                self.fitted_[f"{query}.{document}.unjudged"] = np.array(1.0)

    def _moved(self, curve: Array, of: Histograms, to: Histograms) -> Array:
        (mean, width), (new_mean, new_width) = (
            _spread(*of_relevant.with_others(of_others)) for of_relevant, of_others in (of, to)
        )
        stretch = width / new_width
        if self.kind == "logistic":
            return np.array([curve[0] * stretch, curve[1] + curve[0] * (mean - stretch * new_mean)])
        return np.array([new_mean + (curve[0] - mean) / stretch, curve[1]])

    def _slope_and_offset(self, query: Modality, document: Modality) -> tuple[float, float]:
        a, b = self._get(query, document, "curve")
        return float(a), float(b)

    def _map(self, scores: Array, query: Modality, document: Modality) -> Array:
        if self.kind == "logistic":
            return super()._map(scores, query, document)
        return _through(scores, *self._get(query, document, "curve"))


def _checked_pairs(sample: Sample) -> NDArray[np.intp]:
    what = f"relevant pairs of {sample.query} queries and {sample.document} documents"
    pairs = as_array(sample.relevant, what)
    if not pairs.size:
        return np.zeros((0, 2), dtype=np.intp)
    if pairs.dtype.kind not in "iu":
        raise InputTypeError(f"{what} must be integers, got {pairs.dtype}. Pass row numbers.")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InputError(
            f"{what} must be of shape (n_pairs, 2), got {pairs.shape}. "
            "Pass a query and a document in each row."
        )
    limits = (len(sample.queries), int(sample.documents.shape[0]))
    if len(pairs) and (pairs.min() < 0 or (pairs.max(axis=0) >= limits).any()):
        raise InputError(
            f"{what} must name queries below {limits[0]} and documents below {limits[1]}, got "
            f"{pairs.min(axis=0).tolist()} to {pairs.max(axis=0).tolist()}. Count rows from 0."
        )
    return pairs.astype(np.intp)


def _spread(scores: Array, relevant: Array, others: Array) -> tuple[float, float]:
    """Return the mean and the standard deviation of all scores."""
    weight = relevant + others
    mean = float(np.average(scores, weights=weight))
    return mean, float(np.sqrt(np.average((scores - mean) ** 2, weights=weight))) or 1.0


def _logistic(scores: Array, relevant: Array, others: Array) -> Array | None:
    """Return slope and offset of the log-odds, by Newton's method on smoothed targets."""
    n, m = relevant.sum(), others.sum()
    yes = relevant * ((n + 1) / (n + 2)) + others / (m + 2)  # expected relevant in each bin
    weight = relevant + others
    center, width = _spread(scores, relevant, others)
    design = np.column_stack([(scores - center) / width, np.ones(len(scores))])
    beta = np.array([1.0, np.log(yes.sum() / (weight.sum() - yes.sum()))])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -500, 500)))
        gradient = design.T @ (weight * p - yes)
        curvature = design.T @ (design * (weight * p * (1 - p))[:, None])
        step = np.linalg.solve(curvature + 1e-9 * np.trace(curvature) * np.eye(2), gradient)
        # Far from the solution the step may overshoot into the flat part of the curve.
        beta -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-10:
            break
    if not beta[0] > 0:
        return None
    slope = beta[0] / width
    return np.array([slope, beta[1] - slope * center])


def _isotonic(scores: Array, relevant: Array, others: Array) -> Array | None:
    """Return knots and the log-odds at them, rising strictly."""
    from sklearn.isotonic import IsotonicRegression

    weight = relevant + others
    share = IsotonicRegression().fit_transform(scores, relevant / weight, sample_weight=weight)
    # Each level stands at the mean score of its block, so that the line between two levels rises.
    _, block = np.unique(share, return_inverse=True)
    mass = np.bincount(block, weight)
    knots = np.bincount(block, weight * scores) / mass
    hits = np.bincount(block, relevant)
    if len(knots) < 2:
        return None
    return np.array([knots, _rising(np.log((hits + 0.5) / (mass - hits + 0.5)))])
