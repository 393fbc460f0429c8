"""Pairs are loaded with what their files say about the rows, whole or as a sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_pair, open_rows
from fillgap.io.pairs import take_rows
from fillgap.pair import BLOCK_ROWS
from io_formats import HALF, SINGLE, make_rows, save


def write_clip_folder(root: Path, counts: tuple[int, ...] = (5, 4), *, metadata: bool = True):
    """Write a folder as clip-retrieval does, with more than ten shards' worth of traps in order."""
    rng = np.random.default_rng(0)
    sides = {"img_emb": [], "text_emb": []}
    for folder in (*sides, "metadata"):
        (root / folder).mkdir(parents=True)
    first = 0
    for i, count in enumerate(counts):
        for side, blocks in sides.items():
            blocks.append(rng.normal(size=(count, 3)).astype(HALF))
            np.save(root / side / f"{side}_{i}.npy", blocks[-1])
        rows = range(first, first + count)
        table = {
            "image_path": [f"{row:09d}.jpg" for row in rows],
            "caption": [None if row == 2 else f"caption {row}" for row in rows],
            "url": [f"https://x/{row}" for row in rows],
            "width": [256] * count,
        }
        if metadata:
            pq.write_table(pa.table(table), root / "metadata" / f"metadata_{i}.parquet")
        first += count
    return tuple(np.concatenate(blocks) for blocks in sides.values())


@pytest.mark.parametrize("counts", [(5, 4), (3,), (2,) * 12])
def test_a_clip_retrieval_folder(tmp_path: Path, counts: tuple[int, ...]) -> None:
    X, Y = write_clip_folder(tmp_path / "laion", counts)
    for pair in (
        load_pair(tmp_path / "laion"),
        load_pair(tmp_path / "laion", f"{tmp_path}/laion/"),
    ):
        np.testing.assert_array_equal(pair.images, X)
        np.testing.assert_array_equal(pair.texts, Y)
        assert pair.one_to_one
        assert pair.name == "laion"
        n = sum(counts)
        assert pair.captions == [f"caption {i}" if i != 2 else "" for i in range(n)]
        assert pair.image_ids == [f"{i:09d}.jpg" for i in range(n)]
        assert pair.text_ids is None


def test_clip_retrieval_folders_that_lack_something(tmp_path: Path) -> None:
    write_clip_folder(tmp_path / "bare", metadata=False)
    pair = load_pair(tmp_path / "bare")
    assert (pair.captions, pair.image_ids) == (None, None)
    for name in ("shard", "rows", "metadata"):
        write_clip_folder(tmp_path / name)
    (tmp_path / "shard" / "text_emb" / "text_emb_1.npy").unlink()
    np.save(tmp_path / "rows" / "text_emb" / "text_emb_1.npy", np.ones((3, 3), HALF))
    (tmp_path / "metadata" / "metadata" / "metadata_1.parquet").unlink()
    (tmp_path / "side" / "img_emb").mkdir(parents=True)
    np.save(tmp_path / "side" / "img_emb" / "0.npy", make_rows(4, 3, SINGLE))
    for name, message in (
        ("shard", "as many shards of images as of texts, got 2 and 1"),
        ("rows", r"got 4 in .*img_emb_1\.npy and 3 in .*text_emb_1\.npy"),
        ("metadata", "a value for each of the 9 embeddings, got 5"),
        ("side", "text_emb must be a file or folder that exists"),
    ):
        with pytest.raises(InputError, match=message):
            load_pair(tmp_path / name)


def test_two_files(tmp_path: Path) -> None:
    X, Y = make_rows(4, 3, SINGLE), make_rows(4, 3, SINGLE, seed=1)
    files = tmp_path / "a.npy", tmp_path / "b.npy"
    np.save(files[0], X)
    np.save(files[1], Y)
    pair = load_pair(*files)
    assert isinstance(pair.images.base, np.memmap)
    np.testing.assert_array_equal(pair.images, X)
    np.testing.assert_array_equal(pair.texts, Y)
    assert (pair.one_to_one, pair.name) == (True, "a")
    assert not load_pair(*files, paired=False).is_paired


def test_one_archive_with_both_sides(real_data: Path) -> None:
    path = real_data / "coco_clip_vitb16_500" / "coco_clip_vitb16_500.npz"
    pair = load_pair(path)
    with np.load(path) as file:
        np.testing.assert_array_equal(pair.images, file["images"])
        np.testing.assert_array_equal(pair.texts, file["texts"])
    captions = real_data / "amumo" / "coco100__captions.json"
    pair = load_pair(real_data / "amumo" / "coco100__CLIP.npz", captions=captions)
    assert pair.captions == json.loads(captions.read_text())


def test_sides_that_are_no_pair(tmp_path: Path) -> None:
    for name in ("images", "texts", "x"):
        np.save(tmp_path / f"{name}.npy", make_rows(4, 3, SINGLE))
    np.save(tmp_path / "wide.npy", make_rows(4, 5, SINGLE))
    np.savez(tmp_path / "c.npz", images=make_rows(4, 3, SINGLE), texts=make_rows(4, 3, SINGLE))
    for images, texts, message in (
        ("x.npy", "x.npy", r"must be two sets of embeddings, got .*x\.npy for"),
        ("x.npy", "wide.npy", "must be of one dimension, got 3 and 5"),
        ("texts.npy", "images.npy", "images must be given before texts.*Swap them"),
        ("c.npz:texts", "c.npz:images", "whose names say the opposite"),
    ):
        with pytest.raises(InputError, match=message):
            load_pair(f"{tmp_path}/{images}", f"{tmp_path}/{texts}")
    with pytest.raises(InputError, match=r"must be two sets of embeddings, got .*x\.npy for"):
        load_pair(tmp_path / "x.npy")
    load_pair(tmp_path / "texts.npy", tmp_path / "x.npy")  # one name alone is no evidence


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_tables_bring_their_columns(tmp_path: Path, suffix: str) -> None:
    X, Y = make_rows(2, 3, SINGLE), make_rows(4, 3, SINGLE)
    images = save(tmp_path / f"i{suffix}", id=[7, 8], emb=X, caption=["no", "no"])
    texts = save(
        tmp_path / f"t{suffix}",
        emb=Y,
        ID=["a", "b", "c", None],
        Caption=["one", None, "three", "four"],
        image_index=[0, 0, 1, 1],
    )
    pair = load_pair(images, texts)
    np.testing.assert_array_equal(pair.texts, Y)
    assert pair.image_ids == ["7", "8"]
    assert pair.text_ids == ["a", "b", "c", ""]
    assert pair.captions == ["one", "", "three", "four"]
    np.testing.assert_array_equal(pair.image_index, [0, 0, 1, 1])
    given = load_pair(images, texts, image_index=[1, 1, 0, 0], captions=list("abcd"))
    assert given.captions == list("abcd")
    np.testing.assert_array_equal(given.image_index, [1, 1, 0, 0])


def test_sharded_tables_bring_their_columns(tmp_path: Path) -> None:
    for folder in ("i", "t"):
        (tmp_path / folder).mkdir()
    for i in range(12):
        X = make_rows(2, 3, SINGLE, seed=i)
        save(tmp_path / "i" / f"x_{i}.parquet", url=[f"{i}a", f"{i}b"], emb=X)
        extra = {"text": [f"{i}c", f"{i}d"]} | ({"id": ["p", "q"]} if i else {})
        save(tmp_path / "t" / f"x_{i}.parquet", emb=X, **extra)
    pair = load_pair(tmp_path / "i", tmp_path / "t")
    assert pair.image_ids == [f"{i}{letter}" for i in range(12) for letter in "ab"]
    assert pair.captions == [f"{i}{letter}" for i in range(12) for letter in "cd"]
    assert pair.text_ids is None  # one shard has no such column


def test_columns_of_lists_are_no_captions(tmp_path: Path) -> None:
    X = make_rows(2, 3, SINGLE)
    images = save(tmp_path / "i.parquet", emb=X, id=[["a"], ["b"]], url=["c", "d"])
    texts = save(tmp_path / "t.parquet", text=X, caption=[["a", "b"], ["c"]])
    pair = load_pair(images, texts)
    assert pair.captions is None
    assert pair.image_ids == ["c", "d"]


def test_both_sides_in_one_table_are_pairs(tmp_path: Path) -> None:
    X, Y = make_rows(3, 4, SINGLE), make_rows(3, 4, SINGLE, seed=1)
    pair = load_pair(save(
        tmp_path / "x.parquet", key=list("abc"), image_emb=X, text_emb=Y, caption=list("def"),
        image_index=[0, 0, 0],
    ))  # fmt: skip
    np.testing.assert_array_equal(pair.images, X)
    np.testing.assert_array_equal(pair.texts, Y)
    assert (pair.image_ids, pair.text_ids, pair.captions) == (list("abc"), None, list("def"))
    assert pair.one_to_one


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
    save(tmp_path / "a.parquet", text=CAPTIONS, other=CAPTIONS[::-1], n=[1, 2, 3])
    save(tmp_path / "a.arrow", caption=CAPTIONS)
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
    save(tmp_path / "other.parquet", title=["a", "b", "c"])
    save(tmp_path / "n.parquet", caption=[1, 2, 3])
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
    save(tmp_path / "i.parquet", image_index=index, row=index[::-1])
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
    save(tmp_path / "null.parquet", image_index=[0, 1, None, 1, 0])
    save(tmp_path / "no.parquet", row=[0, 1, 0, 1, 0])
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


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Rows that tell their own number in their first column."""
    X = np.ones((100, 3), np.float32) * np.arange(100, dtype=np.float32)[:, None]
    np.save(tmp_path / "images.npy", X)
    np.save(tmp_path / "texts.npy", X + 1000)
    np.save(tmp_path / "index.npy", np.arange(100)[::-1])
    (tmp_path / "captions.txt").write_text("\n".join(f"text {i}" for i in range(100)))
    return tmp_path


def load(files: Path, **options: object):
    return load_pair(files / "images.npy", files / "texts.npy", **options)  # type: ignore[arg-type]


def test_pairs_stay_together(files: Path) -> None:
    pair = load(files, max_images=30, captions=files / "captions.txt")
    assert pair.one_to_one
    assert pair.n_images == 30
    np.testing.assert_array_equal(pair.texts[:, 0], pair.images[:, 0] + 1000)
    assert pair.captions == [f"text {int(row)}" for row in pair.images[:, 0]]
    assert pair.name == "images, a sample of 30 of 100 images"
    again = load(files, max_images=30)
    np.testing.assert_array_equal(again.images, pair.images)
    other = load(files, max_images=30, random_state=1)
    assert not np.array_equal(other.images, pair.images)


def test_all_texts_of_an_image_come_with_it(files: Path) -> None:
    pair = load(files, max_images=20, image_index=files / "index.npy")
    assert pair.n_texts == 20
    image = pair.images[np.asarray(pair.image_index), 0]
    np.testing.assert_array_equal(99 - (pair.texts[:, 0] - 1000), image)


def test_unpaired_sets_are_sampled_apart(files: Path) -> None:
    pair = load(files, max_images=20, paired=False)
    assert (pair.n_images, pair.n_texts, pair.is_paired) == (20, 20, False)


def test_few_images_are_taken_whole(files: Path) -> None:
    pair = load(files, max_images=100)
    assert (pair.n_images, pair.name) == (100, "images")
    with pytest.raises(InputError, match="max_images must be at least 2"):
        load(files, max_images=1)


def test_rows_are_taken_across_blocks(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(2 * BLOCK_ROWS + 9, 2))
    np.save(tmp_path / "x.npy", X)
    rows = np.array([0, 5, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 8])
    np.testing.assert_array_equal(take_rows(open_rows(tmp_path / "x.npy"), rows), X[rows])
