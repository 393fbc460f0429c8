"""Pairs are loaded with what their files say about the rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fillgap.errors import InputError
from fillgap.io import guess_modality, load_pair, open_sides, save_rows
from io_formats import HALF, SINGLE, make_rows, write_columns


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("images.npy", "image"),
        ("img_emb_0.npy", "image"),
        ("a/b/clip-vision-features.parquet", "image"),
        ("IMG.NPY", "image"),
        ("texts.npy", "text"),
        ("captions_val.safetensors", "text"),
        ("txt2.npz", "text"),
        ("clip.npz:images", "image"),
        ("images.npz:text_embeds", "text"),
        ("texts.npz:emb", "text"),
        ("laion/img_emb/0.npy", "image"),
        ("laion/text_emb/part_3.npy", "text"),
        ("texts/0.npy", "text"),
        ("emb.npy", None),
        ("image_text_pairs.npy", None),
        ("text2image.npy", None),
        ("ImageBind.npz", None),
        ("imagenet.npy", None),
        ("context.npy", None),
        ("my-image-project/emb.npy", None),
        ("", None),
    ],
)
def test_names_say_which_side_it_is(spec: str, expected: str | None) -> None:
    assert guess_modality(spec) == expected
    assert guess_modality(Path(spec)) == expected


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


def test_a_clip_retrieval_folder_without_metadata(tmp_path: Path) -> None:
    write_clip_folder(tmp_path / "laion", metadata=False)
    pair = load_pair(tmp_path / "laion")
    assert pair.captions is None
    assert pair.image_ids is None


def test_clip_retrieval_shards_that_do_not_match(tmp_path: Path) -> None:
    write_clip_folder(tmp_path / "a", (5, 4, 3))
    (tmp_path / "a" / "text_emb" / "text_emb_2.npy").unlink()
    with pytest.raises(InputError, match="as many shards of images as of texts, got 3 and 2"):
        load_pair(tmp_path / "a")
    write_clip_folder(tmp_path / "b", (5, 4))
    np.save(tmp_path / "b" / "text_emb" / "text_emb_1.npy", np.ones((3, 3), HALF))
    with pytest.raises(InputError, match=r"got 4 in .*img_emb_1\.npy and 3 in .*text_emb_1\.npy"):
        open_sides(tmp_path / "b")


def test_clip_retrieval_metadata_that_is_incomplete(tmp_path: Path) -> None:
    write_clip_folder(tmp_path / "a", (5, 4))
    (tmp_path / "a" / "metadata" / "metadata_1.parquet").unlink()
    with pytest.raises(InputError, match="a value for each of the 9 embeddings, got 5"):
        load_pair(tmp_path / "a")


def test_a_clip_retrieval_folder_without_texts(tmp_path: Path) -> None:
    (tmp_path / "img_emb").mkdir()
    np.save(tmp_path / "img_emb" / "0.npy", make_rows(4, 3, SINGLE))
    with pytest.raises(InputError, match="text_emb must be a file or folder that exists"):
        load_pair(tmp_path)


def test_two_files(tmp_path: Path) -> None:
    X, Y = make_rows(4, 3, SINGLE), make_rows(4, 3, SINGLE, seed=1)
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "b.npy", Y)
    pair = load_pair(tmp_path / "a.npy", tmp_path / "b.npy")
    assert isinstance(pair.images.base, np.memmap)
    np.testing.assert_array_equal(pair.images, X)
    np.testing.assert_array_equal(pair.texts, Y)
    assert (pair.one_to_one, pair.name) == (True, "a")
    assert not load_pair(tmp_path / "a.npy", tmp_path / "b.npy", paired=False).is_paired


def test_one_archive_with_both_sides(real_data: Path) -> None:
    path = real_data / "coco_clip_vitb16_500" / "coco_clip_vitb16_500.npz"
    pair = load_pair(path)
    with np.load(path) as file:
        np.testing.assert_array_equal(pair.images, file["images"])
        np.testing.assert_array_equal(pair.texts, file["texts"])
    captions = real_data / "amumo" / "coco100__captions.json"
    pair = load_pair(real_data / "amumo" / "coco100__CLIP.npz", captions=captions)
    assert pair.captions == json.loads(captions.read_text())


def test_one_array_is_not_two_sides(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", make_rows(4, 3, SINGLE))
    for texts in (None, tmp_path / "a.npy"):
        with pytest.raises(InputError, match=r"must be two sets of embeddings, got .*a\.npy for"):
            load_pair(tmp_path / "a.npy", texts)


def test_sides_that_are_plainly_swapped(tmp_path: Path) -> None:
    for name in ("images.npy", "texts.npy", "x.npy"):
        np.save(tmp_path / name, make_rows(4, 3, SINGLE))
    with pytest.raises(InputError, match="images must be given before texts.*Swap them"):
        load_pair(tmp_path / "texts.npy", tmp_path / "images.npy")
    load_pair(tmp_path / "texts.npy", tmp_path / "x.npy")  # one name alone is no evidence
    np.savez(tmp_path / "c.npz", images=make_rows(4, 3, SINGLE), texts=make_rows(4, 3, SINGLE))
    with pytest.raises(InputError, match="whose names say the opposite"):
        load_pair(f"{tmp_path}/c.npz:texts", f"{tmp_path}/c.npz:images")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_tables_bring_their_columns(tmp_path: Path, suffix: str) -> None:
    X, Y = make_rows(2, 3, SINGLE), make_rows(4, 3, SINGLE)
    images = write_columns(tmp_path / f"i{suffix}", id=[7, 8], emb=X, caption=["no", "no"])
    texts = write_columns(
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
        write_columns(tmp_path / "i" / f"x_{i}.parquet", url=[f"{i}a", f"{i}b"], emb=X)
        extra = {"text": [f"{i}c", f"{i}d"]} | ({"id": ["p", "q"]} if i else {})
        write_columns(tmp_path / "t" / f"x_{i}.parquet", emb=X, **extra)
    pair = load_pair(tmp_path / "i", tmp_path / "t")
    assert pair.image_ids == [f"{i}{letter}" for i in range(12) for letter in "ab"]
    assert pair.captions == [f"{i}{letter}" for i in range(12) for letter in "cd"]
    assert pair.text_ids is None  # one shard has no such column


def test_columns_of_lists_are_no_captions(tmp_path: Path) -> None:
    X = make_rows(2, 3, SINGLE)
    images = write_columns(tmp_path / "i.parquet", emb=X, id=[["a"], ["b"]], url=["c", "d"])
    texts = write_columns(tmp_path / "t.parquet", text=X, caption=[["a", "b"], ["c"]])
    pair = load_pair(images, texts)
    assert pair.captions is None
    assert pair.image_ids == ["c", "d"]


def test_both_sides_in_one_table_are_pairs(tmp_path: Path) -> None:
    X, Y = make_rows(3, 4, SINGLE), make_rows(3, 4, SINGLE, seed=1)
    path = write_columns(
        tmp_path / "x.parquet", key=list("abc"), image_emb=X, text_emb=Y, caption=list("def"),
        image_index=[0, 0, 0],
    )  # fmt: skip
    pair = load_pair(path)
    np.testing.assert_array_equal(pair.images, X)
    np.testing.assert_array_equal(pair.texts, Y)
    assert (pair.image_ids, pair.text_ids, pair.captions) == (list("abc"), None, list("def"))
    assert pair.one_to_one


def test_sides_of_two_models(tmp_path: Path) -> None:
    save_rows(tmp_path / "x.npy", np.ones((3, 4)))
    save_rows(tmp_path / "y.npy", np.ones((3, 5)))
    with pytest.raises(InputError, match="must be of one dimension, got 4 and 5"):
        load_pair(tmp_path / "x.npy", tmp_path / "y.npy")


def test_sides_are_opened_without_being_read(tmp_path: Path) -> None:
    X, Y = write_clip_folder(tmp_path / "laion", (5, 4))
    images, texts = open_sides(tmp_path / "laion")
    np.testing.assert_array_equal(np.concatenate(list(images.iter_blocks(2))), X)
    np.testing.assert_array_equal(np.concatenate(list(texts.iter_blocks(2))), Y)
