"""A sample of large files: the right rows, with what belongs to them, and it says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fillgap.errors import InputError
from fillgap.io import load_pair, open_rows
from fillgap.io.pairs import take_rows
from fillgap.pair import BLOCK_ROWS


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Rows that tell their own number in their first column."""
    X = np.ones((100, 3), dtype=np.float32)
    X[:, 0] = np.arange(100)
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
