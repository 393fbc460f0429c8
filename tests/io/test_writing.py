"""Copies of files with changed rows keep type and columns, and appear whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_rows, open_rows, save_rows, transform_files
from fillgap.io.names import SUFFIXES
from fillgap.pair import BLOCK_ROWS
from io_formats import DOUBLE, FORMATS, HALF, SINGLE, Format, exact_in_bfloat16, make_rows

EVERY = pytest.mark.parametrize("case", FORMATS.values(), ids=FORMATS.keys())
CASES = [(name, dtype) for name, case in FORMATS.items() for dtype in case.dtypes]


def negated(block: np.ndarray, first_row: int) -> np.ndarray:
    return -block


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=str)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(n=st.integers(1, 40), d=st.integers(2, 8), k=st.integers(2, 9))
def test_rows_change_and_columns_stay(
    name: str, dtype: np.dtype, n: int, d: int, k: int, tmp_path: Path
) -> None:
    case = FORMATS[name]
    rows = make_rows(n, d, dtype, seed=n)
    factors = exact_in_bfloat16(np.random.default_rng(k).normal(size=k).astype("f4"))
    old, new = tmp_path / f"old{case.suffix}", tmp_path / f"new{case.suffix}"
    case.write(old, "emb", rows)
    before = old.read_bytes()

    def apply(block: np.ndarray, first_row: int) -> np.ndarray:
        return exact_in_bfloat16(block[:, :1].astype("f4") * factors)

    assert transform_files(case.spec(old), new, apply, overwrite=True) == [new]
    assert old.read_bytes() == before
    was, now = case.read(old), case.read(new)
    key = "emb" if "emb" in now else ""
    written = np.array(now.pop(key))
    np.testing.assert_array_equal(written, exact_in_bfloat16(rows[:, :1] * factors).astype(dtype))
    assert open_rows(case.spec(new)).dtype == dtype
    if "__schema__" in now:
        assert_same_schema(was.pop("__schema__"), now.pop("__schema__"), k)
        was.pop(key)
        assert was == now
    else:
        assert not any(now.values())  # neither other arrays nor metadata


def assert_same_schema(was: pa.Schema, now: pa.Schema, k: int) -> None:
    assert was.metadata == now.metadata
    assert was.names == now.names
    for a, b in zip(was, now, strict=True):
        assert (a.nullable, a.metadata) == (b.nullable, b.metadata)
        if pa.types.is_fixed_size_list(a.type):
            assert b.type == pa.list_(a.type.value_field, k)
        else:
            assert a.type == b.type


@EVERY
def test_long_files_go_through_in_blocks(case: Format, tmp_path: Path) -> None:
    rows = make_rows(2 * BLOCK_ROWS + 5, 3, SINGLE)
    old, new = tmp_path / f"old{case.suffix}", tmp_path / f"new{case.suffix}"
    case.write(old, "emb", rows)
    starts, reports = [], []

    def apply(block: np.ndarray, first_row: int) -> np.ndarray:
        np.testing.assert_array_equal(block, rows[first_row : first_row + len(block)])
        assert len(block) <= BLOCK_ROWS
        starts.append(first_row)
        return -block

    def progress(done: int, total: int | None, what: str) -> None:
        reports.append((done, total, what))

    transform_files(case.spec(old), new, apply, progress=progress)
    np.testing.assert_array_equal(load_rows(case.spec(new)), -rows)
    assert starts[0] == 0
    assert len(starts) >= 3
    assert [done for done, _, _ in reports] == [*starts[1:], len(rows)]
    assert {report[1:] for report in reports} == {(len(rows), case.spec(old))}


@pytest.mark.parametrize("name", ["parquet fixed", "arrow stream"])
def test_fewer_rows_go_through_at_once_where_other_columns_are_large(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fillgap.io.tables._BATCH_BYTES", 5000)
    case = FORMATS[name]
    old, new = tmp_path / f"old{case.suffix}", tmp_path / f"new{case.suffix}"
    case.write(old, "emb", make_rows(500, 3, SINGLE))
    lengths = []
    transform_files(case.spec(old), new, lambda block, i: lengths.append(len(block)) or block)
    assert sum(lengths) == 500
    assert max(lengths) <= 5000 * 500 / old.stat().st_size
    monkeypatch.setattr("fillgap.io.tables._BATCH_BYTES", 0)
    transform_files(case.spec(old), new, negated, overwrite=True)
    np.testing.assert_array_equal(load_rows(case.spec(new)), -make_rows(500, 3, SINGLE))


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=str)
def test_results_are_rounded_to_the_type_of_the_file(
    name: str, dtype: np.dtype, tmp_path: Path
) -> None:
    case = FORMATS[name]
    old, new = tmp_path / f"old{case.suffix}", tmp_path / f"new{case.suffix}"
    case.write(old, "emb", make_rows(4, 3, dtype))
    exact = np.full((4, 3), 1 / 3)
    transform_files(case.spec(old), new, lambda block, first_row: exact[: len(block)])
    expected = exact_in_bfloat16(exact.astype("f4") + 2**-10) if name == "bfloat16" else exact
    np.testing.assert_array_equal(load_rows(case.spec(new)), expected.astype(dtype))


def test_bfloat16_is_rounded_to_nearest_even(tmp_path: Path) -> None:
    FORMATS["bfloat16"].write(tmp_path / "old.safetensors", "emb", np.ones((1, 4), "f4"))
    step = 2.0**-7  # of bfloat16 at 1
    exact = np.array([[1 + 0.49 * step, 1 + 0.51 * step, 1 + 0.5 * step, -1 - 1.5 * step]], "f4")
    transform_files(tmp_path / "old.safetensors", tmp_path / "a.safetensors", lambda b, i: exact)
    rounded = load_rows(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(rounded, [[1, 1 + step, 1, -1 - 2 * step]])


@pytest.mark.parametrize("k", [2, 3, 5])
def test_tensors_lie_where_their_types_may(tmp_path: Path, k: int) -> None:
    case = FORMATS["safetensors"]
    case.write(tmp_path / "old.safetensors", "emb", make_rows(3, 4, SINGLE))
    transform_files(
        f"{tmp_path}/old.safetensors:emb", tmp_path / "new.safetensors", lambda b, i: b[:, [0] * k]
    )
    save_rows(tmp_path / "saved.safetensors", np.ones((3, k)))
    for name in ("new", "saved"):
        data = (tmp_path / f"{name}.safetensors").read_bytes()
        length = int.from_bytes(data[:8], "little")
        assert length % 8 == 0
        for entry in json.loads(data[8 : 8 + length]).values():
            if "dtype" in entry:
                assert entry["data_offsets"][0] % (int(entry["dtype"][1:]) // 8) == 0


def test_a_stream_stays_a_stream_and_a_file_a_file(tmp_path: Path) -> None:
    for name, start in (("arrow", b"ARROW1"), ("arrow stream", b"\xff\xff\xff\xff")):
        FORMATS[name].write(tmp_path / "x.arrow", "emb", make_rows(5, 3, SINGLE))
        out = transform_files(tmp_path / "x.arrow", tmp_path / "y.arrow", negated, overwrite=True)
        assert out[0].read_bytes().startswith(start)


def test_shards_go_to_a_folder_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = make_rows(30, 3, SINGLE)
    for i in range(3):
        np.save(tmp_path / "in" / f"x_{i}.npy", rows[10 * i : 10 * i + 10])
    reports = []
    sources = (
        tmp_path / "in",
        f"{tmp_path}/in/*.npy",
        [tmp_path / "in" / f"x_{i}.npy" for i in range(3)],
    )
    for i, source in enumerate(sources):
        out = tmp_path / f"out{i}"
        written = transform_files(
            source, out, negated, progress=lambda done, total, what: reports.append((done, total))
        )
        assert written == [out / f"x_{i}.npy" for i in range(3)]
        np.testing.assert_array_equal(load_rows(out), -rows)
    assert reports == [(10, 30), (20, 30), (30, 30)] * 3


def test_one_file_in_a_list_is_one_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3)))
    assert transform_files([tmp_path / "a.npy"], tmp_path / "b.npy", negated)[0].is_file()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [HALF, SINGLE, DOUBLE, np.dtype(">f4")], ids=str)
def test_saved_rows_are_those_that_were_given(tmp_path: Path, suffix: str, dtype: np.dtype) -> None:
    rows = np.random.default_rng(0).normal(size=(5000, 7)).astype(dtype)
    path = tmp_path / f"x{suffix}"
    assert save_rows(path, rows) == path
    np.testing.assert_array_equal(load_rows(path), rows)
    assert load_rows(path).dtype == dtype.newbyteorder("=")
    with pytest.raises(InputError, match="must be a new name"):
        save_rows(path, rows)
    save_rows(path, np.asfortranarray(-rows), overwrite=True)
    np.testing.assert_array_equal(load_rows(path), -rows)
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet", ".arrow"])
def test_saved_rows_take_the_name_behind_the_colon(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    save_rows(f"{path}:img_emb", np.ones((2, 3)))
    assert open_rows(path).name == f"{path}:img_emb"


def test_a_source_is_saved_in_another_format(tmp_path: Path) -> None:
    rows = make_rows(9000, 3, HALF)
    np.savez(tmp_path / "a.npz", emb=rows)
    save_rows(tmp_path / "b.parquet", open_rows(tmp_path / "a.npz"))
    table = pq.read_table(tmp_path / "b.parquet")
    assert table.schema.field("embeddings").type == pa.list_(pa.float16(), 3)
    np.testing.assert_array_equal(np.array(table["embeddings"].to_pylist()), rows)


def test_parquet_is_written_small(tmp_path: Path) -> None:
    save_rows(tmp_path / "x.parquet", np.random.default_rng(0).normal(size=(4096, 64)))
    chunk = pq.read_metadata(tmp_path / "x.parquet").row_group(0).column(0)
    assert chunk.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in chunk.encodings


@pytest.mark.parametrize(
    ("path", "rows", "error", "message"),
    [
        ("x.pt", np.ones((2, 3)), InputError, "must end in one of"),
        ("x.npy:a", np.ones((2, 3)), InputError, "Leave out ':a'"),
        ("x.npy", np.ones(3), InputError, "rows must be 2-D"),
        ("x.npy", np.ones((2, 3), int), InputTypeError, "rows must be floating point"),
        ("no/x.npy", np.ones((2, 3)), InputError, "must be in a folder that exists"),
    ],
)
def test_what_cannot_be_saved(
    tmp_path: Path, path: str, rows: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        save_rows(f"{tmp_path}/{path}", rows)
    assert names(tmp_path) == []
