"""The shards of a judged folder: what is to be embedded, and one of them through an encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from fillgap._checks import unit_rows
from fillgap._files import atomic_file
from fillgap.datasets import Judged, JudgedItem
from fillgap.encoders import Encoder
from fillgap.experiments.embed import shards_of
from fillgap.experiments.judged_embeddings import EMBEDDINGS, PARTS, encoded_items, items_with
from fillgap.scores import Modality

__all__ = ["JudgedShard", "JudgedShardJob", "parts_of", "shards_left"]

Parts: TypeAlias = dict[str, tuple[list[JudgedItem], Modality]]


class JudgedShard(NamedTuple):
    """Some items of one part, whose vectors make one file."""

    part: str
    number: int
    items: range


@dataclass(frozen=True)
class JudgedShardJob:
    """A function of a shard that embeds and writes it, for workers.

    Parameters
    ----------
    open_judged, open_encoder : callable
        Called without arguments by the worker that gets a shard. They give the same object each
        time in one process.
    folder : Path
        Where the parts lie: a file system that all workers share.
    dtype : str
    """

    open_judged: Callable[[], Judged]
    open_encoder: Callable[[], Encoder]
    folder: Path
    dtype: str

    def __call__(self, shard: JudgedShard) -> JudgedShard:
        """Return the shard when it is written: whole or not at all."""
        judged, encoder = self.open_judged(), self.open_encoder()
        items, side = parts_of(judged)[shard.part]
        chosen = [items[i] for i in shard.items]
        encoded = encoded_items(judged.folder, encoder, chosen, side)
        vectors = np.concatenate([np.asarray(part) for part in encoded])
        what = f"the vectors of {shard.part}"
        rows = unit_rows(vectors, what, first_row=shard.items.start)
        with atomic_file(_file(self.folder, shard)) as temporary, temporary.open("wb") as stream:
            np.save(stream, rows.astype(self.dtype), allow_pickle=False)
        return shard


def parts_of(judged: Judged) -> Parts:
    """Return what is to be embedded, by the name of its part."""
    sides = {"query": judged.queries, "corpus": judged.documents}
    found = {part: (items_with(sides[who], side), side) for part, (who, side) in PARTS.items()}
    return {part: one for part, one in found.items() if one[0]}


def shards_left(
    judged: Judged, root: Path, shard_rows: int
) -> tuple[list[JudgedShard], list[JudgedShard]]:
    """Return the shards to be written, and those that are there."""
    every = [
        JudgedShard(part, number, rows)
        for part, (items, _) in parts_of(judged).items()
        for number, rows in enumerate(shards_of(len(items), shard_rows))
    ]
    there = [_file(root / EMBEDDINGS, shard).is_file() for shard in every]
    return (
        [shard for shard, made in zip(every, there, strict=True) if not made],
        [shard for shard, made in zip(every, there, strict=True) if made],
    )


def _file(folder: Path, shard: JudgedShard) -> Path:
    return folder / shard.part / f"{shard.part}_{shard.number:04}.npy"
