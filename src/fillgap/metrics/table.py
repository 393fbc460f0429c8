"""One table of all measures: what each needs, which way is better, what leaves it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fillgap.metrics import distances, geometry, neighbours, retrieval, structure
from fillgap.metrics.pool import PoolScan, QueryScan, Values
from fillgap.pair import EmbeddingPair


class Rows(NamedTuple):
    """The values whose mean a measure is: one for each row, and the image that it belongs to."""

    values: Values
    groups: NDArray[Any]
    weights: Values | None = None


@dataclass(frozen=True)
class Measure:
    """What is known of a measure.

    Its `function` takes both arrays, or what `reads` names: an `EmbeddingPair`, a `PoolScan`,
    `PairMoments`, or those of the pairs with their cross scatter.

    Its `invariances` are all of these that leave the value alone; every other one changes it.
    "rotation": one rotation of both modalities. "own_rotation": a rotation of each. "row_scale": a
    positive factor for each row. "permutation": the rows in another order, pairs kept. "unpairing":
    the texts in another order, pairs lost. "swap": images and texts exchanged, with the two parts
    of the result.
    """

    function: Callable[..., Any]
    family: str
    reads: Literal["pair", "scan", "moments", "paired_moments"]
    larger_is_better: bool | None  # None where a value in between is right, or it is of one side
    invariances: frozenset[str]
    cutoffs: tuple[int, ...] = ()  # values of the parameter k that reports show
    rows: Callable[..., dict[str, Rows]] | None = None  # behind each part, where it is a mean

    @property
    def name(self) -> str:
        """Return the name of the function."""
        return self.function.__name__

    @property
    def needs_pairs(self) -> bool:
        """Whether it must be known which text belongs to which image."""
        return "unpairing" not in self.invariances and "permutation" in self.invariances

    def variants(self) -> Iterator[tuple[str, dict[str, int]]]:
        """Yield the key of each reported value, and the parameters that give it."""
        if not self.cutoffs:
            yield self.name, {}
        for k in self.cutoffs:
            yield self.name.removesuffix("_k") + f"_{k}", {"k": k}


ALWAYS: Final = frozenset[str]({"rotation", "row_scale"})
PAIRED: Final = ALWAYS | {"permutation", "swap"}
UNPAIRED: Final = PAIRED | {"unpairing"}
ONE_SIDED: Final = UNPAIRED - {"swap"}
EACH: Final = UNPAIRED | {"own_rotation"}


def _by_query(value: Callable[..., Values]) -> Callable[..., dict[str, Rows]]:
    """Return the rows of a measure that has a value for each query of both directions."""

    def rows(scan: PoolScan, **parameters: int) -> dict[str, Rows]:
        sides = {"image_to_text": scan.image_queries, "text_to_image": scan.text_queries}
        return {
            part: Rows(value(queries, **parameters), queries.groups)
            for part, queries in sides.items()
        }

    return rows


def _over_pool(value: Callable[[QueryScan], Values]) -> Callable[..., dict[str, Rows]]:
    """Return the rows of a measure that is one mean over all items of the pool."""

    def rows(scan: PoolScan) -> dict[str, Rows]:
        images, texts = scan.image_queries, scan.text_queries
        # Texts of unpaired sets are groups of their own, not those of the images.
        offset = 0 if scan.is_paired else scan.n_images
        sizes = (images, scan.n_images), (texts, scan.n_texts)
        weights = [np.full(len(side.rows), n / len(side.rows)) for side, n in sizes]
        return {
            "value": Rows(
                np.concatenate([value(images), value(texts)]),
                np.concatenate([images.groups, texts.groups + offset]),
                np.concatenate(weights),
            )
        }

    return rows


def _ranked(value: Callable[..., Values], *, mixed: bool) -> Callable[..., dict[str, Rows]]:
    return _by_query(partial(value, mixed=mixed))


def _one_sided(
    value: Callable[..., Values], part: str, side: str
) -> Callable[..., dict[str, Rows]]:
    return lambda scan: {part: Rows(value(getattr(scan, side)), getattr(scan, side).groups)}


def _of_pairs(value: Callable[[Values], Values]) -> Callable[..., dict[str, Rows]]:
    def rows(pair: EmbeddingPair) -> dict[str, Rows]:
        apart = distances.pair_distances(pair)
        return {"value": Rows(value(apart), np.asarray(pair.image_index))}

    return rows


def _mutual_rows(scan: PoolScan) -> dict[str, Rows]:
    return {"value": Rows(neighbours.mutual_knn_values(scan), scan.image_queries.groups)}


_DISTANCES, _MIXED, _ALONE = "distances", "mixed pool", "other modality alone"
_MANY = (1, 5, 10, 20)
_same_of_images, _same_of_texts = (
    _one_sided(retrieval.nearest_is_same, "probability", side)
    for side in ("image_queries", "text_queries")
)
_best_of_images, _best_of_texts = (
    _one_sided(attrgetter("best_other_rank"), "value", side)
    for side in ("image_queries", "text_queries")
)
_squared = _of_pairs(np.square)
_mixed_recall, _own_recall = (_ranked(retrieval.recall, mixed=pool) for pool in (True, False))
_mixed_ndcg, _own_ndcg = (_ranked(retrieval.ndcg, mixed=pool) for pool in (True, False))
_mixed_rank, _own_rank = (_ranked(retrieval.reciprocal_rank, mixed=pool) for pool in (True, False))

_TABLE = (
    Measure(
        distances.mean_distance, _DISTANCES, "pair", False, PAIRED, rows=_of_pairs(np.positive),
    ),
    Measure(distances.mean_squared_distance, _DISTANCES, "pair", False, PAIRED, rows=_squared),
    Measure(
        distances.pair_cosine_distance, _DISTANCES, "pair", False, PAIRED,
        rows=_of_pairs(lambda d: d**2 / 2),
    ),
    Measure(distances.cross_cosine_distance, _DISTANCES, "moments", None, UNPAIRED),
    Measure(distances.within_cosine, _DISTANCES, "moments", None, EACH),
    Measure(distances.relative_modality_gap, _DISTANCES, "pair", False, PAIRED),
    Measure(retrieval.itr, _MIXED, "scan", None, ONE_SIDED, rows=_same_of_images),
    Measure(retrieval.tir, _MIXED, "scan", None, ONE_SIDED, rows=_same_of_texts),
    Measure(retrieval.tmr, _MIXED, "scan", False, ONE_SIDED, rows=_best_of_images),
    Measure(retrieval.imr, _MIXED, "scan", False, ONE_SIDED, rows=_best_of_texts),
    Measure(
        retrieval.exposure_at_k, _MIXED, "scan", None, UNPAIRED, (10,),
        _by_query(retrieval.exposure),
    ),
    Measure(retrieval.mixed_recall_at_k, _MIXED, "scan", True, PAIRED, _MANY, _mixed_recall),
    Measure(retrieval.mixed_ndcg_at_k, _MIXED, "scan", True, PAIRED, (10,), _mixed_ndcg),
    Measure(retrieval.mixed_mrr, _MIXED, "scan", True, PAIRED, rows=_mixed_rank),
    Measure(retrieval.recall_at_k, _ALONE, "scan", True, PAIRED, _MANY, _own_recall),
    Measure(retrieval.ndcg_at_k, _ALONE, "scan", True, PAIRED, (10,), _own_ndcg),
    Measure(retrieval.mrr, _ALONE, "scan", True, PAIRED, rows=_own_rank),
    Measure(
        neighbours.ilisi, "neighbours", "scan", True, UNPAIRED,
        rows=_over_pool(neighbours.ilisi_values),
    ),
    Measure(
        neighbours.kbet, "neighbours", "scan", True, UNPAIRED,
        rows=_over_pool(neighbours.kbet_values),
    ),
    Measure(neighbours.hubness, "neighbours", "scan", False, UNPAIRED),
    Measure(
        neighbours.mutual_knn, "neighbours", "scan", True, PAIRED | {"own_rotation"},
        rows=_mutual_rows,
    ),
    Measure(geometry.frechet_distance, "distributions", "moments", False, UNPAIRED),
    Measure(geometry.centroid_distance, "geometry", "moments", False, UNPAIRED),
    Measure(geometry.gap_angle, "geometry", "moments", False, UNPAIRED),
    Measure(geometry.effective_rank, "geometry", "moments", None, EACH),
    Measure(geometry.energy_dimension, "geometry", "moments", None, EACH),
    Measure(geometry.subspace_overlap, "geometry", "moments", None, UNPAIRED),
    Measure(geometry.hyperplane_angle, "geometry", "moments", None, UNPAIRED),
    Measure(structure.alignment, "structure", "pair", False, PAIRED, rows=_squared),
    Measure(structure.uniformity, "structure", "pair", False, EACH),
    Measure(structure.linear_cka, "structure", "paired_moments", True, PAIRED | {"own_rotation"}),
    # A classifier's folds and the first centres of k-means depend on the order of the rows.
    Measure(structure.linear_separability, "structure", "pair", None, ALWAYS),
    Measure(structure.cluster_mixing, "structure", "pair", True, ALWAYS),
)  # fmt: skip

#: Every measure of one representation, by the name of its function.
MEASURES: Final[Mapping[str, Measure]] = {measure.name: measure for measure in _TABLE}
