"""Fit by workers: what they sum over pieces, what it took, and shards that had to be skipped."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from fillgap.aligners.base import Aligner, BlockFunction, SumAligner
from fillgap.aligners.methods import method_name
from fillgap.distributed.executors import EngineError, Executor
from fillgap.distributed.pieces import (
    Piece,
    blocks_on,
    cut,
    open_sides,
    without_partners,
    without_pieces,
)
from fillgap.errors import InputError, InputTypeError, row_scales
from fillgap.io.pairs import sampled_pair
from fillgap.io.shards import ShardedRows, in_memory
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress


@dataclass
class JobReport:
    """What a job read, how long it took, and what it had to leave out.

    Attributes
    ----------
    n_rows, n_bytes : int
        Read, over all passes.
    seconds : float
        From start to end.
    workers : dict
        From "host:process" to the seconds that this worker was busy.
    rows_of_workers : dict
        From the same to the rows that it read.
    skipped : dict
        From the name of a shard that was left out to the reason.
    written, kept : list of str
        Files that were written, and those that an earlier run had finished.
    """

    n_rows: int = 0
    n_bytes: int = 0
    seconds: float = 0.0
    workers: dict[str, float] = field(default_factory=dict)
    rows_of_workers: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def add(self, other: JobReport) -> None:
        """Add what another part of the job did."""
        self.n_rows += other.n_rows
        self.n_bytes += other.n_bytes
        self.seconds += other.seconds
        for worker, seconds in other.workers.items():
            self.workers[worker] = self.workers.get(worker, 0.0) + seconds
        for worker, rows in other.rows_of_workers.items():
            self.rows_of_workers[worker] = self.rows_of_workers.get(worker, 0) + rows
        self.skipped |= other.skipped
        self.written += other.written
        self.kept += other.kept

    @property
    def rows_per_second(self) -> float:
        """Rows of all workers in a second."""
        return self.n_rows / self.seconds if self.seconds else 0.0

    @property
    def busy(self) -> float:
        """Share of the time in which the average worker worked."""
        return sum(self.workers.values()) / (len(self.workers) * self.seconds or 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON holds."""
        return asdict(self) | {"rows_per_second": self.rows_per_second}


@dataclass
class Outcome:
    """The result of one item, or of several that were merged; None where all were skipped."""

    value: Any
    report: JobReport


def merge_outcomes(mine: Outcome, other: Outcome) -> Outcome:
    """Add `other` to `mine`; values merge by `absorb`."""
    if mine.value is None:
        mine.value = other.value
    elif other.value is not None:
        mine.value.absorb(other.value)
    mine.report.add(other.report)
    return mine


@dataclass(frozen=True)
class Attempt:
    """A function of an item that reports, and names the item in what it refuses.

    Items have `name`, `n_rows` and `n_bytes`. Where bad shards may be skipped, a refusal is
    reported instead of raised.
    """

    function: Callable[[Any], Any]
    skip_bad_shards: bool = False

    def __call__(self, item: Any) -> Outcome:
        """Return what the function makes of the item."""
        started = perf_counter()
        report = JobReport(item.n_rows, item.n_bytes)
        try:
            value = self.function(item)
        except EngineError:  # of no item in particular
            raise
        except (InputError, InputTypeError) as error:
            text = str(error) if item.name in str(error) else f"{item.name}: {error}"
            if not self.skip_bad_shards:
                raise type(error)(text) from None
            value, report = None, JobReport(skipped={item.name: text})
        worker = f"{platform.node()}:{os.getpid()}"
        report.workers[worker] = perf_counter() - started
        report.rows_of_workers[worker] = report.n_rows
        return Outcome(value, report)


@dataclass(frozen=True)
class SumOfBlocks:
    """A function of a block, summed over the blocks of a piece, on a device where one is named."""

    function: BlockFunction
    device: str | None = None

    def __call__(self, piece: Piece) -> Any:
        """Return the sums of the piece."""
        total: Any = None
        for block in blocks_on(piece, self.device):
            sums = self.function(*block)
            if total is None:
                total = sums
            else:
                total.absorb(sums)
        return total


def sum_pieces(
    function: BlockFunction,
    pieces: Sequence[Piece],
    executor: Executor,
    *,
    skip_bad_shards: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Return a function of blocks, summed over pieces by workers."""
    attempt = Attempt(SumOfBlocks(function, device), skip_bad_shards)
    shown = with_rate(progress, sum(piece.n_rows for piece in pieces), executor.n_workers)
    return executor.map_reduce(attempt, pieces, merge_outcomes, progress=shown)


def with_rate(progress: Progress | None, count: int, n_workers: int) -> Progress | None:
    """Return a callback that also says how many rows a worker does in a second."""
    if progress is None:
        return None
    started = perf_counter()

    def report(done: int, total: int | None, who: str) -> None:
        seconds = max(perf_counter() - started, 1e-9)
        rate = count * done / (total or 1) / seconds / n_workers
        progress(done, total, f"{who}, {rate:,.{0 if rate >= 100 else 1}f} rows/s each")

    return report


def fit_shards(
    aligner: Aligner,
    images: str | Path,
    texts: str | Path | None = None,
    *,
    executor: Executor,
    skip_bad_shards: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> JobReport:
    """Fit `aligner`, in place, to rows that workers read.

    Parameters
    ----------
    aligner : SumAligner
        Of a method that is a function of sums.
    images, texts : str or path
        Shards of both sides; texts left out are in the same place as the images. Workers read them
        under the same names.
    executor : Executor
        Who does the work, for example a `ProcessPool`.
    skip_bad_shards : bool
        Whether shards that cannot be read, or hold unusable rows, are left out and reported; of
        pairs, with their partners.
    device : str, optional
        Where workers multiply, in PyTorch: "cpu", "cuda" (of several GPUs each worker takes one in
        turn), "cuda:1", "mps"; left out, in NumPy.
    progress : callable, optional
        Called as progress(pieces done, pieces in all, what).

    Returns
    -------
    JobReport
        The result is that of `aligner.fit` on the same rows up to rounding, whatever the workers
        and the order of the shards.

    Raises
    ------
    InputError
        If the method needs all rows at once, or a shard cannot be read; its name is in the message.
    """
    sums = check_method(aligner)
    sides = open_sides(images, texts, skip_bad_shards=skip_bad_shards)
    report = JobReport(skipped=sides[0].bad | sides[1].bad)
    sides, pieces = cut(sides, paired=sums.needs_pairs)
    started = perf_counter()

    def reduce(function: BlockFunction) -> Any:
        first = report.n_rows == 0
        left = [piece for piece in pieces if piece.name not in report.skipped]
        found = sum_pieces(
            function,
            left,
            executor,
            skip_bad_shards=skip_bad_shards and first,
            device=device,
            progress=progress,
        )
        report.add(found.report)
        if found.value is None:
            raise InputError(next(iter(report.skipped.values())))
        return found.value

    sums.fit_by(*sides, reduce)
    report.seconds = perf_counter() - started
    return report


def check_method(aligner: Aligner) -> SumAligner:
    """Return the aligner, if sums suffice to fit it."""
    if isinstance(aligner, SumAligner):
        return aligner
    raise InputError(
        f"the method must be a function of sums to be fitted by workers, got "
        f"{method_name(aligner)}, which needs all rows at once. "
        "Fit it to a sample in one process, or choose a method that fillgap methods says is fitted "
        "by passes over the rows."
    )


def find_bad_shards(
    images: str | Path,
    texts: str | Path | None = None,
    *,
    executor: Executor,
    progress: Progress | None = None,
) -> tuple[dict[str, str], frozenset[str]]:
    """Read all pairs once, and return the shards that cannot be read or hold unusable rows.

    Parameters
    ----------
    images, texts, executor, progress
        As for `fit_shards`.

    Returns
    -------
    skipped : dict
        From the name of a shard, or of rows of two of them, to the reason.
    names : frozenset of str
        All shards that are left out, without the partners of these.

    Raises
    ------
    InputError
        If nothing else is left, the sides are no pairs row by row, or a bad shard has no partner.
    """
    sides = open_sides(images, texts, skip_bad_shards=True)
    _, pieces = cut(sides, paired=True)
    found = sum_pieces(_check_block, pieces, executor, skip_bad_shards=True, progress=progress)
    skipped = sides[0].bad | sides[1].bad | found.report.skipped
    if found.value is None:
        raise InputError(next(iter(skipped.values())))
    if found.report.skipped:
        sides = without_pieces(sides, pieces, found.report.skipped)
    return skipped, frozenset(sides[0].bad) | frozenset(sides[1].bad)


class _Checked:
    def absorb(self, other: object) -> None:
        """Do nothing."""


def _check_block(first_row: int, X: Any | None, Y: Any | None) -> _Checked:
    """Refuse a block with rows that are zero or not finite."""
    for block, what in ((X, "images"), (Y, "texts")):
        if block is not None:
            row_scales(block, what, first_row=first_row)
    return _Checked()


def load_readable_pair(
    images: str | Path,
    texts: str | Path | None,
    bad: Collection[str],
    *,
    max_images: int | None = None,
    random_state: int = 0,
) -> EmbeddingPair:
    """Load pairs row by row without some shards and their partners.

    Parameters
    ----------
    images, texts, max_images, random_state
        As for `load_pair`. Names and captions are not read: they count the rows of all shards.
    bad : collection of str
        Names of shards.
    """
    opened = open_sides(images, texts, skip_bad_shards=True)
    reasons = dict.fromkeys(bad, "it is left out")
    left = without_partners((opened[0].without(reasons), opened[1].without(reasons)))
    x, y = (ShardedRows(side.name, side.readable) for side in left)
    name = Path(images).stem
    if max_images is not None and x.shape[0] > max_images:
        return sampled_pair(
            (x, y), {}, max_images=max_images, paired=None, name=name, random_state=random_state
        )
    return EmbeddingPair(in_memory(x), in_memory(y), name=name)
