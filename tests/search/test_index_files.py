"""`fillgap index`: what hits of an index of files know about each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fillgap import InputError
from fillgap.cli.app import run
from fillgap.search import MixedIndex, index_files, open_index

IMAGES, TEXTS = 6, 30
INDEX = np.repeat(np.arange(IMAGES), 5)[::-1]
WORDS = [f"caption {k}" for k in range(TEXTS)]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Five captions an image, in float16, in another order than the images."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(IMAGES, 8))
    np.save(tmp_path / "i.npy", (rows + 0.4).astype(np.float16))
    np.save(tmp_path / "t.npy", (rows[INDEX] + 0.2 * rng.normal(size=(TEXTS, 8))).astype("f2"))
    np.save(tmp_path / "x.npy", INDEX)
    (tmp_path / "words.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return [str(tmp_path / name) for name in ("i.npy", "t.npy")]


def owners(index: MixedIndex) -> list[str | None]:
    return [index.get(f"text:{k}").payload.get("image") for k in range(TEXTS)]


def test_texts_name_their_image_and_hold_their_words(files: list[str], tmp_path: Path) -> None:
    words = ["--image-index", str(tmp_path / "x.npy"), "--captions", str(tmp_path / "words.txt")]
    assert run(["index", *files, *words, "-o", str(tmp_path / "made"), "--json"]) == 0
    with open_index(tmp_path / "made") as index:
        assert owners(index) == [f"image:{owner}" for owner in INDEX]
        assert [index.get(f"text:{k}").payload["caption"] for k in range(TEXTS)] == WORDS


def test_without_them_nothing_is_made_up(files: list[str], tmp_path: Path) -> None:
    index_files(*files, tmp_path / "made")
    with open_index(tmp_path / "made") as index:
        assert owners(index) == [None] * TEXTS
        assert {index.get(f"text:{k}").payload["caption"] for k in range(TEXTS)} == {""}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"image_index": INDEX[:-1]}, "one row number for each of the 30 texts"),
        ({"image_index": INDEX + 1}, "between 0 and 5, got 6 for text 0"),
        ({"image_index": INDEX - 1}, "between 0 and 5, got -1 for text"),
        ({"captions": WORDS[:-1]}, "captions must be of length 30, one for each row, got 29"),
    ],
)
def test_what_does_not_fit_leaves_nothing(
    files: list[str], tmp_path: Path, given: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        index_files(*files, tmp_path / "made", **given)
    assert not (tmp_path / "made").exists()


def test_the_bundled_scenes_bring_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: list[str]
) -> None:
    words = ["--image-index", str(tmp_path / "x.npy"), "-o", str(tmp_path / "made")]
    assert run(["index", "--demo", *words]) == 2
    assert "must be given with FOLDER, got --demo" in capsys.readouterr().err
