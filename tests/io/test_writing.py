"""Where rows may be written, in which form, and that files appear whole or not at all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_rows, open_rows, save_rows, transform_files
from fillgap.io.names import SUFFIXES
from fillgap.pair import BLOCK_ROWS
from io_formats import DOUBLE, FORMATS, HALF, SINGLE, make_rows, names, negated


@pytest.mark.parametrize("name", ["parquet fixed", "arrow stream"])
def test_fewer_rows_go_through_at_once_where_other_columns_are_large(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, rows = FORMATS[name], make_rows(500, 3, SINGLE)
    old, new = case.make(tmp_path, rows), tmp_path / f"new{case.suffix}"
    lengths = []
    monkeypatch.setattr("fillgap.io.tables._BATCH_BYTES", 5000)
    transform_files(case.spec(old), new, lambda block, i: lengths.append(len(block)) or block)
    assert sum(lengths) == 500
    assert max(lengths) <= 5000 * 500 / old.stat().st_size
    monkeypatch.setattr("fillgap.io.tables._BATCH_BYTES", 0)
    transform_files(case.spec(old), new, negated, overwrite=True)
    np.testing.assert_array_equal(load_rows(case.spec(new)), -rows)


def test_bfloat16_is_rounded_to_nearest_even(tmp_path: Path) -> None:
    old = FORMATS["bfloat16"].make(tmp_path, np.ones((1, 4), "f4"))
    step = 2.0**-7  # of bfloat16 at 1
    exact = np.array([[1 + 0.49 * step, 1 + 0.51 * step, 1 + 0.5 * step, -1 - 1.5 * step]], "f4")
    transform_files(old, tmp_path / "a.safetensors", lambda b, i: exact)
    rounded = load_rows(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(rounded, [[1, 1 + step, 1, -1 - 2 * step]])


@pytest.mark.parametrize("k", [2, 3, 5])
def test_tensors_lie_where_their_types_may(tmp_path: Path, k: int) -> None:
    save_rows(tmp_path / "x.safetensors", np.ones((3, k)))
    data = (tmp_path / "x.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length])["embeddings"]["data_offsets"] == [0, 24 * k]


def test_a_stream_stays_a_stream_and_a_file_a_file(tmp_path: Path) -> None:
    for name, start in (("arrow", b"ARROW1"), ("arrow stream", b"\xff\xff\xff\xff")):
        old = FORMATS[name].make(tmp_path, make_rows(5, 3, SINGLE))
        out = transform_files(old, tmp_path / "y.arrow", negated, overwrite=True)
        assert out[0].read_bytes().startswith(start)


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
    if suffix != ".npy":
        save_rows(f"{path}:img_emb", rows, overwrite=True)
        assert open_rows(path).name == f"{path}:img_emb"
    assert names(tmp_path) == [path.name]


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


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Three files of ten rows in the folder `in`, the rows of each equal to its number."""
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / f"x_{i}.npy" for i in range(3)]
    for i, path in enumerate(paths):
        np.save(path, np.full((10, 3), float(i)))
    return paths


def test_shards_go_to_a_folder_under_their_names(tmp_path: Path, shards: list[Path]) -> None:
    reports = []
    for i, source in enumerate((tmp_path / "in", f"{tmp_path}/in/*.npy", shards)):
        out = tmp_path / f"out{i}"
        written = transform_files(
            source, out, negated, progress=lambda done, total, what: reports.append((done, total))
        )
        assert written == [out / path.name for path in shards]
        np.testing.assert_array_equal(load_rows(out)[:, 0], -np.repeat(np.arange(3.0), 10))
    assert reports == [(10, 30), (20, 30), (30, 30)] * 3
    assert transform_files(shards[:1], tmp_path / "b.npy", negated)[0].is_file()


def test_a_failure_in_the_second_shard_leaves_no_folder(tmp_path: Path, shards: list) -> None:
    def apply(block: np.ndarray, first_row: int) -> np.ndarray:
        if block[0, 0] == 1:
            raise InputTypeError("must be another type.")
        return block

    with pytest.raises(InputTypeError, match=r"in/x_1\.npy: must be another"):
        transform_files(tmp_path / "in", tmp_path / "out", apply)
    assert names(tmp_path) == ["in"]


def test_a_folder_is_replaced_only_on_request_and_never_mixed(tmp_path: Path, shards) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match="must be a new name"):
        transform_files(shards, out, negated)
    np.save(out / "c.npy", np.ones((2, 3)))
    with pytest.raises(InputError, match=r"must hold no shards but those written now, got c\.npy"):
        transform_files(shards, out, negated, overwrite=True)
    (out / "c.npy").rename(out / "x_0.npy")
    (out / "notes.md").touch()
    transform_files(shards, out, negated, overwrite=True)
    assert names(out) == ["notes.md", "x_0.npy", "x_1.npy", "x_2.npy"]
    assert load_rows(out).shape == (30, 3)


@pytest.mark.parametrize(
    "how", ["itself", "relative", "symlink", "hardlink", "folder", "pattern", "link in a folder"]
)
def test_the_input_is_never_the_target(
    tmp_path: Path, shards: list[Path], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source, target = "in/x_0.npy", "b.npy"
    if how == "itself":
        target = source
    elif how == "relative":
        target = "in/../in/x_0.npy"
    elif how == "symlink":
        Path(target).symlink_to(source)
    elif how == "hardlink":
        Path(target).hardlink_to(source)
    elif how == "link in a folder":
        source, target = "in", "out"
        Path(target).mkdir()
        Path("out/x_1.npy").symlink_to(shards[1])
    else:
        source, target = ("in" if how == "folder" else "in/*.npy"), "in"
    with pytest.raises(InputError, match="must be another file than the input"):
        transform_files(source, target, negated, overwrite=True)
    np.testing.assert_array_equal(np.load("in/x_0.npy"), np.zeros((10, 3)))


def test_targets_of_the_wrong_kind(tmp_path: Path, shards: list[Path]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "c").touch()
    (tmp_path / "again").mkdir()
    np.save(tmp_path / "again" / "x_0.npy", np.ones((2, 3)))
    for source, target, message in (
        (shards[0], "c.npz", r"must end in \.npy as its source does, got '\.npz'"),
        (shards[0], "out", "must be a file, got a folder"),
        (shards[0], "no/c.npy", "must be in a folder that exists"),
        ([], "out", "must be at least one path, got none"),
        (shards, "c", "must be a folder for several files, got a file"),
        ([shards[0], tmp_path / "again" / "x_0.npy"], "new", r"got x_0\.npy twice"),
    ):
        with pytest.raises(InputError, match=message):
            transform_files(source, tmp_path / target, negated, overwrite=True)
    assert names(tmp_path) == ["again", "c", "in", "out"]


@pytest.mark.parametrize(
    "function",
    [
        lambda block, i: block[:-1],
        lambda block, i: block[0],
        lambda block, i: block[:, : 2 + (i > 0)],
        lambda block, i: block[None],
        lambda block, i: block.sum(),
    ],
)
def test_a_function_must_return_one_row_for_each(tmp_path: Path, function: object) -> None:
    np.save(tmp_path / "a.npy", np.ones((BLOCK_ROWS + 1, 4)))
    with pytest.raises(InputError, match="the result of a transformation must be of shape"):
        transform_files(tmp_path / "a.npy", tmp_path / "b.npy", function)
    assert names(tmp_path) == ["a.npy"]


FULL_DISK = """
import resource, sys
from fillgap.errors import InputError
from fillgap.io import transform_files
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    transform_files(sys.argv[1], sys.argv[2], lambda block, first_row: block, overwrite=True)
except InputError as error:
    print(error)
"""
SLOW = """
import signal, sys, time
from fillgap.io import transform_files
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
def slow(block, first_row):
    print(first_row, flush=True)
    time.sleep(0.05 if first_row else 0)
    return block
transform_files(sys.argv[1], sys.argv[2], slow, overwrite=True)
"""


@pytest.mark.parametrize("code", [FULL_DISK, SLOW], ids=["full disk", "interruption"])
@pytest.mark.parametrize("name", ["npy", "npz", "safetensors", "parquet fixed", "arrow stream"])
def test_a_process_that_is_stopped_leaves_the_old_file(
    name: str, code: str, tmp_path: Path
) -> None:
    case = FORMATS[name]
    rows = np.random.default_rng(0).normal(size=(40 * BLOCK_ROWS, 2)).astype("f4")
    old, new = case.make(tmp_path, rows), tmp_path / f"y{case.suffix}"
    new.write_bytes(b"precious")
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", code, case.spec(old), str(new)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        if code is SLOW:
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    if code is SLOW:
        assert first == "0\n"
        assert "KeyboardInterrupt" in errors
        assert process.returncode != 0
    else:
        assert first.startswith(f"{new} must be writable, got 'File too large'."), errors
        assert errors == ""
    assert names(tmp_path) == [old.name, new.name]
    assert new.read_bytes() == b"precious"
