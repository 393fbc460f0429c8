"""Fit an aligner to shards: the sums of each piece by some worker, merged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from fillgap._checks import InputError
from fillgap._progress import Progress
from fillgap.aligners import Aligner, SumAligner, method_name
from fillgap.aligners.sums import BlockFunction
from fillgap.distributed._devices import blocks_on
from fillgap.distributed._executor import Executor
from fillgap.distributed._pieces import (
    Piece,
    Side,
    open_sides,
    pieces_of_pairs,
    pieces_of_sides,
    without_partners,
)
from fillgap.distributed._work import Attempt, JobReport, merge_outcomes, with_rate

__all__ = ["SumOfBlocks", "check_method", "fit_pieces", "fit_shards"]


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
        As for `open_sides`. Workers read them under the same names.
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
    sides, pieces, bad = fit_pieces(sums, images, texts, skip_bad_shards=skip_bad_shards)
    report = JobReport(skipped=bad)
    started = perf_counter()

    def reduce(function: BlockFunction) -> Any:
        first = report.n_rows == 0
        left = [piece for piece in pieces if piece.name not in report.skipped]
        attempt = Attempt(SumOfBlocks(function, device), skip_bad_shards and first)
        shown = with_rate(progress, sum(piece.n_rows for piece in left), executor.n_workers)
        found = executor.map_reduce(attempt, left, merge_outcomes, progress=shown)
        report.add(found.report)
        if found.value is None:
            raise InputError(next(iter(report.skipped.values())))
        return found.value

    sums.fit_by(*sides, reduce)
    report.seconds = perf_counter() - started
    return report


def fit_pieces(
    aligner: SumAligner,
    images: str | Path,
    texts: str | Path | None = None,
    *,
    skip_bad_shards: bool = False,
) -> tuple[tuple[Side, Side], list[Piece], dict[str, str]]:
    """Return both sides, the pieces that workers will read, and shards that cannot be opened.

    Nothing but headers is read now.
    """
    sides = open_sides(images, texts, skip_bad_shards=skip_bad_shards)
    bad = sides[0].bad | sides[1].bad
    if not aligner.needs_pairs:
        return sides, pieces_of_sides(*sides), bad
    if bad:
        sides = without_partners(*sides)
    return sides, pieces_of_pairs(*sides), bad


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
