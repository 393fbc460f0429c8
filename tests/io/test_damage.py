"""Bad input is refused in one sentence, whatever is wrong with the file."""

from __future__ import annotations

import errno
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_rows, open_rows, transform_files
from fillgap.io.names import reading
from fillgap.io.tables import read_captions
from io_formats import FORMATS, SINGLE, Format, make_rows

EVERY = pytest.mark.parametrize("case", FORMATS.values(), ids=FORMATS.keys())


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
    path = tmp_path / f"x{case.suffix}"
    case.write(path, "emb", rows)
    whole = path.read_bytes()
    refused = 0
    offsets = {*range(0, 80, 4), *range(len(whole) - 80, len(whole), 3), len(whole) - 1}
    offsets |= set(np.linspace(0, len(whole) - 1, 40).astype(int).tolist())
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
    path = tmp_path / f"x{case.suffix}"
    case.write(path, "emb", make_rows(9, 4, SINGLE))
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
def test_another_format_behind_the_suffix(case: Format, tmp_path: Path) -> None:
    path = tmp_path / f"x{case.suffix}"
    for content in (b"", b"\0", b"PK\x03\x04", b"text\n" * 100, pickle.dumps(np.eye(3))):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"got other or damaged content \(.+\)\. Write the"):
            open_rows(path)


def test_a_wrong_size_of_a_whole_npy_file(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, make_rows(4, 3, SINGLE))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(InputError, match="must be 48 bytes of entries by its header, got 224"):
        open_rows(path)


def test_a_file_that_changes_after_it_was_opened(tmp_path: Path) -> None:
    for name, case in FORMATS.items():
        path = tmp_path / f"x{case.suffix}"
        case.write(path, "emb", make_rows(300, 8, SINGLE))
        source = open_rows(path)
        path.unlink()
        with pytest.raises(InputError, match="got 'No such file or directory'"):
            list(source.iter_blocks(7))
        path.write_bytes(b"")
        with pytest.raises(InputError, match="too early|other or damaged"):
            list(source.iter_blocks(7))
        path.unlink()
        assert name


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("block_rows", [7, 512, 3000, 5000])
def test_damage_inside_an_archive_is_found_by_its_checksum(
    tmp_path: Path, save: Callable, block_rows: int
) -> None:
    path = tmp_path / "x.npz"
    save(path, emb=make_rows(3000, 8, SINGLE))
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\1\2") + 16] ^= 1  # the checksum in the directory
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="Bad CRC-32"):
        list(open_rows(path).iter_blocks(block_rows))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("shape"), r"x must be a file, got other or damaged content \('shape'\)\. Write"),
        (EOFError(), r"content \(EOFError\)\. Write the file again"),
        (ValueError("one.\ntwo"), r"content \(one\)\. Write"),
        (ValueError("y" * 500), r"content \(y{120}\)\. Write"),
        (OSError("Arrow says so"), r"content \(Arrow says so\)\. Write"),
        (OSError(errno.EINVAL, "seek"), r"content \(.*seek\)\. Write"),
        (OSError(errno.EIO, "?"), "x must be readable, got 'Input/output error'. Check that"),
        (PermissionError(errno.EACCES, "?"), "x must be readable, got 'Permission denied'"),
        (InputError("as it is"), "^as it is$"),
    ],
)
def test_whatever_a_parser_raises_becomes_one_sentence(error: Exception, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught, reading("x", "a file"):
        raise error
    assert "\n" not in str(caught.value)


def test_another_member_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    rows = make_rows(3, 4, SINGLE)
    np.savez(path, emb=rows, other=np.zeros(5))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"NUMPY", b"DUMMY").replace(b"DUMMY", b"NUMPY", 1))
    np.testing.assert_array_equal(load_rows(f"{path}:emb"), rows)
    with pytest.raises(InputError, match="got other or damaged content"):
        load_rows(path)
    entry = data.rindex(b"PK\1\2")  # of `other` in the directory
    path.write_bytes(data[: entry + 10] + b"\x63" + data[entry + 11 :])
    np.testing.assert_array_equal(load_rows(f"{path}:emb"), rows)
    transform_files(f"{path}:emb", tmp_path / "y.npz", lambda block, i: block)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["emb"], rows)


@pytest.mark.parametrize("offsets", [[-24, 0], [24, 0], [8, 32], [0, 24, 5], [0], "ab", None])
def test_tensors_outside_of_the_file(tmp_path: Path, offsets: object) -> None:
    path = tmp_path / "x.safetensors"
    header = json.dumps({"emb": {"dtype": "F32", "shape": [2, 3], "data_offsets": offsets}})
    header = header.ljust(96)
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(24))
    if offsets == [0, 24, 5]:  # what is not needed is not looked at
        assert load_rows(path).shape == (2, 3)
        return
    with pytest.raises(InputError, match=r"x\.safetensors must be a safetensors file"):
        open_rows(path)


@pytest.mark.parametrize("name", ["feather", "arrow stream"])
def test_offsets_of_lists_that_point_outside(name: str, tmp_path: Path) -> None:
    kind = np.dtype("i4" if name == "feather" else "i8")
    path = tmp_path / f"x{FORMATS[name].suffix}"
    rows = make_rows(30, 3, SINGLE)
    table = pa.table({"emb": pa.array(list(rows), pa.list_(pa.float32()))})
    if name != "feather":
        table = table.cast(pa.schema([("emb", pa.large_list(pa.float32()))]))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    offsets = np.arange(0, 93, 3, dtype=kind)
    data = path.read_bytes()
    assert offsets.tobytes() in data
    path.write_bytes(data.replace(offsets.tobytes(), (offsets + 10**6).tobytes()))
    with pytest.raises(InputError, match="got other or damaged content"):
        load_rows(path)


@pytest.mark.parametrize("name", ["parquet list", "arrow"])
def test_names_of_columns_that_are_no_text(name: str, tmp_path: Path) -> None:
    case = FORMATS[name]
    path = tmp_path / f"x{case.suffix}"
    case.write(path, "emb", make_rows(3, 4, SINGLE))
    path.write_bytes(path.read_bytes().replace(b"url", b"u\xe4l"))
    for action in (lambda: open_rows(path), lambda: read_captions(path)):
        with pytest.raises(InputError, match=r"got other or damaged content \('utf-8' codec"):
            action()


@pytest.mark.parametrize("name", ["parquet list", "arrow"])
@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_wrong_number_of_rows(name: str, wrong: int, tmp_path: Path) -> None:
    case = FORMATS[name]
    path = tmp_path / f"x{case.suffix}"
    case.write(path, "emb", make_rows(30, 3, SINGLE))
    source = open_rows(path)
    source.n_rows += wrong
    with pytest.raises(InputError, match=f"must be {30 + wrong} rows as its file says, got 30"):
        list(source.iter_blocks(7))


def test_a_stream_cut_between_batches(tmp_path: Path) -> None:
    path = tmp_path / "x.arrow"
    table = pa.table({"emb": list(make_rows(20, 3, SINGLE))})
    ends = []
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=5):
            writer.write_batch(batch)
            ends.append(sink.tell())
    path.write_bytes(path.read_bytes()[: ends[1]])
    with pa.OSFile(str(path)) as file:  # Arrow finds nothing wrong
        assert pa.ipc.open_stream(file).read_all().num_rows == 10
    with pytest.raises(InputError, match="without the mark of its end"):
        open_rows(path)
