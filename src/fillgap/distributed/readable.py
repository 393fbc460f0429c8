"""Pairs without the shards that cannot be read or hold unusable rows, for what holds all rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fillgap._checks import InputError, row_scales
from fillgap._progress import Progress
from fillgap.distributed._executor import Executor
from fillgap.distributed._pieces import (
    Side,
    open_sides,
    pieces_of_pairs,
    without_partners,
    without_shards,
)
from fillgap.distributed._work import Attempt, merge_outcomes, with_rate
from fillgap.distributed.fit import SumOfBlocks
from fillgap.embeddings import EmbeddingPair
from fillgap.io import BadShard
from fillgap.io._open import in_memory
from fillgap.io._sample import sampled_pair
from fillgap.io._shards import ShardedRows

__all__ = ["BadShards", "find_bad_shards", "load_readable_pair"]


@dataclass(frozen=True)
class BadShards:
    """What is left out.

    Attributes
    ----------
    skipped : dict
        From the name of a shard, or of rows of two of them, to the reason.
    names : frozenset of str
        All shards that are left out, without the partners of these.
    """

    skipped: dict[str, str]
    names: frozenset[str]


def find_bad_shards(
    images: str | Path,
    texts: str | Path | None = None,
    *,
    executor: Executor,
    progress: Progress | None = None,
) -> BadShards:
    """Read all pairs once, and return the shards that cannot be read or hold unusable rows.

    Raises
    ------
    InputError
        If nothing else is left, the sides are no pairs row by row, or a bad shard has no partner.
    """
    sides = open_sides(images, texts, skip_bad_shards=True)
    pieces = pieces_of_pairs(*sides)
    attempt = Attempt(SumOfBlocks(_check_block), skip_bad_shards=True)
    shown = with_rate(progress, sum(piece.n_rows for piece in pieces), executor.n_workers)
    found = executor.map_reduce(attempt, pieces, merge_outcomes, progress=shown)
    skipped = sides[0].bad | sides[1].bad | found.report.skipped
    if found.value is None:
        raise InputError(next(iter(skipped.values())))
    if found.report.skipped:
        sides = without_shards(sides, pieces, found.report.skipped)
    return BadShards(skipped, frozenset(sides[0].bad) | frozenset(sides[1].bad))


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
    left = without_partners(*(_without(side, bad) for side in opened))
    x, y = (ShardedRows(side.name, side.readable) for side in left)
    name = Path(images).stem
    if max_images is not None and x.shape[0] > max_images:
        return sampled_pair(
            (x, y), {}, max_images=max_images, paired=None, name=name, random_state=random_state
        )
    return EmbeddingPair(in_memory(x), in_memory(y), name=name)


def _without(side: Side, bad: Collection[str]) -> Side:
    return Side(
        side.name,
        [BadShard(one.name, "it is left out") if one.name in bad else one for one in side.shards],
    )


class _Checked:
    def absorb(self, other: object) -> None:
        """Do nothing."""


def _check_block(first_row: int, X: Any | None, Y: Any | None) -> _Checked:
    """Refuse a block with rows that are zero or not finite."""
    for block, what in ((X, "images"), (Y, "texts")):
        if block is not None:
            row_scales(block, what, first_row=first_row)
    return _Checked()
