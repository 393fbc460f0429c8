"""The gap opened, closed and over-corrected: what each amount gains and costs, and its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap.aligners.centring import EmbeddingShift
from fillgap.datasets.scenes import ClassPrompts
from fillgap.errors import InputError, check_integer, check_real
from fillgap.evaluation.judge import DIRECTIONS, QueryValues, scan_test_pair, values_of
from fillgap.evaluation.splits import held_out_splits
from fillgap.evaluation.statistics import (
    Estimate,
    estimates,
    holm,
    mean_of_directions,
    paired_permutation_test,
)
from fillgap.evaluation.zero_shot import zero_shot
from fillgap.files import atomic_file, check_target
from fillgap.metrics.geometry import both_moments, gap_angle, gap_vector
from fillgap.metrics.neighbours import hubness
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress, silent

Values = NDArray[np.float64]
Rows = NDArray[np.intp]

#: λ: opening below 0, closing up to ½, where the means are equal, over-correcting beyond.
AMOUNTS: Final = (-0.5, -0.25, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0)

_IN_POOL = ("mixed_ndcg_at_10", "recall_at_1", "exposure_at_10")

#: What is measured at each amount, in the words of tables and figures.
LABELS: Final = {
    "mixed_ndcg_at_10": "mixed NDCG@10",
    "recall_at_1": "recall@1 within the other modality",
    "exposure_at_10": "exposure@10",
    "pair_cosine": "mean pair cosine",
    "zero_shot_top_1": "zero-shot accuracy",
    "hubness": "hubness",
    "gap_angle": "Δθ (degrees)",
}

#: What a larger or smaller gap may serve; each amount is tested against the raw gap.
TESTED: Final = ("mixed_ndcg_at_10", "recall_at_1", "zero_shot_top_1")

_INK, _FAINT = "#26292f", "#d9dce1"
#: Colours that colour-blind readers tell apart (Okabe and Ito), and marks that differ too.
_SERIES: Final = {
    "image_to_text": ("image queries", "#0072b2", "o"),
    "text_to_image": ("text queries", "#d55e00", "s"),
    "mean": ("", "#26292f", "o"),
}


@dataclass(frozen=True, eq=False)
class SweepPoint:
    """What images − λδ and texts + λδ reach on held-out rows.

    By measure and direction, "mean" of both where there are two; intervals are over images.
    `gap_angle` (degrees; negative where the images lie beyond the texts) and `hubness` have one
    value a split: their bounds are the least and the largest.
    """

    amount: float  # λ
    estimates: Mapping[str, Mapping[str, Estimate]]
    changes: Mapping[str, Estimate]  # the mean minus that at λ = 0, on the same queries
    p_values: Mapping[str, float]  # by image, paired, corrected by Holm's method for the amounts

    def mean(self, measure: str) -> Estimate:
        """Return the estimate over both directions."""
        return self.estimates[measure]["mean"]

    @property
    def angle(self) -> float:
        """Δθ in degrees, negative where the gap is over-corrected."""
        return self.mean("gap_angle").value

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "amount": self.amount,
            "estimates": {
                measure: {direction: item.to_dict() for direction, item in directions.items()}
                for measure, directions in self.estimates.items()
            },
            "changes": {measure: item.to_dict() for measure, item in self.changes.items()},
            "p_values": dict(self.p_values),
        }


@dataclass(frozen=True, eq=False)
class GapSweep:
    """How the size of the gap bears on what the embeddings are used for."""

    data: str
    n_images: int
    n_texts: int
    n_features: int
    n_splits: int
    n_fit: int  # images fitted and tested on in each split
    n_test: int
    points: tuple[SweepPoint, ...]  # by λ, ascending; 0 is among them

    @property
    def measures(self) -> tuple[str, ...]:
        """What was measured, in the order of `LABELS`."""
        return tuple(name for name in LABELS if name in self.points[0].estimates)

    @property
    def raw(self) -> SweepPoint:
        """The point at λ = 0: the gap as it is."""
        return next(point for point in self.points if point.amount == 0)

    def best(self, measure: str) -> SweepPoint:
        """Return the point where a measure is largest; of equal ones the nearest to λ = 0."""
        return max(self.points, key=lambda point: (point.mean(measure).value, -abs(point.amount)))

    @property
    def conclusion(self) -> str:
        """Where each use of the embeddings is served best, in one sentence."""
        peaks = [self._peak(measure) for measure in TESTED if measure in self.measures]
        return f"The raw gap is Δθ = {self.raw.angle:.1f}°: {'; '.join(peaks)}."

    def _peak(self, measure: str) -> str:
        """Say where a measure peaks, and whether that may be chance."""
        best = self.best(measure)
        peak = f"{LABELS[measure]} peaks {_stage(best.amount)}"
        value = f"{best.mean(measure).value:.3f}"
        if best is self.raw:
            return f"{peak}, at {value}"
        change, before = best.changes[measure], self.raw.mean(measure).value
        chance = ", which may be chance" if best.p_values[measure] >= 0.05 else ""
        return (
            f"{peak} (λ = {best.amount:g}, Δθ = {best.angle:.1f}°), at {value} instead of "
            f"{before:.3f} ({change.value:+.3f}, 95 % interval {change.low:+.3f} to "
            f"{change.high:+.3f}{chance})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            **vars(self),
            "points": [point.to_dict() for point in self.points],
            "conclusion": self.conclusion,
        }


def _stage(amount: float) -> str:
    """Return what λ does to the gap, in words."""
    if amount < 0:
        return "with the gap opened"
    if amount == 0:
        return "with the gap as it is"
    if amount < 0.5:
        return "with the gap partly closed"
    return "with the gap closed" if amount == 0.5 else "with the gap over-corrected"


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
    found = {amount: _Found(pair) for amount in steps}
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
        points=_points(found, n_resamples, random_state),
    )


class _Found:
    """What the splits gave at one amount: by (measure, direction), and one value a split."""

    def __init__(self, pair: EmbeddingPair) -> None:
        images, texts = np.arange(pair.n_images), np.asarray(pair.image_index)
        single = dict(zip(DIRECTIONS, (images, texts), strict=True))
        # The image of each query, by direction.
        self.groups = {**single, "pairs": texts, "images": images, "mean": images}
        self.queries: dict[tuple[str, str], QueryValues] = {}
        self.scalars: dict[str, list[float]] = {"hubness": [], "gap_angle": []}

    def add(self, measure: str, direction: str, rows: Rows, values: Values) -> None:
        """Add the values of the queries in `rows`."""
        empty = QueryValues(len(self.groups[direction]))
        self.queries.setdefault((measure, direction), empty).add(rows, values)

    def values(self) -> dict[str, dict[str, Values]]:
        """Return the values by direction and measure: of each query, as "mean" of each image."""
        by_measure: dict[str, dict[str, Values]] = {}
        for (measure, direction), sums in self.queries.items():
            by_measure.setdefault(measure, {})[direction] = sums.mean()
        n_images = len(self.groups["images"])
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
        found.scalars["hubness"].append(hubness(scan, k=10))
        moments = both_moments(moved)
        along = gap_vector(moments) @ (self.moments.x.mean - self.moments.y.mean)
        # Negative where the centroids have changed places.
        angle = gap_angle(moments) if along >= 0 else -gap_angle(moments)
        found.scalars["gap_angle"].append(angle)


def _points(
    found: Mapping[float, _Found], n_resamples: int, random_state: int
) -> tuple[SweepPoint, ...]:
    """Average, put intervals around, and test against λ = 0."""
    values = {amount: item.values() for amount, item in found.items()}
    means = {amount: by_direction["mean"] for amount, by_direction in values.items()}
    changes = {
        amount: {name: item - means[0.0][name] for name, item in table.items()}
        for amount, table in means.items()
        if amount
    }
    p_values: dict[float, dict[str, float]] = {amount: {} for amount in found}
    for measure in TESTED:
        if measure in means[0.0] and changes:
            of_each = [change[measure] for change in changes.values()]
            p = [
                paired_permutation_test(change[np.isfinite(change)], random_state=random_state)
                for change in of_each
            ]
            for amount, value in zip(changes, holm(p), strict=True):
                p_values[amount][measure] = float(value)

    def estimated(table: Mapping[str, Values], direction: str) -> dict[str, Estimate]:
        of = found[0.0].groups[direction]
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
        change = estimated(changes[amount], "mean") if amount else {}
        points.append(SweepPoint(amount, nested, change, p_values[amount]))
    return tuple(points)


def check_figure(path: str | Path, *, overwrite: bool) -> Path:
    """Return `path` if a figure may be written there: a name that `check_target` takes, in .svg."""
    if Path(path).suffix.lower() != ".svg":
        raise InputError(
            f"the figure must be a file that ends in .svg, got {path}. "
            "Write SVG, and convert it where another format is needed."
        )
    return check_target(path, overwrite=overwrite)


def write_sweep_figure(sweep: GapSweep, path: str | Path) -> None:
    """Write the figure as SVG: one panel a measure, Δθ from opened on the left to beyond.

    Bands are the intervals of the estimates. Equal sweeps give equal files; a file that is there
    is replaced only when the figure is complete.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    check_figure(path, overwrite=True)  # before the second that drawing takes
    tested = f"{sweep.n_test} held-out images in each of {sweep.n_splits} splits"
    title = f"{sweep.data}: the gap opened, closed (dashed line) and over-corrected; {tested}"
    measures = [name for name in sweep.measures if name != "gap_angle"]
    rows = (len(measures) + 2) // 3
    figure = Figure(figsize=(10.5, 3.0 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, 3, sharex=True, squeeze=False).ravel()
    for axes, measure in zip(panels, measures, strict=False):
        _draw_panel(axes, sweep, measure)
    for axes in panels[len(measures) :]:
        axes.axis("off")
    for axes in panels[max(len(measures) - 3, 0) : len(measures)]:
        axes.set_xlabel("Δθ, degrees (below 0: over-corrected)", color=_INK, fontsize=9.5)
        axes.tick_params(labelbottom=True)
    panels[0].invert_xaxis()
    figure.suptitle(title, color=_INK, fontsize=11, x=0.01, ha="left")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=9.5,
        labelcolor=_INK,
    )  # fmt: skip
    plain = rc_context({"svg.fonttype": "none", "svg.hashsalt": "fillgap"})
    with atomic_file(path) as temporary, plain:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Title": title})


def _draw_panel(axes: Any, sweep: GapSweep, measure: str) -> None:
    """Draw one measure over Δθ, in both directions where it has them."""
    points = sorted(sweep.points, key=lambda point: point.angle)
    angles = [point.angle for point in points]
    directions = [name for name in points[0].estimates[measure] if name != "mean"] or ["mean"]
    for direction in directions:
        label, colour, mark = _SERIES[direction]
        items = [point.estimates[measure][direction] for point in points]
        low, high = [item.low for item in items], [item.high for item in items]
        axes.fill_between(angles, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(
            angles, [item.value for item in items], color=colour, marker=mark, markersize=3.4,
            linewidth=1.4, label=label or "_unnamed",
        )  # fmt: skip
    if measure == "exposure_at_10":  # 1 is fair
        axes.axhline(1.0, color=_INK, linewidth=0.8, linestyle=":")
    axes.axvline(0, color=_INK, linewidth=0.8, linestyle="--")
    axes.axvline(sweep.raw.angle, color="#009e73", linewidth=1.2, label="the gap as it is (λ = 0)")
    axes.set_title(LABELS[measure], loc="left", color=_INK, fontsize=10)
    axes.tick_params(colors=_INK, labelsize=9, length=3)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=_INK, linewidth=0.7)
