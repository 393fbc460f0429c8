"""What is no set of embeddings is refused in one sentence that says why and what to do."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy

from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_rows, open_rows, save_rows, transform_files
from fillgap.io.names import reading
from fillgap.io.tables import read_captions
from io_formats import FORMATS, SINGLE, make_rows, names, negated, save, save_table


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_arrays_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "exploded"),))

    write = np.save if suffix == ".npy" else np.savez
    write(tmp_path / f"x{suffix}", np.array([[Bomb(), 1.0]], dtype=object))
    with pytest.raises(InputTypeError, match="got pickled objects, which are never loaded"):
        open_rows(tmp_path / f"x{suffix}")
    assert names(tmp_path) == [f"x{suffix}"]


SHAPES = {
    "1-D": (np.zeros(5, "f4"), InputError, r"must be 2-D .* got 1-D of shape \(5,\)"),
    "3-D": (np.zeros((2, 3, 4), "f4"), InputError, r"must be 2-D .* got 3-D of shape \(2, 3, 4\)"),
    "0-D": (np.array(1.0), InputError, "must be 2-D"),
    "empty": (np.zeros((0, 4), "f4"), InputError, "must be at least 1 row, got 0"),
    "one column": (np.zeros((4, 1), "f4"), InputError, "must be of at least 2 dimensions, got 1"),
    "integers": (np.zeros((2, 3), "i8"), InputTypeError, "floating point numbers, got int64"),
    "bytes": (np.zeros((2, 3), "u1"), InputTypeError, "floating point numbers, got uint8"),
    "strings": (np.array([["a", "b"]]), InputTypeError, "floating point numbers, got <U1"),
    "complex": (np.zeros((2, 3), "c8"), InputTypeError, "numbers, got complex64"),
    "fields": (np.zeros((2, 3), [("a", "f4")]), InputTypeError, "floating point numbers"),
}


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("name", SHAPES)
def test_arrays_that_are_no_embeddings(tmp_path: Path, suffix: str, name: str) -> None:
    array, error, message = SHAPES[name]
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".npz" or name in {"1-D", "3-D", "empty", "integers", "bytes"}:
        save(path, emb=array)
    else:
        pytest.skip("the library does not write such a tensor")
    if suffix == ".safetensors" and error is InputTypeError:
        message = "emb must be F16, BF16, F32 or F64, or I8 with scales, got "
    with pytest.raises(error, match=f"x{suffix}.*{message}"):
        open_rows(path)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="no longer type here")
def test_numbers_longer_than_double(tmp_path: Path) -> None:
    rows = np.zeros((2, 3), np.longdouble)
    np.save(tmp_path / "x.npy", rows)
    for action in (lambda: open_rows(tmp_path / "x.npy"), lambda: save_rows("y.npy", rows)):
        with pytest.raises(InputTypeError, match="must be float16, float32 or float64, got float"):
            action()


COLUMNS = {
    "numbers": (pa.array([1.0, 2.0]), "a column of lists of floating point numbers, got double"),
    "text": (pa.array(["a", "b"]), "a column of lists of floating point numbers, got string"),
    "integers": (pa.array([[1, 2], [3, 4]]), "got list<element: int64>"),
    "lists of lists": (pa.array([[[1.0]], [[2.0]]]), "got list<element: list<element: double>>"),
    "empty": (pa.array([], pa.list_(pa.float32(), 3)), "must be at least 1 row, got 0"),
    "no numbers": (pa.array([[], []], pa.list_(pa.float32())), "at least 2 dimensions, got 0"),
    "null first": (
        pa.array([None, [1, 2]], pa.list_(pa.float32())),
        "must be numbers in every row, got null in row 0. Remove",
    ),
}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize(("column", "message"), COLUMNS.values(), ids=COLUMNS.keys())
def test_columns_that_are_no_embeddings(
    tmp_path: Path, suffix: str, column: pa.Array, message: str
) -> None:
    path = save(tmp_path / f"x{suffix}", emb=column)
    with pytest.raises((InputError, InputTypeError)) as caught:
        open_rows(f"{path}:emb")
    assert message in str(caught.value).replace("item", "element")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, lambda t: pa.list_(t, 2)])
@pytest.mark.parametrize("row", [1, 6, 9])
def test_rows_that_are_null_or_hold_a_null(
    tmp_path: Path, suffix: str, kind: Callable, row: int
) -> None:
    for bad, message in (
        (None, f"must be 2 numbers in every row, as in row 0, got null in row {row}"),
        ([None, 1.0], f"must be numbers throughout, got a null in row {row}"),
        ([1.0, None], f"must be numbers throughout, got a null in row {row}"),
    ):
        rows = [[1.0, 2.0] for _ in range(10)]
        rows[row] = bad
        source = open_rows(save(tmp_path / f"x{suffix}", emb=pa.array(rows, kind(pa.float32()))))
        for block_rows in (1, 3, 100):
            with pytest.raises(InputError, match=f"x{suffix}:emb {message}"):
                list(source.iter_blocks(block_rows))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("bad", [[1.0], [1.0, 2.0, 3.0], []])
def test_ragged_rows(tmp_path: Path, suffix: str, bad: list) -> None:
    rows = [[1.0, 2.0] for _ in range(10)]
    rows[7:9] = bad, [1.0] * (4 - len(bad))  # the total is that of equal rows
    with pytest.raises(InputError, match=f"as in row 0, got {len(bad)} numbers in row 7"):
        load_rows(save(tmp_path / f"x{suffix}", emb=pa.array(rows)))


def test_names_that_choose_no_array(tmp_path: Path) -> None:
    several = {name: make_rows(3, 4, SINGLE) for name in ("images", "texts", "texts_b")}
    for suffix in (".npz", ".safetensors", ".parquet", ".arrow"):
        path = save(tmp_path / f"x{suffix}", **several)
        with pytest.raises(InputError, match="name of one .*, got 'images', 'texts', 'texts_b'"):
            open_rows(path)
        with pytest.raises(InputError, match="must hold the .* 'no', got 'images', .* Name one of"):
            open_rows(f"{path}:no")
    lists = pa.array([[1.0, 2.0]])
    twice = pa.Table.from_arrays([lists, lists], names=["emb", "emb"])
    with pytest.raises(InputError, match="must hold one column 'emb', got 2"):
        open_rows(save_table(tmp_path / "x.arrow", twice))
    with pytest.raises(InputError, match="with the name of one array, got none at all"):
        open_rows(save(tmp_path / "x.npz"))
    save(tmp_path / "x.npz", **{f"a{i}": np.zeros((2, 2)) for i in range(30)})
    with pytest.raises(InputError, match="'a7' and 22 more"):
        open_rows(tmp_path / "x.npz:b")


def test_paths_that_stand_for_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", make_rows(3, 4, SINGLE))
    for name in ("x.pt", "x.pkl", "x", "x.csv"):
        (tmp_path / name).write_bytes(b"?")
        with pytest.raises(InputError, match=r"must end in one of \.npy, \.npz.*numpy\.save"):
            open_rows(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").touch()
    (tmp_path / "clip" / "img_emb").mkdir(parents=True)
    for name, message in (
        ("image.npy", "got nothing there. Did you mean images.npy?"),
        ("imags.npy:images", "got nothing there. Did you mean images.npy?"),
        ("images.npy:images", "got 'images'. Leave out ':images'"),
        ("*.parquet", "must match files, got none"),
        ("empty", "must be a folder of shards .* got none in it"),
        ("clip", "got a clip-retrieval folder with both. Write .*img_emb"),
    ):
        with pytest.raises(InputError, match=message):
            open_rows(f"{tmp_path}/{name}")
    with pytest.raises(InputError, match=r"text_emb must be a file or folder that exists"):
        open_rows(tmp_path / "clip", modality="text")


def test_shards_that_do_not_fit_together(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", make_rows(3, 4, SINGLE))
    np.save(tmp_path / "b.npy", make_rows(3, 5, SINGLE))
    with pytest.raises(InputError, match=r"got 4 in .*a\.npy and 5 in .*b\.npy"):
        open_rows(tmp_path)
    np.savez(tmp_path / "y.npz", emb=make_rows(3, 4, SINGLE))
    with pytest.raises(InputError, match=r"of one format, got \.npy and \.npz\. Choose by a pat"):
        open_rows(tmp_path)


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


def test_a_wrong_size_of_a_whole_npy_file(tmp_path: Path) -> None:
    path = FORMATS["npy"].make(tmp_path, make_rows(4, 3, SINGLE))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(InputError, match="must be 48 bytes of entries by its header, got 224"):
        open_rows(path)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("block_rows", [7, 3000, 5000])
def test_damage_inside_an_archive_is_found_by_its_checksum(
    tmp_path: Path, write: Callable, block_rows: int
) -> None:
    write(tmp_path / "x.npz", emb=make_rows(3000, 8, SINGLE))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[data.rindex(b"PK\1\2") + 16] ^= 1  # the checksum in the directory
    (tmp_path / "x.npz").write_bytes(bytes(data))
    with pytest.raises(InputError, match="Bad CRC-32"):
        list(open_rows(tmp_path / "x.npz").iter_blocks(block_rows))


def test_another_member_that_is_damaged(tmp_path: Path) -> None:
    rows = make_rows(3, 4, SINGLE)
    path = save(tmp_path / "x.npz", emb=rows, other=np.zeros(5))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"NUMPY", b"DUMMY").replace(b"DUMMY", b"NUMPY", 1))
    with pytest.raises(InputError, match="got other or damaged content"):
        load_rows(path)
    transform_files(f"{path}:emb", tmp_path / "y.npz", negated)
    np.testing.assert_array_equal(load_rows(tmp_path / "y.npz"), -rows)


@pytest.mark.parametrize("offsets", [[-24, 0], [24, 0], [8, 32], [0, 24, 5], [0], "ab", None])
def test_tensors_outside_of_the_file(tmp_path: Path, offsets: object) -> None:
    path = tmp_path / "x.safetensors"
    header = json.dumps({"emb": {"dtype": "F32", "shape": [2, 3], "data_offsets": offsets}})
    path.write_bytes((96).to_bytes(8, "little") + header.ljust(96).encode() + bytes(24))
    if offsets == [0, 24, 5]:  # what is not needed is not looked at
        assert load_rows(path).shape == (2, 3)
        return
    with pytest.raises(InputError, match=r"x\.safetensors must be a safetensors file"):
        open_rows(path)


@pytest.mark.parametrize(("kind", "offset"), [(pa.list_, "i4"), (pa.large_list, "i8")])
def test_offsets_of_lists_that_point_outside(tmp_path: Path, kind: Callable, offset: str) -> None:
    column = pa.array(list(make_rows(30, 3, SINGLE)), kind(pa.float32()))
    path = tmp_path / "x.arrow"
    table = pa.table({"emb": column})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    offsets = np.arange(0, 93, 3, dtype=offset)
    data = path.read_bytes()
    assert offsets.tobytes() in data
    path.write_bytes(data.replace(offsets.tobytes(), (offsets + 10**6).tobytes()))
    with pytest.raises(InputError, match="got other or damaged content"):
        load_rows(path)


@pytest.mark.parametrize("name", ["parquet list", "arrow"])
def test_tables_that_contradict_themselves(name: str, tmp_path: Path) -> None:
    path = FORMATS[name].make(tmp_path, make_rows(30, 3, SINGLE))
    for wrong in (29, 31):
        source = open_rows(path)
        source.n_rows = wrong
        with pytest.raises(InputError, match=f"must be {wrong} rows as its file says, got 30"):
            list(source.iter_blocks(7))
    path.write_bytes(path.read_bytes().replace(b"url", b"u\xe4l"))
    for action in (open_rows, read_captions):
        with pytest.raises(InputError, match=r"got other or damaged content \('utf-8' codec"):
            action(path)


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


def test_a_fitted_file_is_no_set_of_embeddings(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"emb": make_rows(3, 4, SINGLE)}, path, {"fillgap": "{}"})
    with pytest.raises(InputError, match="must hold embeddings, got what fit or recommend wrote"):
        open_rows(path)
