"""One method on one split: the unit of a comparison, in this process or by some worker."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from fillgap._checks import CANNOT_RUN
from fillgap._progress import Progress
from fillgap.aligners import Aligner
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.clusters import cluster_scores
from fillgap.evaluation.judge import scan_test_pair, values_of
from fillgap.evaluation.quantised import as_stored
from fillgap.evaluation.two_sided import IMAGE_SHARES, TwoSidedPool, two_sided_ndcg

__all__ = ["Cell", "Given", "JudgeCell", "Judged", "Mapper", "Result", "forget"]

Rows = NDArray[np.intp]


class Mapper(Protocol):
    """What runs one function over many items: an executor of `fillgap.distributed`."""

    def map(
        self, function: Callable[[Any], Any], items: Iterable[Any], *, progress: Progress | None
    ) -> Iterator[Any]:
        """Yield function(item) for each item, in the order of the items."""
        ...


@dataclass(frozen=True, eq=False)
class Cell:
    """What one call of a worker judges.

    Attributes
    ----------
    name : str
        The method.
    aligner : Aligner or None
        None for the rows as they are.
    number : int
        Of the split.
    train, test : array of int
        Images fitted on, and images judged.
    pools : list of TwoSidedPool or None
        For search on both sides.
    quantise : tuple of str
        Ways of storing that are judged too.
    """

    name: str
    aligner: Aligner | None
    number: int
    train: Rows
    test: Rows
    pools: list[TwoSidedPool] | None
    quantise: tuple[str, ...] = ()


@dataclass
class Judged:
    """What a representation of the test rows reached.

    Attributes
    ----------
    values : list
        ((measure, direction), rows, values of the queries in these rows).
    scalars : dict
        Measures of clustering, on the first split.
    """

    values: list[tuple[tuple[str, str], Rows, Any]] = field(default_factory=list)
    scalars: dict[str, float] = field(default_factory=dict)


@dataclass
class Result:
    """What a cell gave: the rows as they are and as stored, or why the method cannot run."""

    name: str
    plain: Judged = field(default_factory=Judged)
    stored: dict[str, Judged] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """What is at hand, where workers would open it: it travels to them with each piece of work."""

    value: Any

    def __call__(self) -> Any:
        """Return it."""
        return self.value


@dataclass(frozen=True)
class JudgeCell:
    """A function of a cell.

    Parameters
    ----------
    source : callable
        Returns the pair: the same object each time in one process, or it is scanned anew.
    """

    source: Callable[[], EmbeddingPair]

    def __call__(self, cell: Cell) -> Result:
        """Fit on the one part, and judge the other."""
        split = Split.of(self.source(), cell)
        result = Result(cell.name)
        try:
            test = split.test
            if cell.aligner is not None:
                test, result.notes = split.aligned(cell.aligner)
            result.plain = split.judge(test, clusters=cell.number == 0)
            for kind in cell.quantise:
                result.stored[kind] = split.judge(as_stored(test, kind))
        except CANNOT_RUN as error:
            if cell.aligner is None:
                raise
            result.failure = str(error)
        return result


class Split:
    """One split: the part to fit on, the part to judge, and what the raw part looks like."""

    #: The last one of this process: its cells come one after the other.
    last: Split | None = None

    def __init__(self, pair: EmbeddingPair, cell: Cell) -> None:
        self.pair, self.image_rows, self.pools = pair, cell.test, cell.pools
        self.train, self.test = pair.take_images(cell.train), pair.take_images(cell.test)
        self.text_rows = np.flatnonzero(np.isin(np.asarray(pair.image_index), cell.test))
        self.raw_scan = scan_test_pair(self.test)

    @classmethod
    def of(cls, pair: EmbeddingPair, cell: Cell) -> Split:
        """Return the split of a cell."""
        last = cls.last
        if (
            last is None
            or last.pair is not pair
            or not np.array_equal(last.image_rows, cell.test)
            or last.train.n_images != len(cell.train)
        ):
            cls.last = last = None  # two of them at a time may not fit
            cls.last = last = cls(pair, cell)
        return last

    def aligned(self, aligner: Aligner) -> tuple[EmbeddingPair, tuple[str, ...]]:
        """Fit on the one part; return the other as the aligner maps it, and what it remarked."""
        fitted = clone(aligner)
        sides = (
            self.train.matched() if fitted.needs_pairs else (self.train.images, self.train.texts)
        )
        fitted.fit(*sides)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            images, texts = fitted.transform_pair(self.test.images, self.test.texts)
        return self.test.with_vectors(images, texts), fitted.notes_

    def judge(self, test: EmbeddingPair, *, clusters: bool = False) -> Judged:
        """Measure a representation of the test part."""
        found = Judged()
        scan = self.raw_scan if test is self.test else scan_test_pair(test)
        for (measure, direction), values in values_of(scan, self.raw_scan).items():
            rows = self.image_rows if direction == "image_to_text" else self.text_rows
            found.values.append(((measure, direction), rows, values))
        if clusters:  # k-means takes longer than all else: one split is enough
            found.scalars = cluster_scores(test)
        for share, pool in zip(IMAGE_SHARES, self.pools or (), strict=False):
            values = two_sided_ndcg(test.images, test.texts, pool)
            key = ("two_sided_ndcg_at_10", f"{share:.0%} images")
            found.values.append((key, self.text_rows[pool.queries], values))
        return found


def forget() -> None:
    """Let go of the last split of this process, and with it of the pair."""
    Split.last = None
