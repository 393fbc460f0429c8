"""The result of a comparison, and how it is computed from what the splits gave."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.estimates import Estimate, Values, estimates, mean_of_directions
from fillgap.evaluation.recommendation import Recommendation, decide
from fillgap.evaluation.significance import holm, paired_permutation_test

if TYPE_CHECKING:
    from fillgap.evaluation.compare import Collected

__all__ = ["RAW", "Comparison", "MethodResult", "summarise"]

#: Name of the embeddings as they are.
RAW: Final = "raw"

#: What is tested against raw, each with Holm's correction over the methods.
TESTED: Final = ("two_sided_ndcg_at_10", "mixed_ndcg_at_10", "recall_at_1")


#: Estimates by measure and direction.
Nested: TypeAlias = Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What one method reached on held-out rows.

    Attributes
    ----------
    estimates : mapping from measure to mapping from direction to Estimate
        Directions are "image_to_text", "text_to_image" and "mean"; for two-sided search the shares
        of images in the pool, and "mean".
    changes : mapping
        The same, minus raw on the same queries; empty for raw itself.
    p_values : mapping from measure to float
        Of the change of the mean over directions: paired permutation tests by image against raw,
        corrected by Holm's method for the number of methods.
    scalars : mapping from measure to float
        Clustering of the mixed pool of the first split: `cluster_mixing`, and with labels
        `cluster_nmi` and `cluster_ari`.
    mixing : float
        Mean of iLISI and of how fair the exposure is in each direction (min(e, 1/e)), 0 to 1.
    conservation : float
        Mean of recall@1 among the other modality relative to raw (at most 1) and of the share of
        neighbours kept within each modality, 0 to 1.
    notes : tuple of str
        What the fits remarked.
    """

    estimates: Mapping[str, Mapping[str, Estimate]]
    changes: Mapping[str, Mapping[str, Estimate]]
    p_values: Mapping[str, float]
    scalars: Mapping[str, float]
    mixing: float
    conservation: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "estimates": _plain(self.estimates),
            "changes": _plain(self.changes),
            "p_values": dict(self.p_values),
            "scalars": dict(self.scalars),
            "mixing": self.mixing,
            "conservation": self.conservation,
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
    quantised : mapping from way of storing to mapping from method to mapping
        What storing the aligned rows so changes, by measure and direction: that minus the same
        method with the rows as they are, on the same queries.
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
    quantised: Mapping[str, Mapping[str, Nested]] = field(default_factory=dict)

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
            "quantised": {
                kind: {name: _plain(changes) for name, changes in methods.items()}
                for kind, methods in self.quantised.items()
            },
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
    coarse: Mapping[tuple[str, str], Collected],
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
    quantised: dict[str, dict[str, Nested]] = {}
    for (kind, name), found in coarse.items():
        change = _Table(pair, found).minus(tables[name])
        quantised.setdefault(kind, {})[name] = nested(change)
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
        quantised=quantised,
    )


class _Table:
    """Values of each query, averaged over splits, by direction and measure.

    The direction "mean" holds, for each image, the mean over all directions of a measure.
    """

    def __init__(self, pair: EmbeddingPair, found: Collected) -> None:
        index = np.asarray(pair.image_index)
        self.values: dict[str, dict[str, Values]] = {}
        self.groups: dict[str, NDArray[np.intp]] = {}
        for (measure, direction), sums in found.queries.items():
            self.values.setdefault(direction, {})[measure] = sums.mean()
            self.groups[direction] = (
                np.arange(pair.n_images) if direction == "image_to_text" else index
            )
        by_measure: dict[str, dict[str, Values]] = {}
        for direction, measures in self.values.items():
            for measure, values in measures.items():
                by_measure.setdefault(measure, {})[direction] = values
        self.values["mean"] = {
            measure: mean_of_directions(directions, self.groups, pair.n_images)
            for measure, directions in by_measure.items()
        }
        self.groups["mean"] = np.arange(pair.n_images)

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
            found = estimates(
                values,
                self.groups[direction],
                n_resamples=n_resamples,
                random_state=random_state,
            )
            for measure, item in found.items():
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


def _mixing(found: Mapping[str, Mapping[str, Estimate]]) -> float:
    exposures = [found["exposure_at_10"][side].value for side in ("image_to_text", "text_to_image")]
    fairness = [min(e, 1 / e) if e > 0 else 0.0 for e in exposures]
    return (float(np.mean(fairness)) + found["ilisi"]["mean"].value) / 2


def _conservation(
    found: Mapping[str, Mapping[str, Estimate]], raw: Mapping[str, Mapping[str, Estimate]]
) -> float:
    before, after = (item["recall_at_1"]["mean"].value for item in (raw, found))
    recall = min(after / before, 1.0) if before > 0 else 1.0
    return (recall + found["neighbourhood_preservation"]["mean"].value) / 2
