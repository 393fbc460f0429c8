"""Faults of the pipeline that look like a modality gap, and remarks that are no faults."""

from __future__ import annotations

from collections.abc import Sequence
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

    Attributes
    ----------
    kind : str
        A stable name: "not_finite", "zero_rows", "collapsed", "duplicates", "not_aligned",
        "random_vectors"; of remarks "not_unit", "dominant_coordinate".
    is_fault : bool
        Whether it is a fault of the pipeline; otherwise it is a remark.
    message : str
        What was found, and what to do.
    """

    kind: str
    is_fault: bool
    message: str


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

    @property
    def spread(self) -> float:
        """Root of the mean squared distance of unit rows from their mean."""
        mean = self.mean / self.count
        return float(np.sqrt(max(0.0, 1.0 - mean @ mean)))

    @property
    def distinct(self) -> int:
        """Number of different rows."""
        return len(np.unique(np.concatenate(self.hashes)))


def examine_rows(pair: EmbeddingPair) -> list[Finding]:
    """Look for rows that no measure can use, and for signs of a failed encoding.

    Parameters
    ----------
    pair : EmbeddingPair
        Read once, in blocks.

    Returns
    -------
    list of Finding
        Empty where nothing is remarkable.
    """
    found = []
    for what, rows, names in (
        ("images", pair.images, pair.image_ids),
        ("texts", pair.texts, pair.text_ids),
    ):
        side = _Side()
        for start, block in iter_blocks(rows, what):
            side.read(start, to_numpy(block))
        found += _unusable(side, what, names) or _collapse(side, what)
        found += _remarks(side, what) if side.count else []
    return found


def _unusable(side: _Side, what: str, names: Sequence[str] | None) -> list[Finding]:
    found = []
    for kind, rows, problem in (
        ("not_finite", side.not_finite, "NaN or infinity"),
        ("zero_rows", side.zero, "nothing but zeros"),
    ):
        if rows:
            plural = "s hold" if len(rows) > 1 else " holds"
            name = "" if names is None else f" ({names[rows[0]]})"
            message = (
                f"{len(rows)} row{plural} {problem} among the {what}, the first in row "
                f"{rows[0]}{name}. "
                "Encode those inputs again, or remove their rows from both sides."
            )
            found.append(Finding(kind, True, message))
    return found


def _collapse(side: _Side, what: str) -> list[Finding]:
    if side.spread < LEAST_SPREAD:
        message = (
            f"All {what} have the same direction: their spread is {side.spread:.1e} of their norm. "
            "Look for an encoder that ignores its input, or weights that were not loaded."
        )
        return [Finding("collapsed", True, message)]
    if side.distinct < side.count / 2:
        message = (
            f"Only {side.distinct} of {side.count} {what} are different. Keep each of them once "
            "(image_index says which texts share an image), or look for a stuck data loader."
        )
        return [Finding("duplicates", True, message)]
    return []


def _remarks(side: _Side, what: str) -> list[Finding]:
    found = []
    low, high = side.norms
    if max(1.0 - low, high - 1.0) > UNIT_TOLERANCE:
        message = (
            f"The {what} are not of length one (norms from {low:.3g} to {high:.3g}); "
            "measures scale them themselves."
        )
        found.append(Finding("not_unit", False, message))
    share = side.energy / side.count
    if share.max() > DOMINANT_SHARE:
        message = (
            f"One coordinate ({int(share.argmax())}) holds {share.max():.0%} of the energy of the "
            f"{what}, which is usual for CLIP."
        )
        found.append(Finding("dominant_coordinate", False, message))
    return found


def examine_pairing(scan: PoolScan, moments: PairMoments) -> list[Finding]:
    """Look whether pairs belong together more than rows that were put together at random.

    The mean cosine of the pairs is compared with its distribution over all permutations of the
    texts, whose mean and variance are known in closed form from the sums; and the mean rank of a
    query's own item, among the items of the other modality, with that of chance.

    Parameters
    ----------
    scan : PoolScan
        Of pairs with one text for each image.
    moments : PairMoments
        Of the same pairs, with their cross scatter.

    Returns
    -------
    list of Finding
        At most one fault: "random_vectors" without any alignment, else "not_aligned".
    """
    n = moments.x.count
    if n < FEWEST_PAIRS:
        return []
    p, rank = permutation_pvalue(moments), _relative_rank(scan)
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


def _relative_rank(scan: PoolScan) -> float:
    """Return the mean rank of own items in the other modality: 0 always first, 1 always last."""
    images = (scan.image_queries.cross_rank - 1) / (scan.n_texts - 1)
    texts = (scan.text_queries.cross_rank - 1) / (scan.n_images - 1)
    return float((images.mean() + texts.mean()) / 2)
