"""What a job will read and write, and how long it should take, from a trial on its first rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fillgap._remote import as_path
from fillgap.aligners import SumAligner
from fillgap.distributed._executor import Executor, ThisProcess
from fillgap.distributed._pieces import (
    Part,
    Piece,
    are_pairs,
    open_sides,
    pieces_of_pairs,
    pieces_of_sides,
    without_partners,
)
from fillgap.distributed._trial import Clock, TryApply, TryFit, TryMeasure
from fillgap.distributed.apply import plan_copies
from fillgap.distributed.fit import check_method, fit_pieces
from fillgap.io import Modality
from fillgap.rows import BLOCK_ROWS, RowSource

__all__ = ["JobPlan", "plan_apply", "plan_fit", "plan_measure", "plan_reading"]

#: Blocks of each side in a trial: the first one, which is slower, and those that are timed.
TRIAL_BLOCKS = 1 + 4


@dataclass(frozen=True)
class JobPlan:
    """What a job would do.

    Attributes
    ----------
    n_shards, n_rows, n_features, n_bytes : int
        What would be read in each pass.
    passes : int
        How often.
    n_workers : int
        Who would read at a time.
    trial_rows : int
        Rows that one worker read in the trial.
    seconds_per_row : float
        What one row took there, over all passes; NaN where nothing could be tried.
    seconds_at_end : float
        What the trial took when all was read: the algebra of a fit.
    n_files, written_bytes : int
        What would be written, about.
    kept : int
        Files that an earlier run finished.
    skipped : dict
        Shards that cannot be opened, and why.
    """

    n_shards: int
    n_rows: int
    n_features: int
    n_bytes: int
    passes: int
    n_workers: int
    trial_rows: int
    seconds_per_row: float
    seconds_at_end: float = 0.0
    n_files: int = 0
    written_bytes: int = 0
    kept: int = 0
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Time from start to end, if workers do not hinder each other."""
        return self.n_rows * self.seconds_per_row / self.n_workers + self.seconds_at_end

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON holds."""
        return asdict(self) | {"seconds": self.seconds}


def plan_fit(
    aligner: Any,
    images: str | Path,
    texts: str | Path | None = None,
    *,
    executor: Executor,
    skip_bad_shards: bool = False,
    device: str | None = None,
) -> JobPlan:
    """Return what `fit_shards` would do with the same arguments.

    Headers are read, and the first blocks by one worker; nothing is written. Without workers also
    methods can be planned that hold all rows: how long these take is not known.
    """
    if isinstance(executor, ThisProcess) and not isinstance(aligner, SumAligner):
        held = pieces_of_sides(*open_sides(images, texts, skip_bad_shards=skip_bad_shards))
        return _plan(held, ThisProcess(1), Clock(passes=[math.nan]), n_files=1)
    sums = check_method(aligner)
    sides, pieces, bad = fit_pieces(sums, images, texts, skip_bad_shards=skip_bad_shards)
    clock = _tried(executor, TryFit(sums, sides, device), pieces)
    d = sides[0].shape[1]
    files = {"n_files": 1, "written_bytes": 16 * d * (d + 2)}
    return _plan(pieces, executor, clock, skipped=bad, **files)


def plan_apply(
    aligner: str | Path,
    sources: str | Path | Sequence[str | Path],
    target: str | Path,
    *,
    modality: Modality,
    executor: Executor,
    device: str | None = None,
) -> JobPlan:
    """Return what `apply_shards` would do with the same arguments; writing is not tried."""
    copies, bad = plan_copies(aligner, sources, target, modality=modality)
    left = [copy for copy in copies if not copy.finished]
    side = "images" if modality == "image" else "texts"
    pieces = [Piece(**{side: Part(copy.source, 0, copy.n_rows, 0)}) for copy in left]
    if not pieces:
        return JobPlan(0, 0, 0, 0, 1, executor.n_workers, 0, 0.0, kept=len(copies), skipped=bad)
    clock = _tried(executor, TryApply(as_path(aligner).absolute(), modality, device), pieces)
    written = sum(piece.n_rows * clock.width * _item(piece) for piece in pieces)
    plan = _plan(pieces, executor, clock, skipped=bad, written_bytes=written)
    return replace(plan, n_files=len(left), kept=len(copies) - len(left))


def plan_measure(
    images: str | Path,
    texts: str | Path | None = None,
    *,
    executor: Executor,
    paired: bool | None = None,
    n_neighbors: int = 90,
    max_queries: int = 2000,
    skip_bad_shards: bool = False,
    device: str | None = None,
) -> JobPlan:
    """Return what `measure_shards` would do with the same arguments."""
    sides = open_sides(images, texts, skip_bad_shards=skip_bad_shards)
    one_to_one = are_pairs(*sides) if paired is None else paired
    pieces = pieces_of_pairs(*sides) if one_to_one else pieces_of_sides(*sides)
    n_queries = [min(side.shape[0], max_queries) for side in sides]
    trial = TryMeasure((n_queries[0], n_queries[1]), n_neighbors, device)
    bad = sides[0].bad | sides[1].bad
    return _plan(pieces, executor, _tried(executor, trial, pieces), skipped=bad)


def plan_reading(
    images: str | Path,
    texts: str | Path | None = None,
    *,
    skip_bad_shards: bool = False,
) -> tuple[JobPlan, int]:
    """Return what there is to be read once, without a trial, and the number of images.

    With shards that cannot be opened their partners are left out too.
    """
    sides = open_sides(images, texts, skip_bad_shards=skip_bad_shards)
    bad = sides[0].bad | sides[1].bad
    if bad:
        sides = without_partners(*sides)
    once = Clock(passes=[0.0])
    plan = _plan(pieces_of_sides(*sides), ThisProcess(1), once, skipped=bad)
    return plan, sides[0].shape[0]


def _tried(
    executor: Executor, trial: Callable[[list[Piece]], Clock], pieces: Sequence[Piece]
) -> Clock:
    """Let one worker try the first blocks of each side."""
    firsts = [next(_having("images", pieces), None), next(_having("texts", pieces), None)]
    chosen = list(dict.fromkeys(_shortened(piece) for piece in firsts if piece is not None))
    return next(iter(executor.map(trial, [chosen])))


def _having(side: str, pieces: Sequence[Piece]) -> Iterator[Piece]:
    return (piece for piece in pieces if getattr(piece, side) is not None)


def _shortened(piece: Piece) -> Piece:
    most = TRIAL_BLOCKS * BLOCK_ROWS
    parts = {
        side: replace(part, stop=min(part.stop, part.start + most))
        for side, part in (("images", piece.images), ("texts", piece.texts))
        if part is not None
    }
    return Piece(**parts)


def _plan(pieces: Sequence[Piece], executor: Executor, clock: Clock, **known: Any) -> JobPlan:
    parts = [part for piece in pieces for part in piece.parts]
    sources: dict[int, RowSource] = {id(part.source): part.source for part in parts}
    return JobPlan(
        n_shards=len(sources),
        n_rows=sum(piece.n_rows for piece in pieces),
        n_features=parts[0].source.shape[1],
        n_bytes=sum(piece.n_bytes for piece in pieces),
        passes=len(clock.passes),
        n_workers=min(executor.n_workers, len(pieces)),
        trial_rows=clock.rows,
        seconds_per_row=sum(clock.passes),
        seconds_at_end=clock.at_end,
        **known,
    )


def _item(piece: Piece) -> int:
    return piece.parts[0].source.dtype.itemsize
