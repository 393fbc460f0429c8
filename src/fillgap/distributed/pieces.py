"""The unit of work: some rows of one file, or the rows of two files that belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from multiprocessing import current_process
from pathlib import Path
from typing import Any

from fillgap.distributed.executors import EngineError
from fillgap.errors import InputError
from fillgap.io.names import Modality
from fillgap.io.shards import BadShard, check_sides, open_shards, reads_ranges, rows_between
from fillgap.pair import BLOCK_ROWS, RowSource
from fillgap.runtime import choose_device, to_device

#: Rows of a piece where a file can be cut: a second of work, and little to do again.
PIECE_ROWS = 16 * BLOCK_ROWS


@dataclass(frozen=True)
class Part:
    """Rows of one file.

    Attributes
    ----------
    source : RowSource
        The file.
    start, stop : int
        Which of its rows.
    first_row : int
        Number of the first of them in the whole side.
    """

    source: RowSource
    start: int
    stop: int
    first_row: int

    def blocks(self) -> Iterator[tuple[int, Any]]:
        """Yield (number of the first row in the whole side, block)."""
        at = self.first_row
        for block in rows_between(self.source, self.start, self.stop).iter_blocks(BLOCK_ROWS):
            yield at, block
            at += len(block)

    @property
    def name(self) -> str:
        """The file, with the rows where they are not all of it."""
        if (self.start, self.stop) == (0, self.source.shape[0]):
            return self.source.name
        return f"{self.source.name} (rows {self.start} to {self.stop - 1})"

    @property
    def n_bytes(self) -> int:
        """Bytes of these rows, as they are stored."""
        stored = getattr(self.source, "stored", self.source.dtype)
        return (self.stop - self.start) * self.source.shape[1] * stored.itemsize


@dataclass(frozen=True)
class Piece:
    """What one call of a worker reads: rows of images, rows of texts, or pairs of both."""

    images: Part | None = None
    texts: Part | None = None

    @property
    def parts(self) -> list[Part]:
        """The parts that there are."""
        return [part for part in (self.images, self.texts) if part is not None]

    @property
    def name(self) -> str:
        """What messages call it: its files."""
        return " with ".join(part.name for part in self.parts)

    @property
    def n_rows(self) -> int:
        """Rows of both sides."""
        return sum(part.stop - part.start for part in self.parts)

    @property
    def n_bytes(self) -> int:
        """Bytes of both sides."""
        return sum(part.n_bytes for part in self.parts)

    def blocks(self) -> Iterator[tuple[int, Any | None, Any | None]]:
        """Yield (first row, images or None, texts or None): together where both are here."""
        if self.images is not None and self.texts is not None:
            pairs = zip(self.images.blocks(), self.texts.blocks(), strict=True)
            for (first_row, x), (_, y) in pairs:
                yield first_row, x, y
        elif self.images is not None:
            yield from ((first_row, x, None) for first_row, x in self.images.blocks())
        elif self.texts is not None:
            yield from ((first_row, None, y) for first_row, y in self.texts.blocks())


@dataclass
class Side:
    """One modality: its shards in their order.

    Attributes
    ----------
    name : str
        The path, folder or pattern.
    shards : list of RowSource or BadShard
        All of them.
    """

    name: str
    shards: list[RowSource | BadShard]

    @property
    def readable(self) -> list[RowSource]:
        """The shards that could be opened."""
        return [shard for shard in self.shards if not isinstance(shard, BadShard)]

    @property
    def bad(self) -> dict[str, str]:
        """The shards that could not be opened, and why."""
        return {shard.name: shard.reason for shard in self.shards if isinstance(shard, BadShard)}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimension of what can be read."""
        return sum(shard.shape[0] for shard in self.readable), self.readable[0].shape[1]

    def iter_blocks(self, block_rows: int) -> Iterator[Any]:
        """Yield blocks, shard by shard."""
        for shard in self.readable:
            yield from shard.iter_blocks(block_rows)

    @property
    def dtype(self) -> Any:
        """Type of the first shard."""
        return self.readable[0].dtype


def open_sides(
    images: str | Path, texts: str | Path | None, *, skip_bad_shards: bool
) -> tuple[Side, Side]:
    """Open the shards of both sides; `texts` left out are in the same place as the images.

    Raises
    ------
    InputError
        If a shard cannot be read (where bad ones may be skipped: if none can), or the sides do not
        fit together.
    """
    sides = _open_side(images, "image"), _open_side(images if texts is None else texts, "text")
    for side in sides:
        if side.bad and (not skip_bad_shards or not side.readable):
            raise InputError(next(iter(side.bad.values())))
        for shard in side.readable:
            if shard.shape[1] != side.shape[1]:
                raise InputError(
                    f"{side.name} must be shards of one dimension, got {side.shape[1]} in "
                    f"{side.readable[0].name} and {shard.shape[1]} in {shard.name}. "
                    "Read shards of different models apart."
                )
    check_sides(*(side.readable[0].name for side in sides))
    return sides


def _open_side(spec: str | Path, modality: Modality) -> Side:
    return Side(str(spec), open_shards(spec, modality))


def pieces_of_sides(images: Side | None, texts: Side | None) -> list[Piece]:
    """Return the pieces of sides that are read independently."""
    pieces = []
    for side, what in ((images, "images"), (texts, "texts")):
        first_row = 0
        for shard in side.readable if side is not None else ():
            step = PIECE_ROWS if reads_ranges(shard) else shard.shape[0]
            for start in range(0, shard.shape[0], step):
                stop = min(start + step, shard.shape[0])
                part = Part(shard, start, stop, first_row + start)
                pieces.append(Piece(**{what: part}))
            first_row += shard.shape[0]
    return pieces


def pieces_of_pairs(images: Side, texts: Side) -> list[Piece]:
    """Return the pieces of two sides whose row i belong together, however each is cut in files.

    Raises
    ------
    InputError
        If the sides are not of one length, or a shard is missing whose partner is not known.
    """
    if images.bad or texts.bad:
        images, texts = without_partners(images, texts)
    n, m = images.shape[0], texts.shape[0]
    if n != m:
        raise InputError(
            f"images and texts must be pairs (row i belongs to row i), got {n} images and {m} "
            "texts. Complete the files, or use what needs no pairs."
        )
    cuts = {0, n}
    for side in (images, texts):
        ends = list(accumulate((shard.shape[0] for shard in side.readable), initial=0))
        cuts.update(ends)
        for shard, first in zip(side.readable, ends, strict=False):
            if all(map(reads_ranges, (*images.readable, *texts.readable))):
                cuts.update(range(first, first + shard.shape[0], PIECE_ROWS))
    rows = sorted(cuts)
    spans = list(pairwise(rows))
    both = zip(_located(images.readable, spans), _located(texts.readable, spans), strict=True)
    return [Piece(images=x, texts=y) for x, y in both]


def _located(shards: Sequence[RowSource], spans: Sequence[tuple[int, int]]) -> Iterator[Part]:
    """Yield the part of each span of rows, none of which crosses the end of a shard."""
    number, first = 0, 0
    for start, stop in spans:
        while start >= first + shards[number].shape[0]:
            first += shards[number].shape[0]
            number += 1
        yield Part(shards[number], start - first, stop - first, start)


def without_partners(images: Side, texts: Side) -> tuple[Side, Side]:
    """Leave out the partner of each shard that cannot be read: the one at the same place."""
    kept = [
        (x, y)
        for x, y in zip(images.shards, texts.shards, strict=False)
        if not isinstance(x, BadShard) and not isinstance(y, BadShard)
    ]
    matching = len(images.shards) == len(texts.shards) and all(
        x.shape[0] == y.shape[0] for x, y in kept
    )
    if not matching or not kept:
        raise InputError(
            f"{images.name} and {texts.name} must have shards that match one by one to skip a bad "
            "one with its partner, got others. Write the bad shard again."
        )
    return Side(images.name, [x for x, _ in kept]), Side(texts.name, [y for _, y in kept])


def without_shards(
    sides: tuple[Side, Side], pieces: Sequence[Piece], bad: Mapping[str, str]
) -> tuple[Side, Side]:
    """Leave out the files of pieces that could not be read.

    Parameters
    ----------
    sides : tuple of Side
    pieces : sequence of Piece
        Of these sides.
    bad : mapping from str to str
        From the name of a piece to the reason.

    Raises
    ------
    InputError
        If nothing is left of a side.
    """
    reasons = {
        part.source.name: bad[piece.name]
        for piece in pieces
        if piece.name in bad
        for part in piece.parts
    }
    kept = []
    for side in sides:
        shards = [
            BadShard(shard.name, reasons[shard.name]) if shard.name in reasons else shard
            for shard in side.shards
        ]
        kept.append(Side(side.name, shards))
        if not kept[-1].readable:
            raise InputError(next(iter(reasons.values())))
    return kept[0], kept[1]


def are_pairs(images: Side, texts: Side) -> bool:
    """Tell whether row i belongs to row i, as far as sizes tell, also where a shard is missing."""
    if not images.bad and not texts.bad:
        return images.shape[0] == texts.shape[0]
    try:
        without_partners(images, texts)
    except InputError:
        return False
    return True


def shared_out(name: str | None, worker: int, count: int) -> str | None:
    """Return the device of one of several workers: GPUs that are not numbered are dealt out.

    Parameters
    ----------
    name : str or None
        As it was given: "cuda" is shared out, "cuda:1" and others are meant as they are written.
    worker : int
        Number of the worker.
    count : int
        GPUs of its machine.
    """
    return f"cuda:{worker % count}" if name == "cuda" and count > 1 else name


def name_here(name: str | None) -> str | None:
    """Return the device of this worker by its name."""
    if name != "cuda":
        return name
    import torch

    return shared_out(name, worker_number(), torch.cuda.device_count())


def worker_number() -> int:
    """Return the number of this process among those that one parent started, from 0."""
    identity = getattr(current_process(), "_identity", ())
    return int(identity[-1]) - 1 if identity else 0


@cache
def device_here(name: str) -> Any:
    """Return the device of this worker.

    Raises
    ------
    EngineError
        If there is none of that name: no shard is to blame, and none may be skipped for it.
    """
    try:
        return choose_device(str(name_here(name)))
    except InputError as error:
        raise EngineError(f"of a worker, {error}") from error


def blocks_on(piece: Piece, name: str | None) -> Iterator[tuple[int, Any | None, Any | None]]:
    """Yield the blocks of a piece, as tensors of the worker's device where one is named."""
    if name is None:
        yield from piece.blocks()
        return
    device = device_here(name)
    for first_row, *sides in piece.blocks():
        x, y = (None if side is None else to_device(side, device) for side in sides)
        yield first_row, x, y
