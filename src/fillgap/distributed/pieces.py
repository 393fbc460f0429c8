"""The unit of work: some rows of one file, or of two files that belong together; its device."""

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
from fillgap.io.shards import BadShard, check_sides, open_shards, reads_ranges, rows_between
from fillgap.pair import BLOCK_ROWS, RowSource
from fillgap.runtime import choose_device, to_device

#: Rows of a piece where a file can be cut: a second of work, and little to do again.
PIECE_ROWS = 16 * BLOCK_ROWS


@dataclass(frozen=True)
class Part:
    """Rows of one file."""

    source: RowSource
    start: int
    stop: int
    first_row: int  # number of the first of them in the whole side

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
    """One modality: its shards in their order."""

    name: str  # the path, folder or pattern
    shards: list[RowSource | BadShard]

    @property
    def readable(self) -> list[RowSource]:
        """The shards that could be opened."""
        return [shard for shard in self.shards if not isinstance(shard, BadShard)]

    @property
    def bad(self) -> dict[str, str]:
        """The shards that could not be opened, and why."""
        return {shard.name: shard.reason for shard in self.shards if isinstance(shard, BadShard)}

    def without(self, reasons: Mapping[str, str]) -> Side:
        """Return the side with other shards among the bad ones."""
        shards = [
            BadShard(shard.name, reasons[shard.name]) if shard.name in reasons else shard
            for shard in self.shards
        ]
        return Side(self.name, shards)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimension of what can be read."""
        return sum(shard.shape[0] for shard in self.readable), self.readable[0].shape[1]

    @property
    def dtype(self) -> Any:
        """Type of the first shard."""
        return self.readable[0].dtype

    def iter_blocks(self, block_rows: int) -> Iterator[Any]:
        """Yield blocks, shard by shard."""
        for shard in self.readable:
            yield from shard.iter_blocks(block_rows)


#: Images and texts.
Sides = tuple[Side, Side]


def open_sides(images: str | Path, texts: str | Path | None, *, skip_bad_shards: bool) -> Sides:
    """Open the shards of both sides; `texts` left out are in the same place as the images.

    What cannot be read is refused, but where bad shards may be skipped only if none can.
    """
    texts = images if texts is None else texts
    x = Side(str(images), open_shards(images, "image"))
    y = Side(str(texts), open_shards(texts, "text"))
    for side in (x, y):
        if side.bad and (not skip_bad_shards or not side.readable):
            raise InputError(next(iter(side.bad.values())))
        for shard in side.readable:
            if shard.shape[1] != side.shape[1]:
                raise InputError(
                    f"{side.name} must be shards of one dimension, got {side.shape[1]} in "
                    f"{side.readable[0].name} and {shard.shape[1]} in {shard.name}. "
                    "Read shards of different models apart."
                )
    check_sides(x.readable[0].name, y.readable[0].name)
    return x, y


def cut(sides: Sides, *, paired: bool) -> tuple[Sides, list[Piece]]:
    """Return the sides as they will be read, and the pieces of them.

    Where row i belongs to row i, however each side is cut in files, the pieces are of pairs, and
    shards that are missing are left out with their partners.
    """
    if not paired:
        return sides, _pieces_of_side(sides[0], "images") + _pieces_of_side(sides[1], "texts")
    if sides[0].bad or sides[1].bad:
        sides = without_partners(sides)
    images, texts = sides
    n, m = images.shape[0], texts.shape[0]
    if n != m:
        raise InputError(
            f"images and texts must be pairs (row i belongs to row i), got {n} images and {m} "
            "texts. Complete the files, or use what needs no pairs."
        )
    step = PIECE_ROWS if all(map(reads_ranges, (*images.readable, *texts.readable))) else n
    cuts = {n}
    for side in sides:
        for first, last in pairwise(accumulate((s.shape[0] for s in side.readable), initial=0)):
            cuts.update(range(first, last, step))
    spans = list(pairwise(sorted(cuts)))
    both = zip(_located(images.readable, spans), _located(texts.readable, spans), strict=True)
    return sides, [Piece(images=x, texts=y) for x, y in both]


def _pieces_of_side(side: Side, what: str) -> list[Piece]:
    pieces, first_row = [], 0
    for shard in side.readable:
        n = shard.shape[0]
        step = PIECE_ROWS if reads_ranges(shard) else n
        for start in range(0, n, step):
            part = Part(shard, start, min(start + step, n), first_row + start)
            pieces.append(Piece(**{what: part}))
        first_row += n
    return pieces


def _located(shards: Sequence[RowSource], spans: Sequence[tuple[int, int]]) -> Iterator[Part]:
    """Yield the part of each span of rows, none of which crosses the end of a shard."""
    number, first = 0, 0
    for start, stop in spans:
        while start >= first + shards[number].shape[0]:
            first += shards[number].shape[0]
            number += 1
        yield Part(shards[number], start - first, stop - first, start)


def without_partners(sides: Sides) -> Sides:
    """Leave out shards that cannot be read with their partners: the ones at the same place."""
    images, texts = sides
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


def without_pieces(sides: Sides, pieces: Sequence[Piece], bad: Mapping[str, str]) -> Sides:
    """Leave out the files of the pieces that are bad, by name with a reason."""
    reasons = {
        part.source.name: bad[piece.name]
        for piece in pieces
        if piece.name in bad
        for part in piece.parts
    }
    kept = sides[0].without(reasons), sides[1].without(reasons)
    if not (kept[0].readable and kept[1].readable):
        raise InputError(next(iter(reasons.values())))
    return kept


def are_pairs(sides: Sides) -> bool:
    """Tell whether row i belongs to row i, as far as sizes tell, also where a shard is missing."""
    images, texts = sides
    if not images.bad and not texts.bad:
        return images.shape[0] == texts.shape[0]
    try:
        without_partners(sides)
    except InputError:
        return False
    return True


def name_here(name: str | None) -> str | None:
    """Return the device of this worker by its name: of several GPUs, each takes one in turn."""
    if name != "cuda":  # "cuda:1" too is meant as it is written
        return name
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{worker_number() % count}" if count > 1 else name


def worker_number() -> int:
    """Return the number of this process among those that one parent started, from 0."""
    identity = getattr(current_process(), "_identity", ())
    return int(identity[-1]) - 1 if identity else 0


@cache
def device_here(name: str) -> Any:
    """Return the device of this worker.

    Where there is none of that name no shard is to blame, and none may be skipped for it.
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
