"""Fitting by sums: one function of a block, merged over all blocks, wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, Protocol, Self, TypeAlias

import numpy as np

from fillgap._checks import InputError
from fillgap._progress import Progress, silent
from fillgap._threads import map_blocks
from fillgap.aligners.base import Aligner
from fillgap.moments import PairMoments
from fillgap.rows import BLOCK_ROWS, RowSource, iter_blocks

__all__ = [
    "BlockFunction",
    "FitSteps",
    "MomentAligner",
    "SumAligner",
    "Sums",
    "check_spread",
    "drive",
]


class Sums(Protocol):
    """Statistics of blocks that merge."""

    def absorb(self, other: Any, /) -> None:
        """Add the rows behind `other`, in place."""
        ...


#: From (number of the first row, images or None, texts or None) to the sums of that block.
BlockFunction: TypeAlias = Callable[[int, Any | None, Any | None], Any]
#: Yields what to sum over all blocks, receives the sums, and ends when the fit is done.
FitSteps: TypeAlias = Generator[BlockFunction, Any, None]


class SumAligner(Aligner):
    """Base of aligners that are functions of sums: the rows are read in blocks, never held."""

    def fit_steps(self) -> FitSteps:
        """Yield each function of a block whose merged sums the fit needs, and receive the sums.

        Whoever drives this decides where the blocks are: in memory, in files, on a cluster.
        """
        raise NotImplementedError

    def fit_by(self, X: Any, Y: Any, reduce: Callable[[BlockFunction], Any]) -> Self:
        """Fit to sides whose blocks are summed elsewhere.

        Parameters
        ----------
        X, Y : array or `RowSource`
            The sides, of which only the shapes are looked at here.
        reduce : callable
            Called with each function of a block; returns its merged sums over all blocks.
        """
        self._check_sides(X, Y)
        self._reset()
        drive(self.fit_steps(), reduce)
        return self

    def _fit(self, X: Any, Y: Any, progress: Progress) -> None:
        drive(self.fit_steps(), lambda function: self._sum(function, X, Y, progress))

    def _sum(self, function: BlockFunction, X: Any, Y: Any, progress: Progress) -> Any:
        """Merge `function` over all blocks of both sides."""
        total: Any = None
        n_rows, done = X.shape[0] + Y.shape[0], 0

        def work(block: tuple[int, Any, Any]) -> tuple[Any, int]:
            return function(*block), sum(len(side) for side in block[1:] if side is not None)

        # One block is not worth threads, and a device has its own.
        alone = max(X.shape[0], Y.shape[0]) <= BLOCK_ROWS or not _on_host(X, Y)
        for sums, seen in map_blocks(work, self._blocks(X, Y), threads=1 if alone else None):
            if total is None:
                total = sums
            else:
                total.absorb(sums)
            done += seen
            progress(done, n_rows, "fit")
        return total

    def _blocks(self, X: Any, Y: Any) -> Iterator[tuple[int, Any, Any]]:
        """Yield blocks of both sides: together where rows are pairs, one by one otherwise."""
        if self.needs_pairs:
            for (first_row, x), (_, y) in zip(
                iter_blocks(X, "images"), iter_blocks(Y, "texts"), strict=True
            ):
                yield first_row, x, y
            return
        for first_row, x in iter_blocks(X, "images"):
            yield first_row, x, None
        for first_row, y in iter_blocks(Y, "texts"):
            yield first_row, None, y


def _on_host(*sides: Any) -> bool:
    return all(
        isinstance(side, np.ndarray)
        or (isinstance(side, RowSource) and getattr(side, "device", None) is None)
        for side in sides
    )


class MomentAligner(SumAligner):
    """Base of aligners that one pass fits: functions of counts, means and second moments."""

    moments_: PairMoments

    def partial_fit(self, X: Any, Y: Any) -> Self:
        """Add rows to the fit, and solve again.

        Parameters
        ----------
        X, Y : array of shape (n, n_features) and (m, n_features)
            More images and more texts: pairs row by row where `needs_pairs`.
        """
        X, Y = self._check_sides(X, Y)
        before = getattr(self, "moments_", None)
        if before is None and hasattr(self, "n_features_in_"):
            raise InputError(
                f"{type(self).__name__} must be fitted in this process to go on, got one that was "
                "loaded. Keep the moments with your shards, or fit again."
            )
        if before is not None and before.n_features != X.shape[1]:
            raise InputError(
                f"images must be of dimension {before.n_features}, as before, got {X.shape[1]}. "
                "Use embeddings of one model."
            )
        moments = self._sum(self._from_block(), X, Y, silent)
        if before is not None:
            before.absorb(moments)
            moments = before
        self._reset()
        self.fit_moments(moments)
        return self

    def fit_moments(self, moments: PairMoments) -> Self:
        """Fit to sums that were merged elsewhere, with the cross scatter where pairs are needed."""
        self.notes_ = ()
        self.moments_ = moments
        self.n_features_in_ = moments.n_features
        self.n_samples_ = (moments.x.count, moments.y.count)
        self.mean_x_, self.mean_y_ = moments.x.mean, moments.y.mean
        check_spread(moments)
        self._solve(moments)
        return self

    def fit_steps(self) -> FitSteps:
        """Ask for the moments, and solve."""
        self.fit_moments((yield self._from_block()))

    def _from_block(self) -> BlockFunction:
        return partial(PairMoments.from_block, cross=self.needs_pairs)

    def _solve(self, moments: PairMoments) -> None:
        """Set `map_x_` and `map_y_`."""
        raise NotImplementedError

    def _note_if_few_rows(self, what: str) -> None:
        """Say so where there are fewer rows than the d × d moments need."""
        fewest, d = min(self.n_samples_), self.n_features_in_
        if fewest <= d:
            self._note(
                f"{what} was fitted on {fewest} rows in {d} dimensions: with no more rows than "
                "dimensions it fits noise; use more rows or a larger ridge."
            )


def check_spread(moments: PairMoments) -> None:
    """Refuse sides whose rows are all the same: they have a mean and nothing else."""
    for what, side in (("images", moments.x), ("texts", moments.y)):
        spread = np.sqrt(np.trace(side.covariance(ddof=0)))
        if spread < 1e-6:
            raise InputError(
                f"{what} must be different embeddings, got {side.count} rows whose spread is "
                f"{spread:.1g} of their norm. Look for a constant input or a collapsed encoder."
            )


def drive(steps: FitSteps, reduce: Callable[[BlockFunction], Any]) -> None:
    """Run `steps`, with `reduce` to merge a block function over all blocks."""
    sums: Any = None
    while True:
        try:
            function = steps.send(sums)
        except StopIteration:
            return
        sums = reduce(function)
