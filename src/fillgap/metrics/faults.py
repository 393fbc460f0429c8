"""Faults of the pipeline that look like a modality gap, and remarks that are no faults."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap.metrics.pool import PoolScan
from fillgap.moments import PairMoments, to_numpy
from fillgap.pair import EmbeddingPair, iter_blocks

#: A spread below this share of the norm is one point, up to rounding.
LEAST_SPREAD = 1e-6
#: Norms that differ from 1 by more than this are not those of unit rows (float16 rounds to 5e-4).
UNIT_TOLERANCE = 2e-3
#: One coordinate with this share of the energy is worth a remark.
DOMINANT_SHARE = 0.2
#: A pairing must beat chance at this level, and rank its own items better than this on average.
PAIRING_LEVEL, PAIRING_RANK = 1e-3, 0.45
#: Below this level of significance a pairing is told from chance a little, if not enough.
HINT_LEVEL = 0.05
#: Centroids farther apart than this, without any alignment, are those of unrelated vectors.
LARGE_DISTANCE = 0.5
#: Fewer pairs than this can beat chance only by luck.
FEWEST_PAIRS = 10


@dataclass(frozen=True)
class Finding:
    """Something about the embeddings that a user should know before reading any measure.

    Its kind is, of faults of the pipeline, "not_finite", "zero_rows", "collapsed", "duplicates",
    "not_aligned" or "random_vectors"; of remarks "not_unit" or "dominant_coordinate".
    """

    kind: str
    is_fault: bool
    message: str  # what was found, and what to do


@dataclass
class _Side:
    """What one pass over the rows of a modality tells."""

    count: int = 0
    not_finite: list[int] = field(default_factory=list)
    zero: list[int] = field(default_factory=list)
    norms: tuple[float, float] = (np.inf, 0.0)
    mean: Any = 0.0
    energy: Any = 0.0
    hashes: list[NDArray[np.int64]] = field(default_factory=list)

    def read(self, start: int, block: NDArray[np.float64]) -> None:
        finite = np.all(np.isfinite(block), axis=1)
        block = np.where(finite[:, None], block, 0.0)
        norms = np.linalg.norm(block, axis=1)
        zero = finite & (norms == 0)
        self.not_finite += list(start + np.flatnonzero(~finite))
        self.zero += list(start + np.flatnonzero(zero))
        usable = finite & ~zero
        unit = block[usable] / norms[usable, None]
        self.count += len(unit)
        self.mean = self.mean + unit.sum(axis=0)
        self.energy = self.energy + np.square(unit).sum(axis=0)
        self.norms = (
            min(self.norms[0], norms[usable].min(initial=np.inf)),
            max(self.norms[1], norms[usable].max(initial=0.0)),
        )
        self.hashes.append(np.fromiter((hash(row.tobytes()) for row in block), np.int64))

    def unusable(self, what: str, names: Sequence[str] | None) -> Iterator[Finding]:
        for kind, rows, problem in (
            ("not_finite", self.not_finite, "NaN or infinity"),
            ("zero_rows", self.zero, "nothing but zeros"),
        ):
            if rows:
                plural = "s hold" if len(rows) > 1 else " holds"
                name = "" if names is None else f" ({names[rows[0]]})"
                message = (
                    f"{len(rows)} row{plural} {problem} among the {what}, the first in row "
                    f"{rows[0]}{name}. "
                    "Encode those inputs again, or remove their rows from both sides."
                )
                yield Finding(kind, True, message)

    def collapse(self, what: str) -> Iterator[Finding]:
        mean = self.mean / self.count
        spread = float(np.sqrt(max(0.0, 1.0 - mean @ mean)))  # root of the mean squared distance
        distinct = len(np.unique(np.concatenate(self.hashes)))
        if spread < LEAST_SPREAD:
            message = (
                f"All {what} have the same direction: their spread is {spread:.1e} of their norm. "
                "Look for an encoder that ignores its input, or weights that were not loaded."
            )
            yield Finding("collapsed", True, message)
        elif distinct < self.count / 2:
            message = (
                f"Only {distinct} of {self.count} {what} are different. Keep each of them once "
                "(image_index says which texts share an image), or look for a stuck data loader."
            )
            yield Finding("duplicates", True, message)

    def remarks(self, what: str) -> Iterator[Finding]:
        low, high = self.norms
        if max(1.0 - low, high - 1.0) > UNIT_TOLERANCE:
            message = (
                f"The {what} are not of length one (norms from {low:.3g} to {high:.3g}); "
                "measures scale them themselves."
            )
            yield Finding("not_unit", False, message)
        share = self.energy / self.count
        if share.max() > DOMINANT_SHARE:
            message = (
                f"One coordinate ({int(share.argmax())}) holds {share.max():.0%} of the energy of "
                f"the {what}, which is usual for CLIP."
            )
            yield Finding("dominant_coordinate", False, message)


def examine_rows(pair: EmbeddingPair) -> list[Finding]:
    """Look, block by block, for rows that no measure can use and signs of a failed encoding."""
    findings: list[Finding] = []
    for what, rows, names in (
        ("images", pair.images, pair.image_ids),
        ("texts", pair.texts, pair.text_ids),
    ):
        side = _Side()
        for start, block in iter_blocks(rows, what):
            side.read(start, to_numpy(block))
        findings += list(side.unusable(what, names)) or side.collapse(what)
        findings += side.remarks(what) if side.count else ()
    return findings


def examine_pairing(scan: PoolScan, moments: PairMoments) -> list[Finding]:
    """Look whether pairs of one text an image belong together more than by chance.

    The mean cosine of the pairs is compared with its distribution over all permutations of the
    texts, whose mean and variance are known in closed form from the sums; and the mean rank of a
    query's own item, among the items of the other modality, with that of chance. At most one fault
    is found: "random_vectors" without any alignment, else "not_aligned".
    """
    n = moments.x.count
    if n < FEWEST_PAIRS:
        return []
    # The mean rank of own items in the other modality: 0 always first, 1 always last.
    images = (scan.image_queries.cross_rank - 1) / (scan.n_texts - 1)
    texts = (scan.text_queries.cross_rank - 1) / (scan.n_images - 1)
    p, rank = permutation_pvalue(moments), float((images.mean() + texts.mean()) / 2)
    if p < PAIRING_LEVEL and rank < PAIRING_RANK:
        return []
    distance = float(np.linalg.norm(moments.x.mean - moments.y.mean))
    measured = f"p = {p:.2g} in a permutation test, mean rank at {rank:.0%} where chance is 50%"
    if p >= HINT_LEVEL and distance > LARGE_DISTANCE:
        message = (
            f"There is no alignment at all ({measured}), and the centroids are {distance:.2f} "
            "apart: the vectors are random, of an untrained model or of two unrelated ones, or the "
            "rows are in another order. Check the weights, then the order."
        )
        return [Finding("random_vectors", True, message)]
    message = (
        "The images and texts are not aligned: the pairs are hardly better than chance "
        f"({measured}). Check that row i of one belongs to row i of the other, and that one model "
        "made both."
    )
    return [Finding("not_aligned", True, message)]


def permutation_pvalue(moments: PairMoments) -> float:
    """Return how likely a random pairing has so large a mean cosine, by the normal approximation.

    Over permutations the sum of x_i·y_π(i) of centred rows has mean 0 and variance
    tr(S_xx S_yy) / (n − 1), with S the scatters.
    """
    from scipy.special import ndtr  # scipy.stats takes seconds to import

    variance = np.sum(moments.x.scatter * moments.y.scatter) / (moments.x.count - 1)
    if moments.cross is None or not variance > 0:
        return 1.0
    return float(ndtr(-np.trace(moments.cross) / np.sqrt(variance)))
