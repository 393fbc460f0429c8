"""What a job will read and write, from headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fillgap.aligners.base import Aligner, SumAligner
from fillgap.aligners.methods import load_aligner
from fillgap.distributed.apply_job import plan_copies
from fillgap.distributed.executors import Executor
from fillgap.distributed.fit_job import check_method
from fillgap.distributed.pieces import Part, Piece, are_pairs, cut, open_sides, without_partners
from fillgap.io.names import Modality


@dataclass(frozen=True)
class JobPlan:
    """What a job would do."""

    # In each pass:
    n_shards: int
    n_rows: int
    n_features: int
    n_bytes: int
    passes: int = 1
    # Written, about:
    n_files: int = 0
    written_bytes: int = 0
    kept: int = 0  # files that an earlier run finished
    skipped: dict[str, str] = field(default_factory=dict)  # shards that cannot be opened, and why

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON holds."""
        return asdict(self)


def plan_fit(
    aligner: Aligner,
    images: str | Path,
    texts: str | Path | None = None,
    *,
    executor: Executor | None = None,
    skip_bad_shards: bool = False,
) -> JobPlan:
    """Return what `fit_shards` would do with the same arguments.

    Without an executor it is what one process would do, which can also fit methods that hold all
    rows; the size of their file is not known.
    """
    if executor is not None:
        check_method(aligner)
    sides = open_sides(images, texts, skip_bad_shards=skip_bad_shards)
    if not isinstance(aligner, SumAligner):
        return _plan(cut(sides, paired=False)[1], n_files=1)
    size, bad = 16 * sides[0].shape[1] * (sides[0].shape[1] + 2), sides[0].bad | sides[1].bad
    pieces = cut(sides, paired=aligner.needs_pairs)[1]
    return _plan(pieces, passes=aligner.passes, n_files=1, written_bytes=size, skipped=bad)


def plan_apply(
    aligner: str | Path,
    sources: str | Path | Sequence[str | Path],
    target: str | Path,
    *,
    modality: Modality,
) -> JobPlan:
    """Return what `apply_shards` would do with the same arguments."""
    copies, bad = plan_copies(aligner, sources, target, modality=modality)
    left = [copy for copy in copies if not copy.finished]
    kept = len(copies) - len(left)
    if not left:
        return JobPlan(0, 0, 0, 0, kept=kept, skipped=bad)
    side = "images" if modality == "image" else "texts"
    pieces = [Piece(**{side: Part(copy.source, 0, copy.n_rows, 0)}) for copy in left]
    no_rows = np.empty((0, left[0].source.shape[1]), np.float32)
    width = load_aligner(aligner).apply_block(no_rows, side).shape[1]
    written = sum(copy.n_rows * width * copy.source.dtype.itemsize for copy in left)
    return _plan(pieces, n_files=len(left), written_bytes=written, kept=kept, skipped=bad)


def plan_measure(
    images: str | Path,
    texts: str | Path | None = None,
    *,
    executor: Executor | None = None,
    paired: bool | None = None,
    skip_bad_shards: bool = False,
) -> JobPlan:
    """Return what `measure_shards` would do with the same arguments.

    Without an executor it is what one process would do, which reads once.
    """
    sides = open_sides(images, texts, skip_bad_shards=skip_bad_shards)
    _, pieces = cut(sides, paired=are_pairs(sides) if paired is None else paired)
    return _plan(pieces, passes=1 if executor is None else 3, skipped=sides[0].bad | sides[1].bad)


def plan_reading(
    images: str | Path, texts: str | Path | None = None, *, skip_bad_shards: bool = False
) -> tuple[JobPlan, int]:
    """Return what there is to be read once, and the number of images.

    With shards that cannot be opened their partners are left out too.
    """
    sides = open_sides(images, texts, skip_bad_shards=skip_bad_shards)
    bad = sides[0].bad | sides[1].bad
    if bad:
        sides = without_partners(sides)
    return _plan(cut(sides, paired=False)[1], skipped=bad), sides[0].shape[0]


def _plan(pieces: Sequence[Piece], **known: Any) -> JobPlan:
    sources = {id(part.source): part.source for piece in pieces for part in piece.parts}
    return JobPlan(
        n_shards=len(sources),
        n_rows=sum(piece.n_rows for piece in pieces),
        n_features=next(iter(sources.values())).shape[1],
        n_bytes=sum(piece.n_bytes for piece in pieces),
        **known,
    )
