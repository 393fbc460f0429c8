"""How the size of the gap bears on performance: from a wider gap over a closed one and beyond.

Publications disagree on whether a smaller gap serves. Here both modalities are moved along the gap
by a range of amounts, and everything is measured on images that the gap was not estimated from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_integer, check_real
from fillgap._progress import Progress, silent
from fillgap.aligners import EmbeddingShift
from fillgap.datasets import ClassPrompts
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation import (
    Estimate,
    held_out_splits,
    holm,
    paired_permutation_test,
    zero_shot,
)
from fillgap.evaluation.estimates import estimates, mean_of_directions
from fillgap.evaluation.judge import DIRECTIONS, QueryValues, scan_test_pair, values_of
from fillgap.experiments.gap_sweep_results import TESTED, GapSweep, SweepPoint
from fillgap.metrics import gap_angle, gap_vector, hubness
from fillgap.metrics.sums import both_moments

__all__ = ["AMOUNTS", "GapSweep", "SweepPoint", "sweep_gap"]

Values = NDArray[np.float64]
Rows = NDArray[np.intp]

#: λ: opening below 0, closing up to ½, where the means are equal, over-correcting beyond.
AMOUNTS: Final = (-0.5, -0.25, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0)

_IN_POOL = ("mixed_ndcg_at_10", "recall_at_1", "exposure_at_10")


def sweep_gap(
    pair: EmbeddingPair,
    *,
    amounts: Sequence[float] = AMOUNTS,
    prompts: ClassPrompts | None = None,
    n_splits: int = 5,
    n_resamples: int = 1000,
    random_state: int = 0,
    progress: Progress | None = None,
) -> GapSweep:
    """Move images to x − λδ and texts to y + λδ for a range of λ, and measure what that does.

    δ = μ_x − μ_y is estimated on the images fitted on and their texts, everything else on the
    others; rows are scaled to length one afterwards.

    Parameters
    ----------
    pair : EmbeddingPair
        Paired; with `labels` where there are prompts.
    amounts : sequence of float
        λ: 0 leaves the gap, ½ makes the means equal, 1 exchanges them, below 0 opens the gap. 0 is
        added where it is missing: all others are compared with it.
    prompts : ClassPrompts, optional
        For zero-shot accuracy; they move as the texts do.
    n_splits : int
        How many held-out splits.
    n_resamples : int
        Bootstrap resamples over images.
    random_state : int
        Seed of splits, resamples and tests.
    progress : callable, optional
        Called as progress(done, total, what).

    Returns
    -------
    GapSweep

    Raises
    ------
    InputError, InputTypeError
        If the sets are unpaired or too small, an amount is no finite number, or prompts come
        without the labels of the images.

    References
    ----------
    The shift: Liang et al., "Mind the Gap" (arXiv:2203.02053), section 5. The question: DG
    (arXiv:2510.03268).
    """
    steps = sorted({0.0, *(check_real(amount, "an amount") for amount in amounts)})
    check_integer(n_resamples, "n_resamples", low=100)
    if prompts is not None and pair.labels is None:
        raise InputError(
            "labels of the images must be given with class prompts, got none. "
            "Pass them, or leave out the prompts."
        )
    report = progress or silent
    splits = list(held_out_splits(pair, n_splits=n_splits, random_state=random_state))
    groups = _groups(pair)
    found = {amount: _Found(groups) for amount in steps}
    for number, rows in enumerate(splits):
        split = _Split(pair, prompts, *rows)
        for place, amount in enumerate(steps):
            report(number * len(steps) + place, len(splits) * len(steps), f"λ = {amount:g}")
            split.judge(amount, found[amount])
    report(len(splits) * len(steps), len(splits) * len(steps), "done")
    return GapSweep(
        data=pair.name,
        n_images=pair.n_images,
        n_texts=pair.n_texts,
        n_features=pair.n_features,
        n_splits=len(splits),
        n_fit=len(splits[0][0]),
        n_test=len(splits[0][1]),
        points=_points(pair, found, n_resamples, random_state),
    )


class _Found:
    """What the splits gave at one amount: by (measure, direction), and one value a split."""

    def __init__(self, groups: Mapping[str, Rows]) -> None:
        self.groups = groups
        self.queries: dict[tuple[str, str], QueryValues] = {}
        self.scalars: dict[str, list[float]] = {}

    def add(self, measure: str, direction: str, rows: Rows, values: Values) -> None:
        """Add the values of the queries in `rows`."""
        empty = QueryValues(len(self.groups[direction]))
        self.queries.setdefault((measure, direction), empty).add(rows, values)

    def values(self, n_images: int) -> dict[str, dict[str, Values]]:
        """Return the values by direction and measure: of each query, as "mean" of each image."""
        by_measure: dict[str, dict[str, Values]] = {}
        for (measure, direction), sums in self.queries.items():
            by_measure.setdefault(measure, {})[direction] = sums.mean()
        means = {
            measure: mean_of_directions(directions, self.groups, n_images)
            for measure, directions in by_measure.items()
        }
        single = {
            name: {measure: by_measure[measure][name] for measure in _IN_POOL}
            for name in DIRECTIONS
        }
        return {**single, "mean": means}


class _Split:
    """One split: the gap of the one part, and what moving along it does to the other."""

    def __init__(
        self, pair: EmbeddingPair, prompts: ClassPrompts | None, train_rows: Rows, test_rows: Rows
    ) -> None:
        train, self.test = pair.take_images(train_rows), pair.take_images(test_rows)
        self.moments = EmbeddingShift().fit(train.images, train.texts).moments_
        self.images = test_rows
        self.texts = np.flatnonzero(np.isin(np.asarray(pair.image_index), test_rows))
        self.prompts = prompts
        self.raw_scan = scan_test_pair(self.test)

    def judge(self, amount: float, found: _Found) -> None:
        """Measure the held-out part with the gap moved by `amount`."""
        shift = EmbeddingShift(amount=2 * amount).fit_moments(self.moments)
        moved = self.test.with_vectors(*shift.transform_pair(self.test.images, self.test.texts))
        scan = scan_test_pair(moved)
        values = values_of(scan, self.raw_scan)
        for measure in _IN_POOL:
            for direction, rows in zip(DIRECTIONS, (self.images, self.texts), strict=True):
                found.add(measure, direction, rows, values[measure, direction])
        cosines = np.asarray(scan.text_queries.pair_similarity, dtype=np.float64)
        found.add("pair_cosine", "pairs", self.texts, cosines)
        prompts, labels = self.prompts, self.test.labels
        if prompts is not None and labels is not None:
            classified = zero_shot(
                self.test.images, labels, prompts.texts, prompts.labels,
                aligner=shift, k=1, n_resamples=2,  # the interval is over all splits, below
            )  # fmt: skip
            found.add("zero_shot_top_1", "images", self.images, classified.correct[1])
        found.scalars.setdefault("hubness", []).append(hubness(scan, k=10))
        found.scalars.setdefault("gap_angle", []).append(self._signed_angle(moved))

    def _signed_angle(self, moved: EmbeddingPair) -> float:
        """Return the gap angle, negative where the centroids have changed places."""
        moments = both_moments(moved)
        along = gap_vector(moments) @ (self.moments.x.mean - self.moments.y.mean)
        return gap_angle(moments) if along >= 0 else -gap_angle(moments)


def _groups(pair: EmbeddingPair) -> dict[str, Rows]:
    """Return the image of each query, by direction."""
    images, texts = np.arange(pair.n_images), np.asarray(pair.image_index)
    single = dict(zip(DIRECTIONS, (images, texts), strict=True))
    return {**single, "pairs": texts, "images": images, "mean": images}


def _points(
    pair: EmbeddingPair, found: Mapping[float, _Found], n_resamples: int, random_state: int
) -> tuple[SweepPoint, ...]:
    """Average, put intervals around, and test against λ = 0."""
    values = {amount: item.values(pair.n_images) for amount, item in found.items()}
    means = {amount: by_direction["mean"] for amount, by_direction in values.items()}
    p_values = _p_values(means, random_state)
    groups = _groups(pair)

    def estimated(table: Mapping[str, Values], direction: str) -> dict[str, Estimate]:
        of = groups[direction]
        return estimates(table, of, n_resamples=n_resamples, random_state=random_state)

    points = []
    for amount, by_direction in values.items():
        nested: dict[str, dict[str, Estimate]] = {}
        for direction, table in by_direction.items():
            for measure, item in estimated(table, direction).items():
                nested.setdefault(measure, {})[direction] = item
        for measure, scalars in found[amount].scalars.items():
            average = Estimate(float(np.mean(scalars)), min(scalars), max(scalars))
            nested[measure] = {"mean": average}
        change = {name: item - means[0.0][name] for name, item in means[amount].items()}
        changes = estimated(change, "mean") if amount else {}
        points.append(SweepPoint(amount, nested, changes, p_values.get(amount, {})))
    return tuple(points)


def _p_values(
    means: Mapping[float, Mapping[str, Values]], random_state: int
) -> dict[float, dict[str, float]]:
    """Test each amount against λ = 0, image by image, corrected for the number of amounts."""
    others = [amount for amount in means if amount]
    found: dict[float, dict[str, float]] = {amount: {} for amount in others}
    for measure in TESTED:
        if measure not in means[0.0] or not others:
            continue
        changes = [means[amount][measure] - means[0.0][measure] for amount in others]
        p = [
            paired_permutation_test(change[np.isfinite(change)], random_state=random_state)
            for change in changes
        ]
        for amount, value in zip(others, holm(p), strict=True):
            found[amount][measure] = float(value)
    return found
