"""Which aligner to use, what it gains and costs, or to leave the embeddings as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fillgap.aligners.base import Aligner
from fillgap.aligners.methods import METHODS, make_aligner, method_name
from fillgap.errors import check_integer, check_random_state, check_real
from fillgap.evaluation.judge import (
    DIRECTIONS,
    Cell,
    Given,
    JudgeCell,
    Judged,
    Mapper,
    QueryValues,
    Result,
    draw_two_sided,
    forget,
)
from fillgap.evaluation.splits import check_rows, held_out_splits, n_tested
from fillgap.evaluation.statistics import (
    Estimate,
    estimates,
    holm,
    mean_of_directions,
    paired_permutation_test,
)
from fillgap.metrics.pool import Values
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress, silent

#: Name of the embeddings as they are.
RAW: Final = "raw"
#: Outside of this a mixed score can be had by always showing one modality first.
FAIR_EXPOSURE: Final = (0.8, 1.25)
#: What advice may be given by, the first that was measured.
LABELS: Final = {
    "two_sided_ndcg_at_10": "two-sided NDCG@10",
    "mixed_ndcg_at_10": "mixed NDCG@10",
}
#: Whose exposure is how large.
SEEN: Final = {
    "image_to_text": "image queries see {} times the other modality's fair share",
    "text_to_image": "text queries see {} times the other modality's fair share",
}
#: What is tested against raw, each with Holm's correction over the methods.
TESTED: Final = (*LABELS, "recall_at_1")


@dataclass(frozen=True)
class Recommendation:
    """What to do, and why."""

    method: str | None  # None means to leave the embeddings as they are
    objective: str  # what was ranked by: a key of `LABELS`
    sentence: str  # the advice with its numbers
    passed_over: Mapping[str, str]  # methods that scored higher, and why they were not chosen


def decide(results: Mapping[str, MethodResult], *, max_loss: float) -> Recommendation:
    """Choose the best method that is fair in both directions, costs little, and surely gains.

    `max_loss` bounds the loss of recall@1 among the other modality alone, averaged over directions.
    """
    raw = results[RAW]
    objective = next(name for name in LABELS if name in raw.estimates)

    def score(name: str) -> float:
        return results[name].estimates[objective]["mean"].value

    passed_over: dict[str, str] = {}
    for name in sorted((name for name in results if name != RAW), key=score, reverse=True):
        result = results[name]
        exposure = result.estimates["exposure_at_10"]
        reason = objection(
            objective,
            result.changes[objective]["mean"],
            p_value=result.p_values[objective],
            exposure={direction: exposure[direction] for direction in DIRECTIONS},
            loss=-result.changes["recall_at_1"]["mean"].value,
            max_loss=max_loss,
        )
        if reason is None:
            recall = result.estimates["recall_at_1"]["mean"].value
            sentence = (
                f"Use {name}: {LABELS[objective]} goes from {score(RAW):.2f} to {score(name):.2f} "
                f"({result.changes[objective]['mean'].signed}), and recall@1 within the other "
                f"modality to {recall:.2f} ({result.changes['recall_at_1']['mean'].signed})."
            )
            return Recommendation(name, objective, sentence, passed_over)
        passed_over[name] = reason
    why = "no method could run on these data."
    if passed_over:
        name, reason = next(iter(passed_over.items()))
        others = len(passed_over) - 1
        rest = f"; {others} more methods fail one of the conditions too" if others else ""
        why = f"{name} scores highest, but {reason}{rest} (max_loss is {max_loss:g})."
    return Recommendation(None, objective, f"Leave the embeddings as they are: {why}", passed_over)


def objection(
    objective: str,
    gain: Estimate,
    *,
    p_value: float,
    exposure: Mapping[str, Estimate],
    loss: float,
    max_loss: float,
    tell_p: bool = False,
) -> str | None:
    """Return why something is not to be recommended, if so."""
    if gain.low <= 0 or p_value >= 0.05:
        p = f"p = {p_value:.2g}, corrected for the number of rivals; "
        p = p if tell_p and gain.low > 0 else ""
        return f"its gain in {LABELS[objective]} may be chance ({p}{gain.signed})"
    low, high = FAIR_EXPOSURE
    for whose, seen in exposure.items():
        if not low <= seen.value <= high:
            return f"{SEEN[whose].format(f'{seen.value:.2f}')}, outside {low:g} to {high:g}"
    if loss > max_loss:
        return (
            f"it loses {loss:.3f} of recall@1 within the other modality, "
            f"more than max_loss = {max_loss:g}"
        )
    return None


#: Estimates by measure and direction.
Nested: TypeAlias = Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What one method reached on held-out rows.

    Estimates are by measure and direction: "image_to_text", "text_to_image" and "mean"; for
    two-sided search the shares of images in the pool, and "mean".
    """

    estimates: Nested
    changes: Nested  # the same, minus raw on the same queries; empty for raw itself
    #: By measure, of the change of the mean over directions: paired permutation tests by image
    #: against raw, corrected by Holm's method for the number of methods.
    p_values: Mapping[str, float]
    scalars: Mapping[str, float]  # how the pool of the first split clusters, see `cluster_mixing`
    mixing: float  # mean of iLISI and of how fair the exposure is in each direction, min(e, 1/e)
    #: Mean of recall@1 among the other modality relative to raw (at most 1) and of the share of
    #: neighbours kept within each modality.
    conservation: float
    notes: tuple[str, ...]  # what the fits remarked

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            **vars(self),
            "estimates": _plain(self.estimates),
            "changes": _plain(self.changes),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """Aligners against raw embeddings on held-out rows.

    Attributes
    ----------
    data : str
        Name of the data.
    n_images, n_texts, n_features : int
        Of the whole data.
    n_splits, n_fit, n_test : int
        How many splits, and images fitted and tested on in each.
    max_loss : float
        Largest loss of recall@1 that a recommendation may cost.
    results : mapping from method to MethodResult
        "raw" first.
    failures : mapping from method to str
        Methods that cannot run on these data, with the reason.
    recommendation : Recommendation
    """

    data: str
    n_images: int
    n_texts: int
    n_features: int
    n_splits: int
    n_fit: int
    n_test: int
    max_loss: float
    results: Mapping[str, MethodResult]
    failures: Mapping[str, str]
    recommendation: Recommendation

    @property
    def two_sided(self) -> bool:
        """Whether images had several texts, so that two-sided search could be judged."""
        return "two_sided_ndcg_at_10" in self.results[RAW].estimates

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        plain = {name: value for name, value in vars(self).items() if not hasattr(value, "items")}
        return {
            **plain,
            "two_sided": self.two_sided,
            "recommendation": vars(self.recommendation) | {},
            "results": {name: result.to_dict() for name, result in self.results.items()},
            "failures": dict(self.failures),
        }


def _plain(found: Nested) -> dict[str, Any]:
    return {
        measure: {direction: item.to_dict() for direction, item in directions.items()}
        for measure, directions in found.items()
    }


def summarise(
    pair: EmbeddingPair,
    collected: Mapping[str, Collected],
    failures: Mapping[str, str],
    *,
    n_splits: int,
    n_fit: int,
    n_test: int,
    max_loss: float,
    n_resamples: int,
    random_state: int,
) -> Comparison:
    """Average, put intervals around, test, and decide."""
    tables = {name: _Table(pair, found) for name, found in collected.items()}
    p_values = _p_values(tables, random_state)

    def nested(table: _Table) -> dict[str, dict[str, Estimate]]:
        return table.estimates(n_resamples=n_resamples, random_state=random_state)

    raw = nested(tables[RAW])
    results: dict[str, MethodResult] = {}
    for name, found in collected.items():
        estimated = raw if name == RAW else nested(tables[name])
        results[name] = MethodResult(
            estimates=estimated,
            changes={} if name == RAW else nested(tables[name].minus(tables[RAW])),
            p_values=p_values.get(name, {}),
            scalars=dict(found.scalars),
            mixing=_mixing(estimated),
            conservation=_conservation(estimated, raw),
            notes=tuple(found.notes),
        )
    return Comparison(
        data=pair.name,
        n_images=pair.n_images,
        n_texts=pair.n_texts,
        n_features=pair.n_features,
        n_splits=n_splits,
        n_fit=n_fit,
        n_test=n_test,
        max_loss=max_loss,
        results=results,
        failures=dict(failures),
        recommendation=decide(results, max_loss=max_loss),
    )


class _Table:
    """Values of each query, averaged over splits, by direction and measure.

    The direction "mean" holds, for each image, the mean over all directions of a measure.
    """

    def __init__(self, pair: EmbeddingPair, found: Collected) -> None:
        index, images = np.asarray(pair.image_index), np.arange(pair.n_images)
        self.values: dict[str, dict[str, Values]] = {}
        self.groups: dict[str, NDArray[np.intp]] = {}
        by_measure: dict[str, dict[str, Values]] = {}
        for (measure, direction), sums in found.queries.items():
            values = sums.mean()
            self.values.setdefault(direction, {})[measure] = values
            by_measure.setdefault(measure, {})[direction] = values
            self.groups[direction] = images if direction == "image_to_text" else index
        self.values["mean"] = {
            measure: mean_of_directions(directions, self.groups, pair.n_images)
            for measure, directions in by_measure.items()
        }
        self.groups["mean"] = images

    def minus(self, other: _Table) -> _Table:
        """Return the change from `other`, query by query."""
        change = copy(self)
        change.values = {
            direction: {name: item - other.values[direction][name] for name, item in part.items()}
            for direction, part in self.values.items()
        }
        return change

    def estimates(self, *, n_resamples: int, random_state: int) -> dict[str, dict[str, Estimate]]:
        """Return the estimates by measure and direction."""
        nested: dict[str, dict[str, Estimate]] = {}
        for direction, values in self.values.items():
            means = estimates(
                values, self.groups[direction], n_resamples=n_resamples, random_state=random_state
            )
            for measure, item in means.items():
                nested.setdefault(measure, {})[direction] = item
        return nested


def _p_values(tables: Mapping[str, _Table], random_state: int) -> dict[str, dict[str, float]]:
    """Test the change of each method in the decisive measures, image by image."""
    methods = [name for name in tables if name != RAW]
    corrected: dict[str, dict[str, float]] = {name: {} for name in methods}
    for measure in TESTED:
        raw = tables[RAW].values["mean"].get(measure)
        if raw is None or not methods:
            continue
        changes = [tables[name].values["mean"][measure] - raw for name in methods]
        p = [
            paired_permutation_test(change[np.isfinite(change)], random_state=random_state)
            for change in changes
        ]
        for name, value in zip(methods, holm(p), strict=True):
            corrected[name][measure] = float(value)
    return corrected


def _mixing(estimated: Nested) -> float:
    exposures = [estimated["exposure_at_10"][side].value for side in DIRECTIONS]
    fairness = [min(e, 1 / e) if e > 0 else 0.0 for e in exposures]
    return (float(np.mean(fairness)) + estimated["ilisi"]["mean"].value) / 2


def _conservation(estimated: Nested, raw: Nested) -> float:
    before, after = (item["recall_at_1"]["mean"].value for item in (raw, estimated))
    recall = min(after / before, 1.0) if before > 0 else 1.0
    return (recall + estimated["neighbourhood_preservation"]["mean"].value) / 2


class Collected:
    """What the splits gave one method."""

    def __init__(self) -> None:
        self.queries: dict[tuple[str, str], QueryValues] = {}  # by (measure, direction)
        self.scalars: dict[str, float] = {}  # of clustering, from the first split
        self.notes: list[str] = []  # what fits remarked, once each

    def absorb(self, judged: Judged, notes: Sequence[str], pair: EmbeddingPair) -> None:
        """Add what one split gave."""
        for (measure, direction), rows, values in judged.values:
            n = pair.n_images if direction == "image_to_text" else pair.n_texts
            self.queries.setdefault((measure, direction), QueryValues(n)).add(rows, values)
        self.scalars = self.scalars or judged.scalars
        self.notes.extend(note for note in notes if note not in self.notes)


def compare(
    pair: EmbeddingPair,
    aligners: Sequence[str | Aligner] | Mapping[str, Aligner] | None = None,
    *,
    n_splits: int = 5,
    test_size: float = 0.5,
    max_test: int = 2000,
    max_loss: float = 0.02,
    n_resamples: int = 1000,
    executor: Mapper | None = None,
    source: Callable[[], EmbeddingPair] | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Fit aligners on one part of the images, judge them on the other, and repeat.

    Parameters
    ----------
    pair : EmbeddingPair
        Paired. The texts of an image are always on the side of their image.
    aligners : sequence of str or Aligner, or mapping from name to Aligner, optional
        What to compare with the raw embeddings; left out, every method with its defaults.
    n_splits, test_size, max_test
        As for `held_out_splits`.
    max_loss : float
        Largest loss of recall@1 among the other modality alone that a recommendation may cost.
    n_resamples : int
        Bootstrap resamples over images.
    executor : executor of `fillgap.distributed`, optional
        Who fits and judges each method on each split; left out, this process.
    source : callable, optional
        Called without arguments by workers to read the same pair themselves, the same object each
        time; left out, the pair travels with each item.
    random_state : int
        Seed of splits, draws and resamples.
    progress : callable, optional
        Called as progress(fits done, fits in all, method).

    Returns
    -------
    Comparison
        Results are averaged for each query over the splits, then over queries; intervals are over
        images, and tests are paired by image against the raw embeddings.

    Raises
    ------
    InputError
        If the sets are unpaired or too small to be split. A method that cannot run on these data
        raises nothing: it is listed in `Comparison.failures` with the reason.
    """
    check_real(max_loss, "max_loss", low=0)
    check_integer(n_resamples, "n_resamples", low=100)
    check_rows(pair)
    report = progress or silent
    methods = named_aligners(aligners)
    collected = {name: Collected() for name in (RAW, *methods)}
    failures: dict[str, str] = {}
    rng = check_random_state(random_state)
    drawn = {"n_splits": n_splits, "max_test": max_test, "random_state": random_state}
    splits = list(held_out_splits(pair, test_size=test_size, **drawn))
    cells = []
    for number, (train, test) in enumerate(splits):
        pools = draw_two_sided(pair.take_images(test), rng)
        for name, aligner in {RAW: None, **methods}.items():
            cells.append(Cell(name, aligner, number, train, test, pools))
    judge = JudgeCell(source or Given(pair))
    total = len(splits) * len(methods)
    try:
        for result in _judged(judge, cells, executor, report, total):
            name = result.name
            if result.failure is not None:
                failures.setdefault(name, result.failure)
                continue
            collected[name].absorb(result.plain, result.notes, pair)
    finally:
        forget()
    report(total, total, "done")
    kept = {name: found for name, found in collected.items() if name not in failures}
    return summarise(
        pair,
        kept,
        failures,
        n_splits=n_splits,
        n_fit=len(splits[0][0]),
        n_test=len(splits[0][1]),
        max_loss=max_loss,
        n_resamples=n_resamples,
        random_state=random_state,
    )


def plan_compare(
    n_images: int,
    aligners: Sequence[str | Aligner] | Mapping[str, Aligner] | None = None,
    *,
    n_splits: int = 5,
    test_size: float = 0.5,
    max_test: int = 2000,
) -> dict[str, int]:
    """Return what `compare` would fit and judge; sizes are about, where some images are equal."""
    n_methods = len(named_aligners(aligners))
    n_test = n_tested(n_images, n_splits, test_size, max_test)
    return {
        "n_images": n_images,
        "n_methods": n_methods,
        "n_splits": n_splits,
        "n_fits": n_splits * n_methods,
        "n_fit": n_images - n_test,
        "n_test": n_test,
    }


def _judged(
    judge: JudgeCell,
    cells: Sequence[Cell],
    executor: Mapper | None,
    report: Progress,
    total: int,
) -> Iterator[Result]:
    """Yield what each cell gives; here, a method that failed is not tried on other splits."""
    if executor is not None:
        yield from executor.map(judge, cells, progress=report)
        return
    failed: set[str] = set()
    fits = 0
    for cell in cells:
        if cell.name != RAW:
            report(fits, total, cell.name)
            fits += 1
        if cell.name not in failed:
            result = judge(cell)
            if result.failure is not None:
                failed.add(cell.name)
            yield result


def named_aligners(
    aligners: Sequence[str | Aligner] | Mapping[str, Aligner] | None,
    default: Iterable[str] = METHODS,
) -> dict[str, Aligner]:
    """Return the aligners by name; several of one method are told apart by their parameters."""
    if isinstance(aligners, Mapping):
        return dict(aligners)
    if isinstance(aligners, (str, Aligner)):
        aligners = [aligners]
    named: dict[str, Aligner] = {}
    for item in default if aligners is None else aligners:
        aligner = make_aligner(item) if isinstance(item, str) else item
        name = method_name(aligner) if isinstance(item, Aligner) else item
        named[name if name not in named else repr(aligner)] = aligner
    return named
