"""Every format is read, copied and refused in the same way."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_rows, open_rows, transform_files
from fillgap.io.names import SUFFIXES
from fillgap.io.shards import rows_between
from fillgap.io.tables import FORMATS as READ
from fillgap.pair import BLOCK_ROWS, RowSource
from io_formats import (
    CASES,
    EVERY,
    FORMATS,
    SINGLE,
    Format,
    exact_in_bfloat16,
    make_rows,
    names,
    negated,
)

QUICK = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_the_table_holds_every_suffix() -> None:
    assert tuple(READ) == SUFFIXES
    assert {case.suffix for case in FORMATS.values()} == set(SUFFIXES)


@CASES
@QUICK
@given(n=st.integers(1, 40), d=st.integers(2, 9), block_rows=st.integers(1, 50), data=st.data())
def test_blocks_and_whole_give_the_rows(
    name: str, dtype: np.dtype, n: int, d: int, block_rows: int, data, tmp_path: Path
) -> None:
    case, rows = FORMATS[name], make_rows(n, d, dtype, seed=n)
    spec = case.spec(case.make(tmp_path, rows))
    source = open_rows(spec)
    assert isinstance(source, RowSource)
    assert (source.shape, source.dtype, source.name) == ((n, d), dtype, spec)
    for _ in range(2):  # it can be read again
        blocks = list(source.iter_blocks(block_rows))
        assert [len(b) for b in blocks[:-1]] == [block_rows] * (len(blocks) - 1)
        assert 1 <= len(blocks[-1]) <= block_rows
        assert all(b.dtype == dtype and b.dtype.isnative and b.flags.c_contiguous for b in blocks)
        np.testing.assert_array_equal(np.concatenate(blocks), rows)
    whole = load_rows(spec)
    assert whole.dtype == dtype
    assert whole.dtype.isnative
    np.testing.assert_array_equal(whole, rows)
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    part = rows_between(source, start, stop)
    assert part.shape == (stop - start, d)
    blocks = list(part.iter_blocks(block_rows))
    assert {len(block) for block in blocks[:-1]} <= {block_rows}
    np.testing.assert_array_equal(np.concatenate(blocks), rows[start:stop])


@EVERY
def test_a_source_serves_several_readers(case: Format, tmp_path: Path) -> None:
    rows = make_rows(23, 3, SINGLE)
    source = open_rows(case.make(tmp_path, rows))  # without a name: it is the only candidate
    for first, second in zip(source.iter_blocks(4), source.iter_blocks(4), strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(load_rows(tmp_path / f"x{case.suffix}"), rows)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(next(copy.iter_blocks(23)), rows)


@CASES
@QUICK
@given(n=st.integers(1, 40), d=st.integers(2, 8), k=st.integers(2, 9))
def test_rows_change_and_columns_stay(
    name: str, dtype: np.dtype, n: int, d: int, k: int, tmp_path: Path
) -> None:
    case, rows = FORMATS[name], make_rows(n, d, dtype, seed=n)
    factors = exact_in_bfloat16(np.random.default_rng(k).normal(size=k).astype("f4"))
    old, new = case.make(tmp_path, rows), tmp_path / f"new{case.suffix}"
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
        fixed = pa.types.is_fixed_size_list(a.type)
        assert b.type == (pa.list_(a.type.value_field, k) if fixed else a.type)


@CASES
def test_results_are_rounded_to_the_type_of_the_file(
    name: str, dtype: np.dtype, tmp_path: Path
) -> None:
    case = FORMATS[name]
    old, new = case.make(tmp_path, make_rows(4, 3, dtype)), tmp_path / f"new{case.suffix}"
    exact = np.full((4, 3), 1 / 3)
    transform_files(case.spec(old), new, lambda block, first_row: exact[: len(block)])
    expected = exact_in_bfloat16(exact.astype("f4") + 2**-10) if name == "bfloat16" else exact
    np.testing.assert_array_equal(load_rows(case.spec(new)), expected.astype(dtype))


@EVERY
def test_long_files_go_through_in_blocks(case: Format, tmp_path: Path) -> None:
    rows = make_rows(2 * BLOCK_ROWS + 5, 3, SINGLE)
    spec, new = case.spec(case.make(tmp_path, rows)), tmp_path / f"new{case.suffix}"
    starts, reports = [], []

    def apply(block: np.ndarray, first_row: int) -> np.ndarray:
        np.testing.assert_array_equal(block, rows[first_row : first_row + len(block)])
        assert len(block) <= BLOCK_ROWS
        starts.append(first_row)
        return -block

    transform_files(spec, new, apply, progress=lambda *report: reports.append(report))
    np.testing.assert_array_equal(load_rows(case.spec(new)), -rows)
    assert starts[0] == 0
    assert len(starts) >= 3
    assert [done for done, _, _ in reports] == [*starts[1:], len(rows)]
    assert {report[1:] for report in reports} == {(len(rows), spec)}


@EVERY
@pytest.mark.parametrize("error", [InputError, RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_failure_leaves_nothing_and_the_old_file(
    case: Format, tmp_path: Path, error: type[BaseException]
) -> None:
    spec = case.spec(case.make(tmp_path, make_rows(2 * BLOCK_ROWS + 5, 3, SINGLE)))
    new = tmp_path / f"y{case.suffix}"
    new.write_bytes(b"precious")

    def apply(block: np.ndarray, first_row: int) -> np.ndarray:
        if first_row:
            raise error("images must be finite, got NaN in row 7. Remove it.")
        return block

    with pytest.raises(InputError, match="must be a new name, got one that exists"):
        transform_files(spec, new, negated)
    with pytest.raises(error) as caught:
        transform_files(spec, new, apply, overwrite=True)
    if error is InputError:
        assert str(caught.value).startswith(f"{spec}: images must be finite")
    assert names(tmp_path) == [f"x{case.suffix}", new.name]
    assert new.read_bytes() == b"precious"


def read(path: Path) -> np.ndarray | None:
    """Return the rows, or None where they are refused; both ways of reading must agree."""
    try:
        source = open_rows(path)
        blocks = np.concatenate(list(source.iter_blocks(7)))
    except (InputError, InputTypeError) as error:
        message = str(error)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert " must be " in message or " must hold " in message
        with pytest.raises((InputError, InputTypeError)):
            # A map leaves out what only a full reading finds: there is nothing of that here.
            load_rows(path)
        return None
    assert blocks.shape == source.shape
    np.testing.assert_array_equal(load_rows(path), blocks)
    return blocks


@EVERY
def test_a_truncated_file_is_refused_or_right(case: Format, tmp_path: Path) -> None:
    rows = make_rows(30, 8, SINGLE)
    path = case.make(tmp_path, rows)
    whole = path.read_bytes()
    offsets = {*range(0, 80, 4), *range(len(whole) - 80, len(whole), 3), len(whole) - 1}
    offsets |= set(np.linspace(0, len(whole) - 1, 40).astype(int).tolist())
    refused = 0
    for offset in sorted(offsets):
        path.write_bytes(whole[:offset])
        found = read(path)
        refused += found is None
        if found is not None:
            np.testing.assert_array_equal(found, rows)
    assert refused > len(offsets) / 2


@EVERY
def test_a_damaged_file_never_breaks_the_reader(case: Format, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = case.make(tmp_path, make_rows(9, 4, SINGLE))
    whole = path.read_bytes()
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            # Half of the damage goes where the formats keep their headers and footers.
            edge = min(200, len(whole) // 2)
            places = rng.integers(len(whole)), rng.integers(edge), -rng.integers(1, edge)
            place = int(rng.choice(places)) % len(damaged)
            change = rng.integers(3)
            if change == 0:
                damaged[place] ^= 1 << int(rng.integers(8))
            elif change == 1:
                damaged[place : place + 4] = b"\xff" * 4
            else:
                del damaged[place : place + 3]
        path.write_bytes(bytes(damaged))
        try:
            found = load_rows(path)
            list(open_rows(path).iter_blocks(4))
        except (InputError, InputTypeError) as error:
            assert str(error).startswith(str(path))
        else:
            assert found.ndim == 2
            assert found.dtype.kind == "f"


@EVERY
def test_other_content_and_files_that_change(case: Format, tmp_path: Path) -> None:
    path = case.make(tmp_path, make_rows(300, 8, SINGLE))
    source = open_rows(path)
    path.unlink()
    with pytest.raises(InputError, match="got 'No such file or directory'"):
        list(source.iter_blocks(7))
    path.write_bytes(b"")
    with pytest.raises(InputError, match="too early|other or damaged"):
        list(source.iter_blocks(7))
    for content in (b"", b"\0", b"PK\x03\x04", b"text\n" * 100, pickle.dumps(np.eye(3))):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"got other or damaged content \(.+\)\. Write the"):
            open_rows(path)


@pytest.mark.parametrize("name", ["npy", "npz deflated", "safetensors", "parquet list"])
def test_damage_that_shows_late_leaves_nothing(name: str, tmp_path: Path) -> None:
    case = FORMATS[name]
    old = case.make(tmp_path, make_rows(4 * BLOCK_ROWS, 3, SINGLE))

    def apply(block: np.ndarray, first_row: int) -> np.ndarray:
        os.truncate(old, 200)
        return block

    with pytest.raises(InputError, match=rf"{old}.*Write the file again"):
        transform_files(case.spec(old), tmp_path / f"new{case.suffix}", apply)
    assert names(tmp_path) == [old.name]
