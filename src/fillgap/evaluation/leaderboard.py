"""All combinations in one table: means over images, intervals, and paired tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.combine import Combination, Tally
from fillgap.evaluation.estimates import Estimate, per_image
from fillgap.evaluation.judge import QueryValues
from fillgap.evaluation.significance import holm, paired_permutation_test
from fillgap.metrics.intervals import bootstrap_interval

__all__ = ["Leaderboard", "Line", "image_means", "interval"]

Values = NDArray[np.float64]
MEASURES: Final = ("two_sided_ndcg_at_10", "mixed_ndcg_at_10", "recall_at_1")
DIRECTIONS: Final = ("image_to_text", "text_to_image")


@dataclass(frozen=True, eq=False)
class Line:
    """What one combination reached.

    Attributes
    ----------
    what : Combination
    estimates : mapping from measure to Estimate
        Means over images and directions.
    changes : mapping from measure to Estimate
        The same, minus raw on the same queries.
    p_values : mapping from measure to float
        Of the changes: paired permutation tests by image, corrected by Holm's method.
    exposure : mapping from direction to Estimate
        Exposure@10: 1 is fair.
    """

    what: Combination
    estimates: Mapping[str, Estimate]
    changes: Mapping[str, Estimate]
    p_values: Mapping[str, float]
    exposure: Mapping[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Combinations from the best to the worst.

    Attributes
    ----------
    data : str
        Name of the data.
    objective : str
        What is ranked by: two-sided NDCG@10 where there is any, mixed NDCG@10 otherwise.
    n_images, n_fit, n_test : int
        Images judged in all, and fitted and tested on in each split.
    lines : tuple of Line
    failures : mapping from Combination to str
    """

    data: str
    objective: str
    n_images: int
    n_fit: int
    n_test: int
    lines: tuple[Line, ...]
    failures: Mapping[Combination, str]

    @classmethod
    def from_tally(
        cls,
        pair: EmbeddingPair,
        tally: Tally,
        *,
        images: NDArray[np.bool_] | None = None,
        n_resamples: int = 1000,
        random_state: int = 0,
    ) -> Leaderboard:
        """Average, put intervals around, and test.

        Parameters
        ----------
        pair : EmbeddingPair
        tally : Tally
        images : array of bool of shape (n_images,), optional
            Count the queries of these images only.
        n_resamples, random_state
            Of the bootstrap and of the tests.
        """
        part = np.ones(pair.n_images, dtype=bool) if images is None else images
        table = {
            what: {name: values[part] for name, values in image_means(pair, found).items()}
            for what, found in tally.values.items()
        }
        raw = table[Combination()]
        p_values = _p_values(table, raw, random_state)

        def estimate(values: Values) -> Estimate:
            return interval(values, n_resamples=n_resamples, random_state=random_state)

        lines = [
            Line(
                what,
                {name: estimate(found[name]) for name in MEASURES if name in found},
                {name: estimate(found[name] - raw[name]) for name in MEASURES if name in found},
                p_values.get(what, {}),
                {side: estimate(found[f"exposure.{side}"]) for side in DIRECTIONS},
            )
            for what, found in table.items()
        ]
        objective = next(name for name in MEASURES if name in raw)
        lines.sort(key=lambda line: -line.estimates[objective].value)
        seen = int(np.isfinite(raw["mixed_ndcg_at_10"]).sum())
        return cls(
            pair.name, objective, seen, tally.n_fit, tally.n_test, tuple(lines), tally.failures
        )

    def line(self, what: Combination) -> Line:
        """Return the line of one combination."""
        return next(line for line in self.lines if line.what == what)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "data": self.data,
            "objective": self.objective,
            "n_images": self.n_images,
            "n_fit": self.n_fit,
            "n_test": self.n_test,
            "lines": [line.to_dict() for line in self.lines],
            "failures": {str(what): reason for what, reason in self.failures.items()},
        }


def image_means(
    pair: EmbeddingPair, found: Mapping[tuple[str, str], QueryValues]
) -> dict[str, Values]:
    """Return, for each measure, the mean over each image's queries and over directions.

    Exposure is kept by direction, as "exposure.image_to_text".
    """
    index, n = np.asarray(pair.image_index), pair.n_images
    by_measure: dict[str, list[Values]] = {}
    for (measure, direction), sums in found.items():
        groups = np.arange(n) if direction == "image_to_text" else index
        values = per_image(sums.mean(), groups, n)
        name = f"exposure.{direction}" if measure == "exposure_at_10" else measure
        by_measure.setdefault(name, []).append(values)
    return {name: np.mean(parts, axis=0) for name, parts in by_measure.items()}


def interval(values: Values, *, n_resamples: int, random_state: int) -> Estimate:
    """Return the mean of the values that are there, with its bootstrap interval."""
    present = values[np.isfinite(values)]
    bounds = bootstrap_interval(present, n_resamples=n_resamples, random_state=random_state)
    return Estimate(float(present.mean()), float(bounds.low[0]), float(bounds.high[0]))


def _p_values(
    table: Mapping[Combination, Mapping[str, Values]],
    raw: Mapping[str, Values],
    random_state: int,
) -> dict[Combination, dict[str, float]]:
    others = [what for what in table if what != Combination()]
    corrected: dict[Combination, dict[str, float]] = {what: {} for what in others}
    for measure in MEASURES:
        if measure not in raw or not others:
            continue
        p = []
        for what in others:
            change = table[what][measure] - raw[measure]
            change = change[np.isfinite(change)]
            p.append(
                paired_permutation_test(change, n_permutations=2000, random_state=random_state)
            )
        for what, value in zip(others, holm(p), strict=True):
            corrected[what][measure] = float(value)
    return corrected
