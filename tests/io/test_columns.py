"""Captions and the image of each text are read from files of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_pair
from io_formats import SINGLE, make_rows, write_columns


def pair_files(folder: Path, n_texts: int = 3) -> tuple[Path, Path]:
    paths = folder / "x.npy", folder / "y.npy"
    np.save(paths[0], make_rows(3, 4, SINGLE))
    np.save(paths[1], make_rows(n_texts, 4, SINGLE))
    return paths


CAPTIONS = ["a cat", 'two "dogs",\u2028one mat', "ünï\x0bcode"]


def test_captions_in_every_format(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(CAPTIONS) + "\n", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes("\r\n".join(CAPTIONS).encode("utf-8-sig"))
    (tmp_path / "a.json").write_text(json.dumps(CAPTIONS))
    quoted = ['"' + caption.replace('"', '""') + '"' for caption in CAPTIONS]
    (tmp_path / "a.csv").write_text(
        "id,Caption,title\n" + "".join(f"{i},{q},t{i}\n" for i, q in enumerate(quoted))
    )
    write_columns(tmp_path / "a.parquet", text=CAPTIONS, other=CAPTIONS[::-1], n=[1, 2, 3])
    write_columns(tmp_path / "a.arrow", caption=CAPTIONS)
    pair = pair_files(tmp_path)
    for name in ("a.txt", "b.txt", "a.json", "a.csv", "a.parquet", "a.arrow", "a.csv:Caption"):
        assert load_pair(*pair, captions=f"{tmp_path}/{name}").captions == CAPTIONS, name
    assert load_pair(*pair, captions=f"{tmp_path}/a.csv:title").captions == ["t0", "t1", "t2"]
    assert load_pair(*pair, captions=f"{tmp_path}/a.parquet:other").captions == CAPTIONS[::-1]


def test_captions_that_cannot_be_read(tmp_path: Path) -> None:
    pair = pair_files(tmp_path)
    (tmp_path / "latin.txt").write_bytes("übel\n".encode("latin-1"))
    (tmp_path / "short.txt").write_text("one\ntwo\n")
    (tmp_path / "cut.json").write_text('["a", "b"')
    (tmp_path / "dict.json").write_text('{"a": 1}')
    (tmp_path / "numbers.json").write_text('["a", 1, "b"]')
    (tmp_path / "quote.csv").write_text('caption\n"a\nb\nc')
    (tmp_path / "other.csv").write_text("title,id\na,b\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "a.docx").write_text("?")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    write_columns(tmp_path / "other.parquet", title=["a", "b", "c"])
    write_columns(tmp_path / "n.parquet", caption=[1, 2, 3])
    for name, error, message in (
        ("latin.txt", InputError, "must be a text file in UTF-8, got other or damaged"),
        ("short.txt", InputError, "captions must be of length 3, one for each row, got 2"),
        ("cut.json", InputError, "must be a JSON file, got other or damaged"),
        ("dict.json", InputTypeError, "must be a list of texts, got dict"),
        ("numbers.json", InputTypeError, "must be text in every row, got 1 in row 1"),
        ("quote.csv", InputError, "must be a CSV file in UTF-8, got other or damaged"),
        ("other.csv", InputError, "column 'caption' or .*, got 'title', 'id'"),
        ("other.csv:no", InputError, "must hold the column 'no', got 'title', 'id'"),
        ("empty.csv", InputError, "got none at all"),
        ("a.docx", InputError, r"must be a file with columns .*, got '\.docx'"),
        ("cut.parquet", InputError, "must be a Parquet file, got other or damaged"),
        ("other.parquet", InputError, "column 'caption' or .*, got 'title'"),
        ("n.parquet", InputTypeError, "must be text in every row, got 1 in row 0"),
        ("short.tx", InputError, r"Did you mean short\.txt"),
    ):
        with pytest.raises(error, match=message):
            load_pair(*pair, captions=tmp_path / name)


def test_the_image_of_each_text(tmp_path: Path) -> None:
    pair = pair_files(tmp_path, n_texts=5)
    index = [0, 2, 1, 1, 0]
    np.save(tmp_path / "i.npy", np.array(index, "i4"))
    write_columns(tmp_path / "i.parquet", image_index=index, row=index[::-1])
    assert not load_pair(*pair).is_paired
    for given, expected in (
        (index, index),
        (np.array(index), index),
        (tmp_path / "i.npy", index),
        (str(tmp_path / "i.parquet"), index),
        (f"{tmp_path}/i.parquet:row", index[::-1]),
    ):
        found = load_pair(*pair, image_index=given)
        np.testing.assert_array_equal(found.image_index, expected)


def test_an_image_index_that_cannot_be_read(tmp_path: Path) -> None:
    pair = pair_files(tmp_path, n_texts=5)
    np.save(tmp_path / "float.npy", np.zeros(5))
    np.save(tmp_path / "2d.npy", np.zeros((5, 1), int))
    np.save(tmp_path / "object.npy", np.array([None] * 5))
    np.save(tmp_path / "short.npy", np.zeros(4, int))
    np.save(tmp_path / "high.npy", np.full(5, 3))
    write_columns(tmp_path / "null.parquet", image_index=[0, 1, None, 1, 0])
    write_columns(tmp_path / "no.parquet", row=[0, 1, 0, 1, 0])
    for name, error, message in (
        ("float.npy", InputTypeError, "must be a 1-D list of row numbers, got float64"),
        ("2d.npy", InputTypeError, r"got int64 of shape \(5, 1\)"),
        ("object.npy", InputError, "must be an .npy file of row numbers, got other or damaged"),
        ("short.npy", InputError, "one row number for each of the 5 texts"),
        ("high.npy", InputError, "must be between 0 and 2, got 3"),
        ("null.parquet", InputTypeError, "must be a 1-D list of row numbers, got object"),
        ("no.parquet", InputError, "must hold the column 'image_index', got 'row'"),
        ("gone.npy", InputError, "got nothing there"),
    ):
        with pytest.raises(error, match=message):
            load_pair(*pair, image_index=tmp_path / name)
