"""The result of a comparison, and how it is computed from what the splits gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.estimates import Estimate, ImageMeans, bootstrap_weights, estimates
from fillgap.evaluation.recommendation import Recommendation, decide
from fillgap.evaluation.significance import holm, paired_permutation_test

if TYPE_CHECKING:
    from fillgap.evaluation.compare import Collected

__all__ = ["RAW", "Comparison", "MethodResult", "summarise"]

#: Name of the embeddings as they are.
RAW: Final = "raw"

#: What is tested against raw, each with Holm's correction over the methods.
TESTED: Final = ("two_sided_ndcg_at_10", "mixed_ndcg_at_10", "recall_at_1")


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
        Measures without a value for each query, averaged over splits: iLISI and clustering.
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
        nested = {
            part: {
                measure: {direction: item.to_dict() for direction, item in directions.items()}
                for measure, directions in getattr(self, part).items()
            }
            for part in ("estimates", "changes")
        }
        return {
            **nested,
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
    means = {name: _image_means(pair, found) for name, found in collected.items()}
    some = next(iter(means[RAW].values()))
    weights = bootstrap_weights(len(some.total), n_resamples, random_state)
    p_values = _p_values(means, random_state)
    results: dict[str, MethodResult] = {}
    for name, found in collected.items():
        estimated = _nested(estimates(means[name], weights))
        change: dict[str, dict[str, Estimate]] = {}
        if name != RAW:
            differences = {key: item.minus(means[RAW][key]) for key, item in means[name].items()}
            change = _nested(estimates(differences, weights))
        scalars = {key: float(np.mean(values)) for key, values in found.scalars.items()}
        raw = results.get(RAW)
        results[name] = MethodResult(
            estimates=estimated,
            changes=change,
            p_values=p_values.get(name, {}),
            scalars=scalars,
            mixing=_mixing(estimated, scalars),
            conservation=_conservation(estimated, raw.estimates if raw else estimated),
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


def _image_means(pair: EmbeddingPair, found: Collected) -> dict[tuple[str, str], ImageMeans]:
    """Return the sums of each tested image, by (measure, direction), and the mean of directions."""
    index = np.asarray(pair.image_index)
    means: dict[tuple[str, str], ImageMeans] = {}
    tested = found.queries["recall_at_1", "image_to_text"].count > 0
    for (measure, direction), values in found.queries.items():
        image = np.arange(pair.n_images) if direction == "image_to_text" else index
        total, count = values.by_image(image, pair.n_images)
        means[measure, direction] = ImageMeans(total[tested], count[tested])
    for measure in {measure for measure, _ in found.queries}:
        parts = {key: item for key, item in means.items() if key[0] == measure}
        means[measure, "mean"] = ImageMeans.both(parts)
    return means


def _p_values(
    means: Mapping[str, Mapping[tuple[str, str], ImageMeans]], random_state: int
) -> dict[str, dict[str, float]]:
    """Test the change of each method in the decisive measures."""
    methods = [name for name in means if name != RAW]
    corrected: dict[str, dict[str, float]] = {name: {} for name in methods}
    for measure in TESTED:
        key = (measure, "mean")
        if key not in means[RAW] or not methods:
            continue
        p = [
            paired_permutation_test(
                means[name][key].minus(means[RAW][key]).per_image(), random_state=random_state
            )
            for name in methods
        ]
        for name, value in zip(methods, holm(p), strict=True):
            corrected[name][measure] = float(value)
    return corrected


def _nested(flat: Mapping[tuple[str, str], Estimate]) -> dict[str, dict[str, Estimate]]:
    nested: dict[str, dict[str, Estimate]] = {}
    for (measure, direction), item in flat.items():
        nested.setdefault(measure, {})[direction] = item
    return nested


def _mixing(found: Mapping[str, Mapping[str, Estimate]], scalars: Mapping[str, float]) -> float:
    exposures = [found["exposure_at_10"][side].value for side in ("image_to_text", "text_to_image")]
    fairness = [min(e, 1 / e) if e > 0 else 0.0 for e in exposures]
    return (float(np.mean(fairness)) + scalars["ilisi"]) / 2


def _conservation(
    found: Mapping[str, Mapping[str, Estimate]], raw: Mapping[str, Mapping[str, Estimate]]
) -> float:
    before, after = (item["recall_at_1"]["mean"].value for item in (raw, found))
    recall = min(after / before, 1.0) if before > 0 else 1.0
    return (recall + found["neighbourhood_preservation"]["mean"].value) / 2
