"""What all aligners share: two sides, checked input, unit rows, one map per modality."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from fillgap.errors import (
    InputError,
    check_flag,
    check_matrix,
    check_same_count,
    check_same_features,
    unit_rows,
)
from fillgap.kernel import level_rows
from fillgap.linalg import Matrix
from fillgap.maps import AffineMap, scale_to_unit
from fillgap.moments import PairMoments
from fillgap.pair import BLOCK_ROWS, RowSource, iter_blocks
from fillgap.runtime import Progress, map_blocks, silent

#: Rows that are mapped at a time: as float32 they stay in the cache of a core through all steps.
STRIP_ROWS = 512


class Aligner(BaseEstimator):
    """Base of all aligners: `fit(X, Y)`, `transform(X)`, `transform_y(Y)`, `transform_pair(X, Y)`.

    Attributes
    ----------
    needs_pairs : bool
        Whether row i of X must belong to row i of Y in `fit`.
    linear : bool
        Whether the fitted result is one affine map per modality, `map_x_` and `map_y_`.
    passes : int
        How often `fit` reads the rows: 1 or 2 where sums suffice, 0 where it must hold them.
    extra_arrays : tuple of str
        Fitted arrays that a file must keep besides the maps and the means.
    notes_ : tuple of str
        What its user should know of a fit that went through.
    """

    needs_pairs: ClassVar[bool] = False
    linear: ClassVar[bool] = True
    passes: ClassVar[int] = 1
    extra_arrays: ClassVar[tuple[str, ...]] = ()

    normalize: bool
    n_features_in_: int
    n_samples_: tuple[int, int]
    mean_x_: Matrix
    mean_y_: Matrix
    notes_: tuple[str, ...]
    map_x_: AffineMap
    map_y_: AffineMap
    metadata_: dict[str, Any]

    def fit(self, X: Any, Y: Any, *, progress: Progress | None = None) -> Self:
        """Fit to images `X` of shape (n, d) and texts `Y` of shape (m, d).

        Parameters
        ----------
        X, Y : array or `RowSource`
            Rows need not be normalised. A `RowSource` is read in blocks and never held.
        progress : callable, optional
            Called as progress(rows done, rows in all, what).

        Returns
        -------
        Self
            The fitted aligner.

        Raises
        ------
        InputError
            If the dimensions differ, the counts differ where pairs are needed, or a row is zero or
            not finite.
        """
        check_flag(self.normalize, "normalize")
        X, Y = self._check_sides(X, Y)
        self._reset()
        self._fit(X, Y, progress or silent)
        return self

    def transform(self, X: Any) -> Any:
        """Return the aligned images, of shape (n, n_components), in float32 or float64."""
        return self._apply(X, "images")

    def transform_y(self, Y: Any) -> Any:
        """Return the aligned texts, of shape (m, n_components), in float32 or float64."""
        return self._apply(Y, "texts")

    def transform_pair(self, X: Any, Y: Any) -> tuple[Any, Any]:
        """Return the aligned images and the aligned texts."""
        return self.transform(X), self.transform_y(Y)

    def _fit(self, X: Any, Y: Any, progress: Progress) -> None:
        raise NotImplementedError

    def _map_rows(self, rows: Any, what: str) -> Any:
        return (self.map_x_ if what == "images" else self.map_y_)(rows)

    def _check_sides(self, X: Any, Y: Any) -> tuple[Any, Any]:
        sides = [
            side if hasattr(side, "iter_blocks") else check_matrix(side, what, min_rows=2)
            for side, what in ((X, "images"), (Y, "texts"))
        ]
        check_same_features(*sides)
        if self.needs_pairs:
            check_same_count(sides[0], sides[1], f"for {type(self).__name__}")
        return sides[0], sides[1]

    def _reset(self) -> None:
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        self.notes_ = ()

    def _note(self, message: str) -> None:
        self.notes_ = (*self.notes_, message)

    def _apply(self, X: Any, what: str) -> Any:
        if not hasattr(self, "n_features_in_"):
            name = type(self).__name__
            raise NotFittedError(f"{name} must be fitted before it is applied. Call fit first.")
        X = check_matrix(X, what)
        out: Any = None
        for start, block in iter_blocks(X, what):
            rows = self.apply_block(block, what, start)
            if len(rows) == X.shape[0]:
                return level_rows(rows, X)
            if out is None:
                shape = (X.shape[0], rows.shape[1])
                out = array_namespace(rows).empty(shape, dtype=rows.dtype, device=device(rows))
            out[start : start + rows.shape[0], :] = rows
        return level_rows(out, X)

    def apply_block(self, block: Any, what: str, first_row: int = 0) -> Any:
        """Return one aligned block of "images" or "texts"; messages count from `first_row`."""
        if block.shape[1] != self.n_features_in_:
            raise InputError(
                f"{what} must be of dimension {self.n_features_in_}, as in the fit, got "
                f"{block.shape[1]}. Use embeddings of the model that the aligner was fitted to."
            )
        n = max(len(block), 1)
        step = STRIP_ROWS if isinstance(block, np.ndarray) and self.linear else n
        out: Any = None
        for start in range(0, n, step):
            strip = block[start : start + step]
            try:
                units = unit_rows(strip, what, first_row=first_row + start)
            except InputError:
                unit_rows(block, what, first_row=first_row)  # counts the bad rows of all of it
                raise
            rows = self._map_rows(units, what)
            if self.normalize:
                rows = scale_to_unit(rows, in_place=True)
            if len(rows) == len(block):
                return rows
            if out is None:
                out = np.empty((len(block), rows.shape[1]), rows.dtype)
            out[start : start + len(rows)] = rows
        return out


#: From (number of the first row, images or None, texts or None) to the sums of that block, which
#: have `absorb(other)`.
BlockFunction: TypeAlias = Callable[[int, Any | None, Any | None], Any]
#: Yields what to sum over all blocks, receives the sums, and ends when the fit is done.
FitSteps: TypeAlias = Generator[BlockFunction, Any, None]


@dataclass(kw_only=True, eq=False, repr=False)
class SumAligner(Aligner):
    """Base of aligners that are functions of sums: the rows are read in blocks, never held."""

    normalize: bool = True

    def fit_steps(self) -> FitSteps:
        """Yield each function of a block whose merged sums the fit needs, and receive the sums."""
        raise NotImplementedError

    def fit_by(self, X: Any, Y: Any, reduce: Callable[[BlockFunction], Any]) -> Self:
        """Fit to sides whose blocks are summed elsewhere, and of which only the shapes are read.

        `reduce` is called with each function of a block; it returns its merged sums over all.
        """
        self._check_sides(X, Y)
        self._reset()
        self._drive(reduce)
        return self

    def _fit(self, X: Any, Y: Any, progress: Progress) -> None:
        self._drive(lambda function: self._sum(function, X, Y, progress))

    def _drive(self, reduce: Callable[[BlockFunction], Any]) -> None:
        steps, sums = self.fit_steps(), None
        while True:
            try:
                sums = reduce(steps.send(sums))
            except StopIteration:
                return

    def _sum(self, function: BlockFunction, X: Any, Y: Any, progress: Progress) -> Any:
        total: Any = None
        n_rows, done = X.shape[0] + Y.shape[0], 0

        def work(block: tuple[int, Any, Any]) -> tuple[Any, int]:
            return function(*block), sum(len(side) for side in block[1:] if side is not None)

        on_host = all(
            isinstance(side, np.ndarray)
            or (isinstance(side, RowSource) and getattr(side, "device", None) is None)
            for side in (X, Y)
        )
        # One block is not worth threads, and a device has its own.
        alone = max(X.shape[0], Y.shape[0]) <= BLOCK_ROWS or not on_host
        for sums, seen in map_blocks(work, self._blocks(X, Y), threads=1 if alone else None):
            if total is not None:
                total.absorb(sums)
            total = sums if total is None else total
            done += seen
            progress(done, n_rows, "fit")
        return total

    def _blocks(self, X: Any, Y: Any) -> Iterator[tuple[int, Any, Any]]:
        """Yield blocks of both sides: together where rows are pairs, one by one otherwise."""
        images, texts = iter_blocks(X, "images"), iter_blocks(Y, "texts")
        if self.needs_pairs:
            for (first_row, x), (_, y) in zip(images, texts, strict=True):
                yield first_row, x, y
        else:
            yield from ((first_row, x, None) for first_row, x in images)
            yield from ((first_row, None, y) for first_row, y in texts)


class MomentAligner(SumAligner):
    """Base of aligners that one pass fits: functions of counts, means and second moments."""

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
        function = partial(PairMoments.from_block, cross=self.needs_pairs)
        moments = self._sum(function, X, Y, silent)
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
        """Yield what the moments of a block are, and solve."""
        moments = yield partial(PairMoments.from_block, cross=self.needs_pairs)
        self.fit_moments(moments)

    def _solve(self, moments: PairMoments) -> None:
        raise NotImplementedError

    def _map_centred(self, moments: PairMoments, A_x: Matrix | None, A_y: Matrix | None) -> None:
        """Map each side by (x − mean) A; None is the identity."""
        self.map_x_ = AffineMap(center=moments.x.mean, matrix=A_x)
        self.map_y_ = AffineMap(center=moments.y.mean, matrix=A_y)

    def _note_if_few_rows(self, what: str) -> None:
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
