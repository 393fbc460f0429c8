"""What the splits gave each combination, and the ranking of combinations by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap.evaluation.judge import QueryValues
from fillgap.evaluation.statistics import Estimate, holm, paired_permutation_tests, per_image
from fillgap.metrics.intervals import bootstrap_interval
from fillgap.metrics.pool import Values
from fillgap.pair import EmbeddingPair


@dataclass(frozen=True, order=True)
class Combination:
    """Names of an aligner ("raw" for none) and of a calibration or fusion ("none" for neither)."""

    aligner: str = "raw"
    calibration: str = "none"

    def __str__(self) -> str:
        return (
            self.aligner if self.calibration == "none" else f"{self.aligner} + {self.calibration}"
        )


@dataclass
class Tally:
    """What the splits gave each combination."""

    #: By (measure, direction).
    values: dict[Combination, dict[tuple[str, str], QueryValues]] = field(default_factory=dict)
    failures: dict[Combination, str] = field(default_factory=dict)
    n_fit: int = 0  # images in the last split
    n_test: int = 0
    fitted_on: str | None = None  # name of the other data, where there were such

    def keep_place(self, combinations: Iterable[Combination]) -> None:
        """List combinations in this order, in whatever order their values come."""
        for what in combinations:
            self.values.setdefault(what, {})

    def add(self, what: Combination, key: tuple[str, str], rows: Any, values: Any, n: int) -> None:
        """Add values of the queries in `rows`, of `n` in all."""
        self.values.setdefault(what, {}).setdefault(key, QueryValues(n)).add(rows, values)


MEASURES: Final = ("two_sided_ndcg_at_10", "mixed_ndcg_at_10", "ndcg_at_10", "recall_at_1")
#: What the names of exposures begin with.
EXPOSURE: Final = "exposure."


@dataclass(frozen=True, eq=False)
class Line:
    """What one combination reached, by measure: means over images and directions."""

    what: Combination
    estimates: Mapping[str, Estimate]
    changes: Mapping[str, Estimate]  # the same, minus raw on the same queries
    p_values: Mapping[str, float]  # of the changes: paired by image, corrected by Holm's method
    #: Exposure@10 by direction: 1 is fair. Where queries are of several kinds, by modality of what
    #: is seen.
    exposure: Mapping[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Combinations from the best to the worst."""

    data: str
    objective: str  # what is ranked by: two-sided NDCG@10 where there is any, else mixed NDCG@10
    n_images: int  # (or queries) judged in all
    n_fit: int  # images fitted on in each split
    n_test: int  # and tested on
    lines: tuple[Line, ...]
    failures: Mapping[Combination, str]
    about: str  # how it was judged, in words
    #: Of each image (or query) by measure, NaN where it has none; left out of `to_dict`.
    values: Mapping[Combination, Mapping[str, Values]] = field(repr=False)

    @classmethod
    def from_tally(
        cls,
        pair: EmbeddingPair,
        tally: Tally,
        *,
        images: NDArray[np.bool_] | None = None,
        **resampled: int,
    ) -> Leaderboard:
        """Average, put intervals around, and test; by the queries of some images only, if so."""
        part = np.ones(pair.n_images, dtype=bool) if images is None else images
        values = {
            what: {name: values[part] for name, values in image_means(pair, found).items()}
            for what, found in tally.values.items()
        }
        seen = int(np.isfinite(values[Combination()]["mixed_ndcg_at_10"]).sum())
        elsewhere = "" if tally.fitted_on is None else f" of other data ({tally.fitted_on})"
        about = (
            f"In each split {tally.n_fit} images{elsewhere} fitted on and {tally.n_test} others "
            f"tested on, {seen} judged in all."
        )
        return cls.from_values(pair.name, values, tally, about=about, n_judged=seen, **resampled)

    @classmethod
    def from_values(
        cls,
        data: str,
        values: Mapping[Combination, Mapping[str, Values]],
        tally: Tally,
        *,
        about: str,
        n_judged: int,
        n_resamples: int,
        random_state: int,
    ) -> Leaderboard:
        """Rank combinations by one value for each image or query.

        The first measure is ranked by; those named "exposure.WHOSE" are exposures. Of the tally
        failures and the sizes of the splits are taken.
        """
        raw = values[Combination()]
        names = [name for name in raw if not name.startswith(EXPOSURE)]
        seen = [name for name in raw if name.startswith(EXPOSURE)]
        p_values = _p_values(values, names, random_state)
        options = {"n_resamples": n_resamples, "random_state": random_state}
        rivals = values.values()
        means = {
            name: intervals([found[name] for found in rivals], **options) for name in names + seen
        }
        changes = {
            name: intervals([found[name] - raw[name] for found in rivals], **options)
            for name in names
        }
        lines = [
            Line(
                what,
                {name: means[name][i] for name in names},
                {name: changes[name][i] for name in names},
                p_values.get(what, {}),
                {name.removeprefix(EXPOSURE): means[name][i] for name in seen},
            )
            for i, what in enumerate(values)
        ]
        lines.sort(key=lambda line: -line.estimates[names[0]].value)
        return cls(
            data, names[0], n_judged, tally.n_fit, tally.n_test, tuple(lines), tally.failures,
            about, values,
        )  # fmt: skip

    def line(self, what: Combination) -> Line:
        """Return the line of one combination."""
        return next(line for line in self.lines if line.what == what)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            name: getattr(self, name)
            for name in ("data", "objective", "n_images", "n_fit", "n_test", "about")
        } | {
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
        name = f"{EXPOSURE}{direction}" if measure == "exposure_at_10" else measure
        by_measure.setdefault(name, []).append(values)
    ordered: list[str] = [name for name in MEASURES if name in by_measure]
    ordered += [name for name in by_measure if name not in ordered]
    return {name: np.mean(by_measure[name], axis=0) for name in ordered}


def interval(values: Values, *, n_resamples: int, random_state: int) -> Estimate:
    """Return the mean of the values that are there, with its bootstrap interval."""
    return intervals([values], n_resamples=n_resamples, random_state=random_state)[0]


def intervals(rivals: Sequence[Values], *, n_resamples: int, random_state: int) -> list[Estimate]:
    """Return the same for several combinations, which have values for the same images."""
    present = np.isfinite(rivals[0])
    columns = np.column_stack([values[present] for values in rivals])
    bounds = bootstrap_interval(columns, n_resamples=n_resamples, random_state=random_state)
    return [
        Estimate.of(float(mean), float(low), float(high))
        for mean, low, high in zip(columns.mean(axis=0), bounds.low, bounds.high, strict=True)
    ]


def _p_values(
    table: Mapping[Combination, Mapping[str, Values]], names: Sequence[str], random_state: int
) -> dict[Combination, dict[str, float]]:
    """Return p of the change from raw of each measure, corrected for the number of rivals."""
    raw, others = table[Combination()], [what for what in table if what != Combination()]
    corrected: dict[Combination, dict[str, float]] = {what: {} for what in others}
    # The smallest p there can be, times the number of rivals, must be well below .05.
    n_permutations = max(2000, 100 * len(others))
    for measure in names if others else ():
        changes = [table[what][measure] - raw[measure] for what in others]
        filled = np.nan_to_num(np.column_stack(changes))
        p = paired_permutation_tests(filled, n_permutations, random_state)
        for what, value in zip(others, holm(p), strict=True):
            corrected[what][measure] = float(value)
    return corrected
