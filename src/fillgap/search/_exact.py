"""The built-in engine: exact search in NumPy over files that are mapped into memory.

A list of segments names the files that count. A writer adds files first and then replaces the list
in one step, so a reader sees a batch whole or not at all, and a crash leaves only files that
nobody names, which the next writer removes.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fillgap._checks import InputError
from fillgap._files import atomic_file
from fillgap.search._backend import MODALITIES, Batch, Found, Term
from fillgap.search._nearest import Part, nearest
from fillgap.search._segments import Segment, damaged, write_dead, write_segment

__all__ = ["ExactBackend"]

_LIST = "segments.json"
#: A segment of more documents than this is never written again when others are added.
_LARGE = 32_768
_ATTEMPTS = 5


class ExactBackend:
    """Exact search over a folder of segments.

    Parameters
    ----------
    folder : path
    fields : mapping from str to int
        Dimension of each field.
    create : bool
        Whether the folder is made, or must exist.
    """

    def __init__(self, folder: Path, fields: Mapping[str, int], *, create: bool) -> None:
        self.folder, self.fields = folder, dict(fields)
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
            taken = self._small_before(batch)
            kept = [dead.get(s.name, s.entry) for s in self._segments if s not in taken]
            batches = [self._left(segment, batch.ids) for segment in reversed(taken)]
            batches = [*(one for one in batches if one.ids), batch]
            entry = write_segment(self.folder, self._new_name(), batches)
            self._commit([*kept, entry])

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
        parts = [Part([s.vectors[term.field] for term in terms], s.dead) for s in segments]
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

    def optimise(self) -> None:
        """Do nothing: segments are joined while documents are added."""

    def close(self) -> None:
        """Let go of the mapped files."""
        self._segments, self._seen = [], None

    def drop(self) -> None:
        """Do nothing: all there is lies in the folder."""

    def _kill(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Write which rows these ids have; return the new lines of the segments concerned."""
        wanted, found = pa.array(ids, pa.string()), {}
        for segment in self._segments:
            rows = segment.rows_of(wanted)
            if len(rows):
                name = f"{segment.name}-{self._new_name()}"
                file = write_dead(self.folder, name, np.concatenate([segment.dead, rows]))
                found[segment.name] = dict(segment.entry) | {"dead": file}
        return found

    def _small_before(self, batch: Batch) -> list[Segment]:
        """Return the last segments of this modality that are no larger than what follows them.

        Single documents are thereby written again a logarithmic number of times, and the number of
        segments stays logarithmic too.
        """
        total, taken = len(batch.ids), []
        for segment in reversed(self._segments):
            if segment.modality != batch.modality:
                continue
            if segment.alive > min(total, _LARGE):
                break
            taken.append(segment)
            total += segment.alive
        return taken

    @staticmethod
    def _left(segment: Segment, ids: Sequence[str]) -> Batch:
        """Return the living documents of a segment but for those with these ids."""
        whole, gone = segment.batch(), set(ids)
        rows = [i for i, identity in enumerate(whole.ids) if identity not in gone]
        if len(rows) == len(whole.ids):
            return whole
        return Batch(
            whole.modality,
            [whole.ids[i] for i in rows],
            [whole.payloads[i] for i in rows],
            {name: matrix[rows] for name, matrix in whole.vectors.items()},
        )

    def _new_name(self) -> str:
        self._list["next"] += 1
        return f"{self._list['next'] - 1:06d}"

    def _commit(self, entries: list[dict[str, Any]]) -> None:
        """Replace the list in one step, and remove the files that it no longer names."""
        self._write_list({"next": self._list["next"], "segments": entries})
        self._refresh()
        named = {entry["name"] for entry in entries} | {entry["dead"] for entry in entries}
        for path in self.folder.iterdir():
            known = path.name in named or path.name.partition(".")[0] in named
            if not known and path.suffix in {".npy", ".arrow", ".tmp"}:
                with suppress(OSError):
                    path.unlink()

    def _write_list(self, content: dict[str, Any]) -> None:
        with atomic_file(self.folder / _LIST) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    def _refresh(self) -> None:
        """Read the list again if a writer has replaced it, and map new segments.

        One thread at a time: a slow one must not put back an older list than the one that is known,
        from which names of files would be given out twice.
        """
        with self._refreshing:
            self._read_list()

    def _read_list(self) -> None:
        path = self.folder / _LIST
        for attempt in range(_ATTEMPTS):
            try:
                # Its inode, time and size are no sign: the next list but one may have the same.
                seen = path.read_bytes()
                if seen == self._seen:
                    return
                content = _checked(json.loads(seen))
                known = {json.dumps(s.entry, sort_keys=True): s for s in self._segments}
                segments = [
                    known.get(json.dumps(entry, sort_keys=True))
                    or Segment(self.folder, entry, self.fields)
                    for entry in content["segments"]
                ]
            except FileNotFoundError as error:  # replaced between two lines of ours: look again
                if attempt == _ATTEMPTS - 1:
                    raise damaged(Path(error.filename or path), error.strerror) from error
                continue
            except (KeyError, TypeError, ValueError, OSError, RecursionError) as error:
                raise error if isinstance(error, InputError) else damaged(path, error) from error
            self._list, self._segments, self._seen = content, segments, seen
            return

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the right to write; another program that holds it is a refusal."""
        with (self.folder / "write.lock").open("a") as lock:
            try:
                _lock(lock.fileno())
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


def _lock(descriptor: int) -> None:
    """Lock a file until it is closed, where the operating system can."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
