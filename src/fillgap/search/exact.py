"""Exact search in a folder of segments, whose rows need not fit into memory.

For the largest inner products the rows are multiplied in blocks. A block is folded into maxima over
groups of its columns; only groups that reach the k-th best score found so far are looked at, so
that nothing is partitioned.
"""

from __future__ import annotations

import json
import os
import threading
import tokenize
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fillgap.errors import InputError
from fillgap.files import atomic_file
from fillgap.search.backend import MODALITIES, Backend, Batch, Found, Kind, Term

Array = NDArray[Any]

#: Scores in a block: 4 MB of float32, which a cache holds.
_BLOCK_SCORES = 2**20
#: Queries multiplied at a time.
_MOST_QUERIES = 256
#: Columns of a group at most; a block has at least this many times k groups.
_LONGEST_FOLD, _GROUPS_PER_K = 32, 4


#: Rows that are searched together, one matrix of shape (n_rows, dimension) for each term, and the
#: numbers of those among them that must not be found, ascending.
Part = tuple[list[Array], Array]


def nearest(queries: Sequence[Array], parts: Sequence[Part], k: int) -> tuple[Array, Array]:
    """Return the numbers and the scores of the k rows with the largest sums of products.

    `queries` has one matrix for each term. Rows are numbered from the first part to the last. Both
    results are of shape (n_queries, k), or less where there are fewer rows; the best is first, and
    of equal scores the lower number.
    """
    n = len(queries[0])
    k = min(k, sum(len(rows[0]) - len(dead) for rows, dead in parts))
    items, scores = np.zeros((n, k), dtype=np.int64), np.zeros((n, k), dtype=np.float32)
    for at in range(0, n if k else 0, _MOST_QUERIES):
        chosen = slice(at, at + _MOST_QUERIES)
        scan = _Scan([side[chosen] for side in queries], k)
        first = 0
        for rows, dead in parts:
            scan.read(rows, dead, first)
            first += len(rows[0])
        items[chosen], scores[chosen] = scan.items, scan.scores
    return items, scores


class _Scan:
    """The k best rows so far of a block of queries."""

    def __init__(self, queries: list[Array], k: int) -> None:
        n = len(queries[0])
        self.queries, self.k = queries, k
        columns = 1 << max(11, min(16, (_BLOCK_SCORES // n).bit_length() - 1))
        self.fold = max(1, min(_LONGEST_FOLD, columns // (_GROUPS_PER_K * k)))
        self.groups = columns // self.fold
        self.block = np.empty((n, self.fold * self.groups), dtype=np.float32)
        self.items = np.zeros((n, k), dtype=np.int64)
        self.scores = np.full((n, k), -np.inf, dtype=np.float32)

    def read(self, rows: list[Array], dead: Array, first: int) -> None:
        """Look at the rows of a part, which are numbered from `first`."""
        step, size = self.block.shape[1], len(rows[0])
        for start in range(0, size, step):
            stop = min(start + step, size)
            block = self.block[:, : stop - start]
            np.matmul(self.queries[0], rows[0][start:stop].T, out=block)
            for queries, more in zip(self.queries[1:], rows[1:], strict=True):
                block += queries @ more[start:stop].T
            self.block[:, stop - start :] = -np.inf
            low, high = np.searchsorted(dead, (start, stop))
            self.block[:, dead[low:high] - start] = -np.inf
            self._keep(first + start)

    def _keep(self, first: int) -> None:
        """Put what the block has above the k-th best score into the list of each query."""
        maxima = self.block.reshape(len(self.block), self.fold, self.groups).max(axis=1)
        bounds = self.scores[:, -1]
        above = maxima > bounds[:, None]
        if self.k <= self.groups and np.count_nonzero(above) > self.k * len(above):
            # The k-th largest maximum is another bound from below: nearly all are above the old one
            # at the start, and where rows of the modality of the queries begin.
            least = np.partition(maxima, -self.k, axis=1)[:, -self.k]
            bounds = np.maximum(bounds, np.nextafter(least, np.float32(-np.inf)))
            above = maxima > bounds[:, None]
        row, group = np.nonzero(above)
        if not len(row):
            return
        columns = group[:, None] + self.groups * np.arange(self.fold)
        values = self.block[row[:, None], columns]
        hit = np.nonzero(values > bounds[row, None])
        row, item, value = row[hit[0]], first + columns[hit], values[hit]
        touched = np.unique(row)
        row = np.concatenate([np.repeat(touched, self.k), row])
        item = np.concatenate([self.items[touched].ravel(), item])
        value = np.concatenate([self.scores[touched].ravel(), value])
        # What was found earlier has lower numbers, except where nothing was found yet.
        order = np.lexsort((item, -value, row))
        counts = np.bincount(row, minlength=len(self.items))[touched]
        start = np.cumsum(counts) - counts
        chosen = order[start[:, None] + np.arange(self.k)]
        self.items[touched], self.scores[touched] = item[chosen], value[chosen]


_SCHEMA = pa.schema([("id", pa.string()), ("payload", pa.large_string())])


class Segment:
    """Documents of one modality: a mapped matrix for each field, and a mapped table of names.

    A damaged file is refused. FileNotFoundError passes: a writer may have replaced the segment.
    """

    def __init__(self, folder: Path, entry: dict[str, Any], fields: Mapping[str, int]) -> None:
        self.entry = entry  # its line in the list of segments
        self.name: str = entry["name"]
        self.modality: Kind = entry["modality"]
        self.count: int = entry["count"]
        self.vectors: dict[str, NDArray[np.float32]] = {}
        for field, width in fields.items():
            with _whole(path := folder / f"{self.name}.{field}.npy"):
                matrix = self.vectors[field] = np.load(path, mmap_mode="r", allow_pickle=False)
                shape = (self.count, width)
                if matrix.shape != shape or matrix.dtype != np.float32:
                    raise ValueError(f"{matrix.dtype} of shape {matrix.shape} instead of {shape}")
        with _whole(path := folder / f"{self.name}.arrow"):
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            if table.schema != _SCHEMA or table.num_rows != self.count:
                raise ValueError(f"{table.num_rows} names instead of {self.count}")
            table.validate(full=True)  # a wrong offset would otherwise end the whole program
            self._names = table.combine_chunks()
        self.dead: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # ascending rows
        if entry["dead"] is None:
            return
        with _whole(path := folder / entry["dead"]):
            rows = self.dead = np.load(path, allow_pickle=False)
            if rows.dtype != np.int64 or rows.ndim != 1 or (np.diff(rows, prepend=-1) < 1).any():
                raise ValueError(
                    f"{rows.dtype} of shape {rows.shape} instead of rising row numbers"
                )
            if rows[-1:] >= self.count:
                raise ValueError(f"row {rows[-1]} of {self.count}")

    @property
    def alive(self) -> int:
        """Number of documents that can be found."""
        return self.count - len(self.dead)

    def living(self) -> NDArray[np.int64]:
        """Return all living rows."""
        return np.setdiff1d(np.arange(self.count), self.dead, assume_unique=True)

    def rows_of(self, ids: pa.Array) -> NDArray[np.int64]:
        """Return the living rows whose ids are among these."""
        places = pc.index_in(self._names["id"], value_set=ids)
        rows = np.flatnonzero(places.is_valid().to_numpy(zero_copy_only=False))
        return np.setdiff1d(rows, self.dead, assume_unique=True)

    def found(self, row: int, score: float, *, with_vectors: bool) -> Found:
        """Return one document."""
        fields = self.vectors if with_vectors else {}
        vectors = {name: np.array(rows[row]) for name, rows in fields.items()}
        identity, payload = self._names["id"][row].as_py(), self._names["payload"][row].as_py()
        return Found(identity, self.modality, payload, score, vectors)

    def batch(self, *, without: pa.Array) -> Batch:
        """Return the living documents but for those with these ids, to be written elsewhere."""
        rows = np.setdiff1d(self.living(), self.rows_of(without), assume_unique=True)
        names = self._names.take(rows)
        return Batch(
            self.modality,
            names["id"].to_pylist(),
            names["payload"].to_pylist(),
            {name: np.asarray(matrix[rows]) for name, matrix in self.vectors.items()},
        )


def write_segment(folder: Path, name: str, batches: Sequence[Batch]) -> dict[str, Any]:
    """Write the files of one segment, and return its line for the list of segments."""
    for field in batches[0].vectors:
        with _new_file(folder / f"{name}.{field}.npy") as file:
            matrix = np.concatenate([batch.vectors[field] for batch in batches])
            np.save(file, matrix, allow_pickle=False)
    ids = [identity for batch in batches for identity in batch.ids]
    payloads = [payload for batch in batches for payload in batch.payloads]
    table = pa.table({"id": ids, "payload": payloads}, schema=_SCHEMA)
    with (
        _new_file(folder / f"{name}.arrow") as file,
        pa.ipc.new_file(file, _SCHEMA) as writer,
    ):
        writer.write_table(table)
    return {"name": name, "modality": batches[0].modality, "count": len(ids), "dead": None}


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that is new, whatever a crash left there, and bring it onto the disk."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Refuse a file that is not as it was written; that it is missing passes."""
    try:
        yield
    except (FileNotFoundError, InputError):
        raise
    except (
        KeyError, TypeError, ValueError, OSError, EOFError, SyntaxError, RecursionError,
        tokenize.TokenError, pa.ArrowException,
    ) as error:  # fmt: skip
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> InputError:
    text = str(reason).partition("\n")[0]
    return InputError(
        f"{path} must be a whole file of an index, got one that cannot be read ({text}). "
        "Copy the index again, or build it again."
    )


_LIST = "segments.json"
#: A segment of more documents than this is never written again when others are added.
_LARGE = 32_768
_ATTEMPTS = 5


class ExactBackend(Backend):
    """Exact search over a folder of segments."""

    def __init__(self, folder: Path, fields: Mapping[str, int], *, create: bool) -> None:
        super().__init__(fields, exact=True)
        self._folder = folder
        if create:
            folder.mkdir()
            self._write_list({"next": 1, "segments": []})
        self._refreshing = threading.Lock()
        self._seen: bytes | None = None
        self._list: dict[str, Any] = {}
        self._segments: list[Segment] = []
        self._refresh()

    def add(self, batch: Batch) -> None:
        """Keep a batch as a new segment, together with the small segments before it."""
        with self._writing():
            dead = self._kill(batch.ids)
            # Joined are the last segments of this modality that are no larger than what follows
            # them: single documents are thereby written again a logarithmic number of times, and
            # the number of segments stays logarithmic too.
            total, joined = len(batch.ids), list[Segment]()
            for segment in reversed(self._segments):
                if segment.modality == batch.modality:
                    if segment.alive > min(total, _LARGE):
                        break
                    joined.insert(0, segment)
                    total += segment.alive
            kept = [dead.get(s.name, s.entry) for s in self._segments if s not in joined]
            gone = pa.array(batch.ids, pa.string())
            batches = [segment.batch(without=gone) for segment in joined]
            batches = [*(one for one in batches if one.ids), batch]
            self._commit([*kept, write_segment(self._folder, self._new_name(), batches)])

    def search(
        self,
        terms: Sequence[Term],
        k: int,
        modalities: Collection[str] | None,
        *,
        with_vectors: bool = False,
    ) -> list[list[Found]]:
        """Return the k best documents of each query, exactly."""
        self._refresh()
        segments = [s for s in self._segments if modalities is None or s.modality in modalities]
        parts = [([s.vectors[term.field] for term in terms], s.dead) for s in segments]
        items, scores = nearest([term.queries for term in terms], parts, k)
        starts = np.cumsum([0, *(segment.count for segment in segments)])
        at = np.searchsorted(starts, items, side="right") - 1
        return [
            [
                segments[i].found(int(item - starts[i]), float(score), with_vectors=with_vectors)
                for i, item, score in zip(*row, strict=True)
            ]
            for row in zip(at.tolist(), items, scores, strict=True)
        ]

    def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Found]:
        """Return the documents of these ids that there are."""
        self._refresh()
        wanted = pa.array(ids, pa.string())
        return [
            segment.found(int(row), np.nan, with_vectors=with_vectors)
            for segment in self._segments
            for row in segment.rows_of(wanted)
        ]

    def sample(self, modality: str, n: int) -> list[Found]:
        """Return documents of one modality at even distances."""
        self._refresh()
        segments = [segment for segment in self._segments if segment.modality == modality]
        total = sum(segment.alive for segment in segments)
        chosen = np.linspace(0, total - 1, min(n, total)).astype(int)
        found: list[Found] = []
        for segment in segments:
            here = chosen[chosen < segment.alive]
            rows = segment.living()[here].tolist()
            found += [segment.found(row, np.nan, with_vectors=True) for row in rows]
            chosen = chosen[len(here) :] - segment.alive
        return found

    def count(self) -> dict[str, int]:
        """Return the number of documents of each modality."""
        self._refresh()
        found: Counter[str] = Counter()
        for segment in self._segments:
            found[segment.modality] += segment.alive
        return {modality: n for modality, n in found.items() if n}

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and return how many there were."""
        with self._writing():
            before = sum(segment.alive for segment in self._segments)
            dead = self._kill(ids)
            self._commit([dead.get(s.name, s.entry) for s in self._segments])
            return before - sum(segment.alive for segment in self._segments)

    def close(self) -> None:
        """Let go of the mapped files."""
        self._segments, self._seen = [], None

    def _kill(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Write which rows these ids have; return the new lines of the segments concerned."""
        wanted, lines = pa.array(ids, pa.string()), {}
        for segment in self._segments:
            rows = segment.rows_of(wanted)
            if len(rows):
                name = f"{segment.name}-{self._new_name()}.dead.npy"
                with _new_file(self._folder / name) as file:
                    dead = np.sort(np.concatenate([segment.dead, rows]))
                    np.save(file, dead, allow_pickle=False)
                lines[segment.name] = dict(segment.entry) | {"dead": name}
        return lines

    def _new_name(self) -> str:
        self._list["next"] += 1
        return f"{self._list['next'] - 1:06d}"

    def _commit(self, entries: list[dict[str, Any]]) -> None:
        """Replace the list in one step, and remove the files that it no longer names."""
        self._write_list({"next": self._list["next"], "segments": entries})
        self._refresh()
        named = {entry["name"] for entry in entries} | {entry["dead"] for entry in entries}
        for path in self._folder.iterdir():
            known = path.name in named or path.name.partition(".")[0] in named
            if not known and path.suffix in {".npy", ".arrow", ".tmp"}:
                with suppress(OSError):
                    path.unlink()

    def _write_list(self, content: dict[str, Any]) -> None:
        with atomic_file(self._folder / _LIST) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    def _refresh(self) -> None:
        """Read the list again if a writer has replaced it, and map new segments."""
        # One thread at a time: a slow one must not put back an older list than the one that is
        # known, from which names of files would be given out twice.
        with self._refreshing:
            for attempt in range(_ATTEMPTS):
                try:
                    self._read_list()
                except FileNotFoundError as error:  # replaced between two lines of ours: look again
                    if attempt == _ATTEMPTS - 1:
                        missing = Path(error.filename or self._folder / _LIST)
                        raise _damaged(missing, error.strerror) from error
                else:
                    return

    def _read_list(self) -> None:
        with _whole(path := self._folder / _LIST):
            # Its inode, time and size are no sign: the next list but one may have the same.
            seen = path.read_bytes()
            if seen == self._seen:
                return
            content = _checked(json.loads(seen))
            known = {json.dumps(s.entry, sort_keys=True): s for s in self._segments}
            segments = [
                known.get(json.dumps(entry, sort_keys=True))
                or Segment(self._folder, entry, self._fields)
                for entry in content["segments"]
            ]
            self._list, self._segments, self._seen = content, segments, seen

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the right to write; another program that holds it is a refusal."""
        with (self._folder / "write.lock").open("a") as lock:
            try:
                if os.name == "posix":
                    import fcntl

                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until the file is closed
            except OSError as error:
                raise InputError(
                    "an index must be written by one program at a time, got a second one. "
                    "Wait until the other is done; searching is possible meanwhile."
                ) from error
            self._refresh()
            yield


def _checked(content: Any) -> Any:
    """Return a list of segments if every part is of its kind; a damaged one may hold anything."""
    entries = content["segments"]
    names = [entry["name"] for entry in entries]
    for entry in entries:
        if entry["modality"] not in MODALITIES:
            raise ValueError(f"{entry['modality']!r} is no modality")
        if not isinstance(entry["name"], str) or not isinstance(entry["dead"], str | None):
            raise TypeError("a name is no text")
    numbers = [content["next"], *(entry["count"] for entry in entries)]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise TypeError("a count is no number")
    if len(set(names)) < len(names):
        raise ValueError("a segment is named twice")
    return content
