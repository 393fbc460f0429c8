"""Run every measure that applies to a pair, once, and say what the results mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fillgap.errors import InputError
from fillgap.kernel import MEMORY_BYTES
from fillgap.metrics.faults import examine_pairing, examine_rows
from fillgap.metrics.geometry import FEW_ROWS, both_moments, paired_moments
from fillgap.metrics.intervals import bootstrap_interval, bounds_around
from fillgap.metrics.pool import PoolScan, as_pair
from fillgap.metrics.scan import MAX_QUERIES, scan_pool
from fillgap.metrics.table import MEASURES, Measure, Rows
from fillgap.metrics.verdict import Measurements, Value, give_verdict
from fillgap.moments import PairMoments
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress, silent

#: What is also measured with one text for each image, as papers do, where images have several.
OF_ONE_TEXT = {
    name: entry for name, entry in MEASURES.items() if entry.needs_pairs and entry.reads == "scan"
}
#: Measures that few rows make larger or smaller than they are.
OF_COVARIANCES = ("frechet_distance", "effective_rank", "energy_dimension", "linear_cka")


def measure(
    X: Any,
    Y: Any = None,
    image_index: ArrayLike | None = None,
    *,
    n_neighbors: int = 90,
    max_queries: int | None = MAX_QUERIES,
    confidence: bool = True,
    memory_bytes: int = MEMORY_BYTES,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Measurements:
    """Measure the gap of a pair in every way that applies, and give a verdict.

    Parameters
    ----------
    X : array of shape (n_images, n_features) or EmbeddingPair
        Image embeddings, or both.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    image_index : array of int of shape (n_texts,), optional
        Row of each text's image. Left out, sets of equal size are pairs row by row.
    n_neighbors : int
        Neighbours for the measures of mixing.
    max_queries : int or None
        Rows of each modality that are queries at most; more are sampled. None for all.
    confidence : bool
        Whether to compute bootstrap intervals.
    memory_bytes : int
        What the similarities of one block may take.
    random_state : int
        Seed of samples, folds and resamples.
    progress : callable, optional
        Called as progress(done, total, what).

    Returns
    -------
    Measurements
        A measure that cannot run on these data is listed with the reason; where rows are NaN or
        zero none can, and the verdict says which rows.
    """
    pair = as_pair(X, Y, image_index)
    sizes = pair.name, pair.n_images, pair.n_texts, pair.n_features
    findings = examine_rows(pair)
    if any(finding.kind in ("not_finite", "zero_rows") for finding in findings):
        return Measurements(*sizes, give_verdict(None, findings), tuple(findings))
    scan = partial(
        scan_pool,
        n_neighbors=n_neighbors,
        max_queries=max_queries,
        memory_bytes=memory_bytes,
        random_state=random_state,
        progress=progress,
    )
    seed = random_state if confidence else None
    sources = Sources(pair, scan)
    results, skipped = run(MEASURES, sources, progress or silent)
    one_text: dict[str, dict[str, Value]] = {}
    if pair.is_paired:
        single = sources if pair.one_to_one else Sources(first_texts(pair), scan)
        findings += examine_pairing(single.scan, single.paired_moments)
        if single is not sources:
            one_text = with_intervals(run(OF_ONE_TEXT, single, silent)[0], single, seed)
    return Measurements(
        *sizes,
        give_verdict(sources.scan, findings),
        tuple(findings),
        with_intervals(results, sources, seed),
        one_text,
        skipped,
        _notes(sources, results),
    )


def first_texts(pair: EmbeddingPair) -> EmbeddingPair:
    """Return the images that have a text, each with the first of its texts."""
    images, first = np.unique(np.asarray(pair.image_index), return_index=True)
    return replace(pair.take(images, first), paired=True)


class Sources:
    """What measures read, by the names that their table knows, each computed when first asked."""

    def __init__(self, pair: EmbeddingPair, scan: Callable[[EmbeddingPair], PoolScan]) -> None:
        self.pair, self._scan = pair, scan

    @cached_property
    def scan(self) -> PoolScan:
        """The one pass over the mixed pool."""
        return self._scan(self.pair)

    @cached_property
    def moments(self) -> PairMoments:
        """The sums of both sides."""
        return self.paired_moments if self.pair.one_to_one else both_moments(self.pair)

    @cached_property
    def paired_moments(self) -> PairMoments:
        """The sums of the pairs."""
        return paired_moments(self.pair)


def run(
    measures: Mapping[str, Measure], sources: Any, progress: Progress
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the results of all measures by key, and the reasons of those that cannot run.

    `sources` are `Sources`, or have the same attributes.
    """
    results: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    calls = [(entry, *variant) for entry in measures.values() for variant in entry.variants()]
    for done, (entry, key, parameters) in enumerate(calls, start=1):
        try:
            results[key] = entry.function(getattr(sources, entry.reads), **parameters)
        except InputError as error:
            skipped[key] = str(error)
        progress(done, len(calls), "measuring")
    return results, skipped


def with_intervals(
    results: Mapping[str, Any], sources: Any, seed: int | None
) -> dict[str, dict[str, Value]]:
    """Return the numbers of each result, with a bootstrap interval where it is a mean over rows.

    Measures whose rows belong to the same images share their resamples.
    """
    values = {
        key: {part: Value(number) for part, number in _parts(result).items()}
        for key, result in results.items()
    }
    alike: dict[tuple[bytes, bytes], list[tuple[str, str, Rows]]] = {}
    for entry in MEASURES.values() if seed is not None else ():
        for key, parameters in entry.variants():
            if entry.rows is None or key not in results:
                continue
            for part, rows in entry.rows(getattr(sources, entry.reads), **parameters).items():
                weights = b"" if rows.weights is None else rows.weights.tobytes()
                alike.setdefault((rows.groups.tobytes(), weights), []).append((key, part, rows))
    for items in alike.values():
        _, _, rows = items[0]
        table = np.column_stack([item.values for _, _, item in items])
        bounds = bootstrap_interval(table, rows.groups, weights=rows.weights, random_state=seed)
        numbers = np.column_stack([bounds.low, bounds.high, bounds.standard_error])
        for (key, part, _), (low, high, error) in zip(items, numbers.tolist(), strict=True):
            mean = values[key][part].value
            values[key][part] = Value(mean, *bounds_around(mean, low, high), error)
    return values


def _parts(result: Any) -> dict[str, float]:
    """Return the numbers of a result by name: "value" first, where it has one."""
    if not is_dataclass(result):
        return {"value": float(result)}
    names = ["value", "probability", *(item.name for item in fields(result))]
    numbers = {name: getattr(result, name, None) for name in names}
    return {name: float(number) for name, number in numbers.items() if number is not None}


def _notes(sources: Sources, results: Mapping[str, Any]) -> dict[str, str]:
    """Return what to keep in mind with some of the measures."""
    pair, scan = sources.pair, sources.scan
    notes = {}
    if scan.is_sampled:
        notes["queries"] = (
            f"{len(scan.image_queries.rows)} of {pair.n_images} images and "
            f"{len(scan.text_queries.rows)} of {pair.n_texts} texts were queries, drawn at random; "
            "standard errors say how much that matters."
        )
    fewest = min(pair.n_images, pair.n_texts)
    if fewest < FEW_ROWS * pair.n_features:
        few = f"{fewest} rows are few for covariances in {pair.n_features} dimensions."
        notes |= {name: few for name in OF_COVARIANCES if name in results}
    if "subspace_overlap" in results:
        overlap = results["subspace_overlap"]
        notes["subspace_overlap"] = " ".join(filter(None, (overlap.sentence, overlap.warning)))
    return notes
