"""What a worker does in a trial: the job on the first rows, and a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import clone

from fillgap._checks import InputError, unit_rows
from fillgap._similarity import N_OWN, Question
from fillgap.aligners import load_aligner
from fillgap.aligners.sums import BlockFunction, SumAligner
from fillgap.distributed._devices import blocks_on
from fillgap.distributed._nearest import CountBlock, FindBlock, Queries
from fillgap.distributed._pieces import Piece
from fillgap.distributed.apply import block_function
from fillgap.distributed.measure import gather_block
from fillgap.io import Modality
from fillgap.rows import BLOCK_ROWS

__all__ = ["Clock", "TryApply", "TryFit", "TryMeasure"]


@dataclass
class Clock:
    """Times of a trial: one entry for each pass, and what was left at the end."""

    device: str | None = None
    rows: int = 0
    passes: list[float] = field(default_factory=list)
    at_end: float = 0.0
    width: int = 0

    def run(self, function: BlockFunction, pieces: Sequence[Piece]) -> Any:
        """Return the sums of the pieces, and note the time of a row after the first blocks."""
        total, seconds, rows = None, 0.0, 0
        for piece in pieces:
            started = perf_counter()
            for number, block in enumerate(blocks_on(piece, self.device)):
                sums = function(*block)
                if total is None:
                    total = sums
                else:
                    total.absorb(sums)
                if number or piece.n_rows <= BLOCK_ROWS * len(piece.parts):
                    seconds += perf_counter() - started
                    rows += sum(len(side) for side in block[1:] if side is not None)
                started = perf_counter()
        self.passes.append(seconds / max(rows, 1))
        self.rows = sum(piece.n_rows for piece in pieces)
        return total


@dataclass(frozen=True)
class TryFit:
    """A fit to the first rows."""

    aligner: SumAligner
    sides: tuple[Any, Any]
    device: str | None = None

    def __call__(self, pieces: list[Piece]) -> Clock:
        """Return how long it took."""
        clock, ended = Clock(self.device), perf_counter()

        def reduce(function: BlockFunction) -> Any:
            nonlocal ended
            sums, ended = clock.run(function, pieces), perf_counter()
            return sums

        try:
            clone(self.aligner).fit_by(*self.sides, reduce)
        except (InputError, np.linalg.LinAlgError):  # too few rows to be fitted; times are kept
            if not clock.passes:
                raise
        return replace(clock, at_end=perf_counter() - ended)


@dataclass(frozen=True)
class TryApply:
    """The first rows aligned, and not written."""

    aligner: Path
    modality: Modality
    device: str | None = None

    def __call__(self, pieces: list[Piece]) -> Clock:
        """Return how long it took, and the new dimension."""
        clock, what = Clock(), "images" if self.modality == "image" else "texts"
        function = block_function(load_aligner(self.aligner), what, self.device)

        def align(first_row: int, X: Any | None, Y: Any | None) -> _Nothing:
            block: Any = X if Y is None else Y
            rows = function(block, first_row)
            clock.width = rows.shape[1]
            rows.astype(block.dtype)
            return _Nothing()

        clock.run(align, pieces)
        return clock


@dataclass(frozen=True)
class TryMeasure:
    """The three passes of a measurement over the first rows, with as many queries as later."""

    n_queries: tuple[int, int]
    n_neighbors: int
    device: str | None = None

    def __call__(self, pieces: list[Piece]) -> Clock:
        """Return how long they took."""
        clock = Clock(self.device)
        cross = len(pieces[0].parts) == 2
        most = max(part.stop - part.start for piece in pieces for part in piece.parts)
        chosen = np.arange(most), np.arange(most)
        gathered = clock.run(partial(gather_block, chosen=chosen, cross=cross), pieces)
        both = [_queries(gathered.sample(side), n) for side, n in enumerate(self.n_queries)]
        queries = both[0], both[1]
        k = min(self.n_neighbors, *self.n_queries)
        own = min(N_OWN, *self.n_queries)
        found = clock.run(FindBlock(queries, (k, k), (own, own)), pieces)
        clock.run(CountBlock(queries, found), pieces)
        return clock


class _Nothing:
    def absorb(self, other: object) -> None:
        """Do nothing."""


def _queries(rows: Any, n_queries: int) -> Queries:
    """Return queries that cost what those of the job will: rows of the trial, in turns."""
    number = np.arange(n_queries)
    units = unit_rows(np.resize(rows, (n_queries, rows.shape[1])), "rows").astype(np.float32)
    question = Question(number, np.arange(n_queries + 1), n_queries + number)
    return Queries(units, number, question, n_queries)
