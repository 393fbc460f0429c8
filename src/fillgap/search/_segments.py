"""Segments of the built-in engine: files that are written once and mapped into memory."""

from __future__ import annotations

import os
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fillgap._checks import InputError
from fillgap.search._backend import Batch, Found, Kind

__all__ = ["Segment", "damaged", "write_dead", "write_segment"]

_SCHEMA = pa.schema([("id", pa.string()), ("payload", pa.large_string())])


class Segment:
    """Documents of one modality: a mapped matrix for each field, and a mapped table of names.

    Parameters
    ----------
    folder : path
    entry : mapping
        Its line in the list of segments: name, modality, count, and the file of dead rows or None.
    fields : mapping from str to int
        Dimension of each field.

    Raises
    ------
    InputError
        If a file is damaged. FileNotFoundError passes: a writer may have replaced the segment.
    """

    def __init__(self, folder: Path, entry: dict[str, Any], fields: Mapping[str, int]) -> None:
        self.entry = entry
        self.name: str = entry["name"]
        self.modality: Kind = entry["modality"]
        self.count: int = entry["count"]
        self.vectors = {
            name: _mapped(folder / f"{self.name}.{name}.npy", (self.count, width))
            for name, width in fields.items()
        }
        self._names = _table(folder / f"{self.name}.arrow", self.count)
        self.dead: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        if entry["dead"] is not None:
            self.dead = _dead(folder / entry["dead"], self.count)

    @property
    def alive(self) -> int:
        """Number of documents that can be found."""
        return self.count - len(self.dead)

    def rows_of(self, ids: pa.Array) -> NDArray[np.int64]:
        """Return the living rows whose ids are among these."""
        places = pc.index_in(self._names["id"], value_set=ids)
        rows = np.flatnonzero(places.is_valid().to_numpy(zero_copy_only=False))
        return np.setdiff1d(rows, self.dead, assume_unique=True)

    def living(self) -> NDArray[np.int64]:
        """Return all living rows."""
        return np.setdiff1d(np.arange(self.count), self.dead, assume_unique=True)

    def found(self, row: int, score: float, *, with_vectors: bool) -> Found:
        """Return one document."""
        vectors = (
            {name: np.array(rows[row]) for name, rows in self.vectors.items()}
            if with_vectors
            else {}
        )
        identity, payload = self._names["id"][row].as_py(), self._names["payload"][row].as_py()
        return Found(identity, self.modality, payload, score, vectors)

    def batch(self) -> Batch:
        """Return the living documents, to be written elsewhere."""
        rows = self.living()
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
        matrix = np.concatenate([batch.vectors[field] for batch in batches])
        with _new_file(folder / f"{name}.{field}.npy") as file:
            np.save(file, matrix, allow_pickle=False)
            _synchronise(file)
    ids = [identity for batch in batches for identity in batch.ids]
    payloads = [payload for batch in batches for payload in batch.payloads]
    table = pa.table({"id": ids, "payload": payloads}, schema=_SCHEMA)
    with _new_file(folder / f"{name}.arrow") as file:
        with pa.ipc.new_file(file, _SCHEMA) as writer:
            writer.write_table(table)
        _synchronise(file)
    return {"name": name, "modality": batches[0].modality, "count": len(ids), "dead": None}


def write_dead(folder: Path, name: str, rows: NDArray[np.int64]) -> str:
    """Write the rows of a segment that must not be found, and return the name of the file."""
    with _new_file(folder / f"{name}.dead.npy") as file:
        np.save(file, np.sort(rows), allow_pickle=False)
        _synchronise(file)
    return f"{name}.dead.npy"


def damaged(path: Path, reason: object) -> InputError:
    """Return the refusal of a file of an index that is not as it was written."""
    text = str(reason).partition("\n")[0]
    return InputError(
        f"{path} must be a whole file of an index, got one that cannot be read ({text}). "
        "Copy the index again, or build it again."
    )


def _loaded(path: Path, mode: Literal["r"] | None) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, SyntaxError, tokenize.TokenError) as error:
        raise damaged(path, error) from error
    return found


def _mapped(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    matrix = _loaded(path, "r")
    if matrix.shape != shape or matrix.dtype != np.float32:
        raise damaged(path, f"{matrix.dtype} of shape {matrix.shape} instead of {shape}")
    return matrix


def _dead(path: Path, count: int) -> NDArray[np.int64]:
    rows = _loaded(path, None)
    if rows.dtype != np.int64 or rows.ndim != 1 or (np.diff(rows, prepend=-1) < 1).any():
        raise damaged(path, f"{rows.dtype} of shape {rows.shape} instead of rising row numbers")
    if rows[-1:] >= count:
        raise damaged(path, f"row {rows[-1]} of {count}")
    return rows


def _table(path: Path, count: int) -> pa.Table:
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        if table.schema == _SCHEMA and table.num_rows == count:
            table.validate(full=True)  # a wrong offset would otherwise end the whole program
            return table.combine_chunks()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    raise damaged(path, f"{table.num_rows} names instead of {count}")


def _new_file(path: Path) -> BinaryIO:
    """Open a file that is new: what a crash left under its name is not written into."""
    path.unlink(missing_ok=True)
    return path.open("xb")


def _synchronise(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
