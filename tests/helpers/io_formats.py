"""One table of the formats, written by the libraries that people write them with."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import safetensors
import safetensors.numpy

HALF, SINGLE, DOUBLE = (np.dtype(name) for name in ("f2", "f4", "f8"))


@dataclass(frozen=True)
class Format:
    """How a format is written, and read back, without the package.

    `write(path, key, rows)` also writes what else a file of the format can hold, which
    `read(path)` returns together with the rows: a dict of arrays or of lists.
    """

    suffix: str
    write: Callable[[Path, str, np.ndarray], None]
    read: Callable[[Path], dict]
    key: str | None = "emb"
    dtypes: tuple[np.dtype, ...] = (HALF, SINGLE, DOUBLE)

    def spec(self, path: Path) -> str:
        return str(path) if self.key is None else f"{path}:{self.key}"

    def make(self, folder: Path, rows: np.ndarray, stem: str = "x") -> Path:
        path = folder / f"{stem}{self.suffix}"
        self.write(path, "emb", rows)
        return path


def write_npz(path: Path, key: str, rows: np.ndarray, write: Callable = np.savez) -> None:
    write(path, **{"labels": np.arange(len(rows)), key: rows, "note": np.array("kept")})


def write_deflated(path: Path, key: str, rows: np.ndarray) -> None:
    write_npz(path, key, rows, np.savez_compressed)


def read_npz(path: Path) -> dict:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def write_safetensors(path: Path, key: str, rows: np.ndarray) -> None:
    tensors = {key: rows, "labels": np.arange(len(rows)), "a": np.zeros(3, "f2")}
    safetensors.numpy.save_file(tensors, path, metadata={"model": "ViT-B/16"})


def write_bfloat16(path: Path, key: str, rows: np.ndarray) -> None:
    upper = (rows.astype("<f4").view("<u4") >> 16).astype("<u2")
    entry = {"dtype": "BF16", "shape": list(rows.shape), "data_offsets": [0, upper.nbytes]}
    header = json.dumps({key: entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + upper.tobytes())


def read_safetensors(path: Path) -> dict:
    with safetensors.safe_open(path, framework="numpy") as file:
        names = list(file.keys())
        return {"__metadata__": file.metadata(), **{n: file.get_tensor(n) for n in names}}


def read_bfloat16(path: Path) -> dict:
    ((key, tensor),) = safetensors.deserialize(path.read_bytes())
    bits = np.frombuffer(tensor["data"], "<u2").astype("<u4") << 16
    return {key: bits.view("<f4").reshape(tensor["shape"])}


def table(key: str, rows: np.ndarray, kind: str) -> pa.Table:
    """Return a table with the rows in the middle and metadata at both levels."""
    n, d = rows.shape
    values = pa.array(np.ascontiguousarray(rows).ravel())
    ends = np.arange(0, (n + 1) * d, d)
    column = {
        "fixed": lambda: pa.FixedSizeListArray.from_arrays(values, d),
        "list": lambda: pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values),
        "large": lambda: pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values),
    }[kind]()
    made = pa.table(
        {
            "url": [f"https://x/{i}" for i in range(n)],
            key: column,
            "class": pa.array([f"c{i % 3}" for i in range(n)]).dictionary_encode(),
            "tags": [["a"] * (i % 3) for i in range(n)],
        }
    )
    position = made.schema.get_field_index(key)
    field = made.schema.field(position).with_metadata({"unit": "none"})
    if kind == "fixed":
        child = pa.field("number", values.type, nullable=False)
        field = field.with_type(pa.list_(child, d))
    return made.cast(made.schema.set(position, field).with_metadata({"model": "ViT-B/16"}))


def write_parquet(kind: str, groups: int = 1, **options: object) -> Callable:
    def write(path: Path, key: str, rows: np.ndarray) -> None:
        size = len(rows) // groups + 1
        pq.write_table(table(key, rows, kind), path, row_group_size=size, **options)

    return write


def write_ipc(kind: str, start: Callable, groups: int = 1) -> Callable:
    def write(path: Path, key: str, rows: np.ndarray) -> None:
        made = table(key, rows, kind)
        with pa.OSFile(str(path), "wb") as sink, start(sink, made.schema) as writer:
            writer.write_table(made, max_chunksize=len(rows) // groups + 1)

    return write


def write_feather(path: Path, key: str, rows: np.ndarray) -> None:
    feather.write_feather(table(key, rows, "list"), path, chunksize=len(rows) // 3 + 1)


def read_table(path: Path) -> dict:
    if path.suffix == ".parquet":
        made = pq.read_table(path)
    else:
        with pa.OSFile(str(path)) as source:
            data = source.read()
        start = pa.ipc.open_file if data.startswith(b"ARROW1") else pa.ipc.open_stream
        made = start(pa.py_buffer(data)).read_all()
    columns = {name: made.column(name).to_pylist() for name in made.schema.names}
    return {"__schema__": made.schema, **columns}


def npy(change: Callable[[np.ndarray], np.ndarray]) -> Format:
    return Format(".npy", lambda p, k, r: np.save(p, change(r)), lambda p: {"": np.load(p)}, None)


FORMATS: dict[str, Format] = {
    "npy": npy(np.asarray),
    "npy by columns": npy(np.asfortranarray),
    "npy big-endian": npy(lambda rows: rows.astype(rows.dtype.newbyteorder(">"))),
    "npz": Format(".npz", write_npz, read_npz),
    "npz deflated": Format(".npz", write_deflated, read_npz),
    "npz by columns": Format(
        ".npz", lambda p, k, r: write_deflated(p, k, np.asfortranarray(r)), read_npz
    ),
    "safetensors": Format(".safetensors", write_safetensors, read_safetensors),
    "bfloat16": Format(".safetensors", write_bfloat16, read_bfloat16, dtypes=(SINGLE,)),
    "parquet fixed": Format(".parquet", write_parquet("fixed"), read_table),
    "parquet list": Format(".parquet", write_parquet("list", groups=3), read_table),
    "parquet large": Format(
        ".parquet", write_parquet("large", compression="zstd", data_page_size=64), read_table
    ),
    "arrow": Format(".arrow", write_ipc("fixed", pa.ipc.new_file, groups=4), read_table),
    "arrow stream": Format(".arrow", write_ipc("large", pa.ipc.new_stream), read_table),
    "feather": Format(".feather", write_feather, read_table),
}
EVERY = pytest.mark.parametrize("case", FORMATS.values(), ids=FORMATS.keys())
CASES = pytest.mark.parametrize(
    ("name", "dtype"), [(name, d) for name, case in FORMATS.items() for d in case.dtypes], ids=str
)


def exact_in_bfloat16(rows: np.ndarray) -> np.ndarray:
    """Return rows that lose nothing in any of the formats."""
    bits = np.ascontiguousarray(rows, dtype="<f4").view("<u4") & 0xFFFF0000
    return bits.view("<f4").astype(rows.dtype)


def make_rows(n: int, d: int, dtype: np.dtype, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return exact_in_bfloat16(rows.astype("f4")).astype(dtype)


def save(path: Path, **arrays: object) -> Path:
    """Write arrays, tensors or columns of these names."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return path
    if path.suffix == ".safetensors":
        safetensors.numpy.save_file(arrays, path)
        return path
    columns = {n: v if isinstance(v, pa.Array) else list(v) for n, v in arrays.items()}
    return save_table(path, pa.table(columns))


def save_table(path: Path, table: pa.Table) -> Path:
    """Write a table as .parquet or .arrow, four rows at a time."""
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=4)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
    return path


def negated(block: np.ndarray, first_row: int) -> np.ndarray:
    return -block


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
