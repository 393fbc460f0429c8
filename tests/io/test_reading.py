"""What a path stands for, which array is read, and how files are opened."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from fillgap.errors import InputError
from fillgap.io import load_rows, open_rows, save_rows
from fillgap.io.names import guess_modality
from fillgap.io.shards import in_memory
from io_formats import DOUBLE, FORMATS, HALF, SINGLE, make_rows, save


@pytest.mark.parametrize("name", ["npy", "npy by columns", "safetensors"])
def test_npy_and_safetensors_are_mapped(name: str, tmp_path: Path) -> None:
    rows = make_rows(9, 4, SINGLE)
    path = FORMATS[name].make(tmp_path, rows)
    mapped = load_rows(path)
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    for block in open_rows(path).iter_blocks(4):
        block[:] = 0  # blocks are copies
    np.testing.assert_array_equal(mapped, rows)


@pytest.mark.filterwarnings("ignore:Stored array in format")  # NumPy warns of what it can read
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_of_npy_and_upper_case_suffixes(tmp_path: Path, version: tuple) -> None:
    rows = make_rows(4, 3, SINGLE)
    with (tmp_path / "X.NPY").open("wb") as file:
        np.lib.format.write_array(file, rows, version=version)
    np.testing.assert_array_equal(load_rows(tmp_path / "X.NPY"), rows)


@pytest.mark.parametrize("folder", ["shards", "shards/*.npy", "shar*/x_*.npy", "**/x_*.npy"])
def test_shards_come_in_natural_order(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shards").mkdir()
    rows = make_rows(120, 5, SINGLE)
    for i in range(12):
        np.save(f"shards/x_{i}.npy", rows[10 * i : 10 * i + 10])
    for name in ("readme.md", ".hidden.npy", "_SUCCESS.npy")[: 3 if folder == "shards" else 2]:
        Path("shards", name).touch()
    source = open_rows(folder)
    assert (source.shape, source.dtype, source.name) == ((120, 5), SINGLE, folder)
    for block_rows in (7, 10, 200):
        blocks = list(source.iter_blocks(block_rows))
        assert {len(block) for block in blocks[:-1]} <= {block_rows}
        np.testing.assert_array_equal(np.concatenate(blocks), rows)
    np.testing.assert_array_equal(load_rows(folder), rows)


def test_shards_of_several_types_take_the_widest(tmp_path: Path) -> None:
    save_rows(tmp_path / "a.npy", np.ones((2, 3), HALF))
    save_rows(tmp_path / "b.npy", np.full((3, 3), 0.1, DOUBLE))
    assert {block.dtype for block in open_rows(tmp_path).iter_blocks(1)} == {DOUBLE}
    np.testing.assert_array_equal(load_rows(tmp_path)[2:], np.full((3, 3), 0.1))


def test_a_key_is_passed_on_to_shards(tmp_path: Path) -> None:
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", images=np.full((2, 3), i, "f4"), texts=np.zeros((2, 3)))
    for spec in (f"{tmp_path}:images", f"{tmp_path}/*.npz:images"):
        np.testing.assert_array_equal(load_rows(spec)[:, 0], [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("names", "modality", "chosen"),
    [
        (["images", "texts"], "image", "images"),
        (["images", "texts"], "text", "texts"),
        (["images", "images_random_init", "texts"], "image", "images"),
        (["img_emb", "img_emb_raw", "txt_emb"], "image", "img_emb"),
        (["vision_model_out", "caption_embeds"], "image", "vision_model_out"),
        (["vision_model_out", "caption_embeds"], "text", "caption_embeds"),
        (["emb"], "text", "emb"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_the_side_chooses_the_array(
    tmp_path: Path, suffix: str, names: list[str], modality: str, chosen: str
) -> None:
    arrays = {name: np.full((2, 3), i, "f4") for i, name in enumerate(names)}
    path = save(tmp_path / f"x{suffix}", **arrays)
    assert load_rows(path, modality=modality)[0, 0] == names.index(chosen)
    assert open_rows(path, modality=modality).name == f"{path}:{chosen}"


def test_names_with_colons_dots_and_odd_characters(tmp_path: Path) -> None:
    rows = make_rows(3, 4, SINGLE)
    for name in ("a:b.npy", "a.npz:b.npy"):
        np.save(tmp_path / name, rows)
        np.testing.assert_array_equal(load_rows(tmp_path / name), rows)
    key = "clip.vision/emb:0 é"
    for name in ("y.npz", "z.parquet"):
        path = save(tmp_path / name, **{"clip": rows * 0, key: rows, "clip.vision/emb": rows * 0})
        np.testing.assert_array_equal(load_rows(f"{path}:{key}"), rows)


def test_an_archive_with_columns_is_inflated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(3000, 30, DOUBLE)
    path = FORMATS["npz by columns"].make(tmp_path, rows)
    inflated = []
    read = zipfile.ZipExtFile._read1
    monkeypatch.setattr(
        zipfile.ZipExtFile, "_read1", lambda *args: inflated.append(read(*args)) or inflated[-1]
    )
    for _ in open_rows(path).iter_blocks(1000):
        pass
    assert rows.nbytes < sum(map(len, inflated)) < 1.5 * rows.nbytes


def test_more_rows_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", emb=make_rows(3, 4, SINGLE))

    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    source = open_rows(tmp_path / "x.npz")
    monkeypatch.setattr("numpy.empty", refuse)
    with pytest.raises(InputError, match="must fit into memory, got 3 rows of 4 numbers"):
        in_memory(source)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("images.npy", "image"),
        ("img_emb_0.npy", "image"),
        ("a/b/clip-vision-features.parquet", "image"),
        ("IMG.NPY", "image"),
        ("captions_val.safetensors", "text"),
        ("txt2.npz", "text"),
        ("clip.npz:images", "image"),
        ("images.npz:text_embeds", "text"),
        ("texts.npz:emb", "text"),
        ("laion/img_emb/0.npy", "image"),
        ("texts/0.npy", "text"),
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
