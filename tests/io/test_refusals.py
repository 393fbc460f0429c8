"""What is no set of embeddings is refused in one sentence that says why and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_rows, open_rows, save_rows
from fillgap.io.shards import in_memory
from io_formats import FORMATS, SINGLE, make_rows


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_arrays_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "exploded"),))

    path = tmp_path / f"x{suffix}"
    save = np.save if suffix == ".npy" else np.savez
    save(path, np.array([[Bomb(), 1.0]], dtype=object))
    with pytest.raises(InputTypeError, match="got pickled objects, which are never loaded"):
        open_rows(path)
    assert not (tmp_path / "exploded").exists()


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


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize(("array", "error", "message"), SHAPES.values(), ids=SHAPES.keys())
def test_arrays_that_are_no_embeddings(
    tmp_path: Path, suffix: str, array: np.ndarray, error: type[Exception], message: str
) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    else:
        np.savez(path, emb=array)
    with pytest.raises(error, match=f"x{suffix}.*{message}"):
        open_rows(path)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="no longer type here")
def test_numbers_longer_than_double(tmp_path: Path) -> None:
    rows = np.zeros((2, 3), np.longdouble)
    np.save(tmp_path / "x.npy", rows)
    for action in (lambda: open_rows(tmp_path / "x.npy"), lambda: save_rows("y.npy", rows)):
        with pytest.raises(InputTypeError, match="must be float16, float32 or float64, got float"):
            action()


@pytest.mark.parametrize("name", ["1-D", "3-D", "empty", "integers", "bytes"])
def test_tensors_that_are_no_embeddings(tmp_path: Path, name: str) -> None:
    array, error, message = SHAPES[name]
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"emb": array}, path)
    expected = (
        "must be F16, BF16, F32 or F64, or I8 with scales, got "
        if error is InputTypeError
        else message
    )
    with pytest.raises(error, match=f"x.safetensors:emb {expected}"):
        open_rows(path)


COLUMNS = {
    "numbers": (pa.array([1.0, 2.0]), "a column of lists of floating point numbers, got double"),
    "text": (pa.array(["a", "b"]), "a column of lists of floating point numbers, got string"),
    "integers": (pa.array([[1, 2], [3, 4]]), "got list<item: int64>"),
    "strings": (pa.array([["a", "b"], ["c", "d"]]), "got list<item: string>"),
    "lists of lists": (pa.array([[[1.0]], [[2.0]]]), "got list<item: list<item: double>>"),
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
    path = write_table(tmp_path / f"x{suffix}", pa.table({"emb": column}))
    with pytest.raises((InputError, InputTypeError)) as caught:
        open_rows(f"{path}:emb")
    assert message.replace("item", "element") in str(caught.value).replace("item", "element")


def write_table(path: Path, table: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=4)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, lambda t: pa.list_(t, 2)])
@pytest.mark.parametrize("row", [1, 6, 9])
def test_rows_that_are_null_or_hold_a_null(
    tmp_path: Path, suffix: str, kind: object, row: int
) -> None:
    for bad, message in (
        (None, f"must be 2 numbers in every row, as in row 0, got null in row {row}"),
        ([None, 1.0], f"must be numbers throughout, got a null in row {row}"),
        ([1.0, None], f"must be numbers throughout, got a null in row {row}"),
    ):
        rows = [[1.0, 2.0] for _ in range(10)]
        rows[row] = bad
        path = write_table(
            tmp_path / f"x{suffix}", pa.table({"emb": pa.array(rows, kind(pa.float32()))})
        )
        source = open_rows(path)
        for block_rows in (1, 3, 100):
            with pytest.raises(InputError, match=f"x{suffix}:emb {message}"):
                list(source.iter_blocks(block_rows))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("bad", [[1.0], [1.0, 2.0, 3.0], []])
def test_ragged_rows(tmp_path: Path, suffix: str, bad: list) -> None:
    rows = [[1.0, 2.0] for _ in range(10)]
    rows[7] = bad
    rows[8] = [1.0] * (4 - len(bad))  # the total is that of equal rows
    path = write_table(tmp_path / f"x{suffix}", pa.table({"emb": rows}))
    with pytest.raises(InputError, match=f"as in row 0, got {len(bad)} numbers in row 7"):
        load_rows(path)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    lists = pa.array([[1.0, 2.0]])
    table = pa.Table.from_arrays([lists, lists], names=["emb", "emb"])
    path = write_table(tmp_path / "x.arrow", table)
    with pytest.raises(InputError, match="must hold one column 'emb', got 2"):
        open_rows(path)


@pytest.mark.parametrize("name", ["npz", "safetensors", "parquet fixed", "arrow"])
def test_a_wrong_name_lists_those_that_are_there(name: str, tmp_path: Path) -> None:
    case = FORMATS[name]
    path = tmp_path / f"x{case.suffix}"
    case.write(path, "emb", make_rows(3, 4, SINGLE))
    with pytest.raises(InputError, match="must hold the .* 'image', got .*'emb'.* Name one of"):
        open_rows(f"{path}:image")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_several_candidates_need_a_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    arrays = {name: make_rows(3, 4, SINGLE) for name in ("images", "texts", "texts_b")}
    if suffix == ".npz":
        np.savez(path, **arrays)
    elif suffix == ".safetensors":
        safetensors.numpy.save_file(arrays, path)
    else:
        pq.write_table(pa.table({name: list(rows) for name, rows in arrays.items()}), path)
    with pytest.raises(InputError, match="the name of one .*, got 'images', 'texts', 'texts_b'"):
        open_rows(path)


def test_an_archive_without_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz")
    with pytest.raises(InputError, match="with the name of one array, got none at all"):
        open_rows(tmp_path / "x.npz")


def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{f"a{i}": np.zeros((2, 2)) for i in range(30)})
    with pytest.raises(InputError, match="'a7' and 22 more"):
        open_rows(tmp_path / "x.npz:b")


def test_a_name_behind_an_npy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", make_rows(3, 4, SINGLE))
    with pytest.raises(InputError, match="got 'images'. Leave out ':images'"):
        open_rows(f"{tmp_path}/x.npy:images")


def test_paths_with_nothing_there(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", make_rows(3, 4, SINGLE))
    with pytest.raises(InputError, match="got nothing there. Did you mean images.npy?"):
        open_rows(tmp_path / "image.npy")
    with pytest.raises(InputError, match="got nothing there. Did you mean images.npy?"):
        open_rows(f"{tmp_path}/imags.npy:images")
    with pytest.raises(InputError, match="must match files, got none"):
        open_rows(tmp_path / "*.parquet")


def test_unknown_suffixes(tmp_path: Path) -> None:
    for name in ("x.pt", "x.pkl", "x", "x.csv"):
        (tmp_path / name).write_bytes(b"?")
        with pytest.raises(InputError, match=r"must end in one of \.npy, \.npz.*numpy\.save"):
            open_rows(tmp_path / name)


def test_a_folder_without_shards(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    with pytest.raises(InputError, match="must be a folder of shards .* got none in it"):
        open_rows(tmp_path)


def test_a_folder_with_two_formats(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", make_rows(3, 4, SINGLE))
    np.savez(tmp_path / "y.npz", emb=make_rows(3, 4, SINGLE))
    with pytest.raises(InputError, match=r"of one format, got \.npy and \.npz\. Choose by a pat"):
        open_rows(tmp_path)


def test_shards_of_two_dimensions(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", make_rows(3, 4, SINGLE))
    np.save(tmp_path / "b.npy", make_rows(3, 5, SINGLE))
    with pytest.raises(InputError, match=r"got 4 in .*a\.npy and 5 in .*b\.npy"):
        open_rows(tmp_path)


def test_a_clip_retrieval_folder_without_a_side(tmp_path: Path) -> None:
    (tmp_path / "img_emb").mkdir()
    with pytest.raises(InputError, match="got a clip-retrieval folder with both. Write .*img_emb"):
        open_rows(tmp_path)
    with pytest.raises(InputError, match=r"text_emb must be a file or folder that exists"):
        open_rows(tmp_path, modality="text")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", make_rows(3, 4, SINGLE))
    (tmp_path / "x.npy").chmod(0)
    with pytest.raises(InputError, match="must be readable, got 'Permission denied'"):
        open_rows(tmp_path / "x.npy")


def test_more_rows_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", emb=make_rows(3, 4, SINGLE))

    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    source = open_rows(tmp_path / "x.npz")
    monkeypatch.setattr("numpy.empty", refuse)
    with pytest.raises(InputError, match="must fit into memory, got 3 rows of 4 numbers"):
        in_memory(source)
