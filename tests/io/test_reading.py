"""Embeddings are read the same from every format, in blocks or whole."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fillgap.io import load_rows, open_rows, save_rows
from fillgap.pair import RowSource
from io_formats import DOUBLE, FORMATS, HALF, SINGLE, Format, make_rows

EVERY = pytest.mark.parametrize("case", FORMATS.values(), ids=FORMATS.keys())
CASES = [(name, dtype) for name, case in FORMATS.items() for dtype in case.dtypes]


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=str)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_blocks_and_whole_give_the_rows(
    name: str, dtype: np.dtype, tmp_path: Path, data: st.DataObject
) -> None:
    case = FORMATS[name]
    n, d = data.draw(st.integers(1, 40)), data.draw(st.integers(2, 9))
    block_rows = data.draw(st.integers(1, 50))
    rows = make_rows(n, d, dtype, seed=n)
    path = tmp_path / f"x{case.suffix}"
    case.write(path, "emb", rows)

    source = open_rows(case.spec(path))
    assert isinstance(source, RowSource)
    assert (source.shape, source.dtype, source.name) == ((n, d), dtype, case.spec(path))
    for _ in range(2):  # it can be read again
        blocks = list(source.iter_blocks(block_rows))
        assert [len(b) for b in blocks[:-1]] == [block_rows] * (len(blocks) - 1)
        assert 1 <= len(blocks[-1]) <= block_rows
        assert all(b.dtype == dtype and b.dtype.isnative and b.flags.c_contiguous for b in blocks)
        np.testing.assert_array_equal(np.concatenate(blocks), rows)
    whole = load_rows(case.spec(path))
    assert whole.dtype == dtype
    assert whole.dtype.isnative
    np.testing.assert_array_equal(whole, rows)


@EVERY
def test_the_only_candidate_needs_no_name(case: Format, tmp_path: Path) -> None:
    rows = make_rows(11, 4, SINGLE)
    case.write(tmp_path / f"x{case.suffix}", "emb", rows)
    np.testing.assert_array_equal(load_rows(tmp_path / f"x{case.suffix}"), rows)


@EVERY
def test_two_iterations_at_once_do_not_disturb_each_other(case: Format, tmp_path: Path) -> None:
    rows = make_rows(23, 3, SINGLE)
    case.write(tmp_path / f"x{case.suffix}", "emb", rows)
    source = open_rows(tmp_path / f"x{case.suffix}")
    for first, second in zip(source.iter_blocks(4), source.iter_blocks(4), strict=True):
        np.testing.assert_array_equal(first, second)


@EVERY
def test_a_source_can_be_sent_to_another_process(case: Format, tmp_path: Path) -> None:
    rows = make_rows(5, 3, SINGLE)
    case.write(tmp_path / f"x{case.suffix}", "emb", rows)
    copy = pickle.loads(pickle.dumps(open_rows(tmp_path / f"x{case.suffix}")))
    np.testing.assert_array_equal(next(copy.iter_blocks(5)), rows)


def test_npy_and_safetensors_are_mapped(tmp_path: Path) -> None:
    rows = make_rows(9, 4, SINGLE)
    for name in ("npy", "npy by columns", "safetensors"):
        case = FORMATS[name]
        case.write(tmp_path / f"x{case.suffix}", "emb", rows)
        mapped = load_rows(tmp_path / f"x{case.suffix}")
        assert isinstance(mapped, np.memmap)
        assert not mapped.flags.writeable


def test_blocks_may_be_changed_without_changing_the_file(tmp_path: Path) -> None:
    rows = make_rows(9, 4, SINGLE)
    np.save(tmp_path / "x.npy", rows)
    source = open_rows(tmp_path / "x.npy")
    for block in source.iter_blocks(4):
        block[:] = 0
    np.testing.assert_array_equal(load_rows(tmp_path / "x.npy"), rows)


def test_headers_of_newer_npy_versions(tmp_path: Path) -> None:
    rows = make_rows(4, 3, SINGLE)
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / "x.npy").open("wb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns of files that it reads itself
            np.lib.format.write_array(file, rows, version=version)
        np.testing.assert_array_equal(load_rows(tmp_path / "x.npy"), rows)


@pytest.mark.parametrize("folder", ["shards", "shards/*.npy", "shar*/x_*.npy", "**/x_*.npy"])
def test_shards_come_in_natural_order(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shards").mkdir()
    rows = make_rows(120, 5, SINGLE)
    for i in range(12):
        np.save(f"shards/x_{i}.npy", rows[10 * i : 10 * i + 10])
    Path("shards/readme.md").touch()
    if folder == "shards":
        Path("shards/_SUCCESS.npy").touch()
    Path("shards/.hidden.npy").touch()
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
    source = open_rows(tmp_path)
    assert source.dtype == DOUBLE
    assert {block.dtype for block in source.iter_blocks(1)} == {DOUBLE}
    np.testing.assert_array_equal(load_rows(tmp_path)[2:], np.full((3, 3), 0.1))


def test_a_key_is_passed_on_to_shards(tmp_path: Path) -> None:
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", images=np.full((2, 3), i, "f4"), texts=np.zeros((2, 3)))
    for spec in (f"{tmp_path}:images", f"{tmp_path}/*.npz:images"):
        np.testing.assert_array_equal(load_rows(spec)[:, 0], [0, 0, 1, 1, 2, 2])


def test_the_sides_of_a_clip_retrieval_folder(tmp_path: Path) -> None:
    for side, value in (("img_emb", 1), ("text_emb", 2)):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / f"{side}_0.npy", np.full((4, 3), value, "f2"))
    assert load_rows(tmp_path, modality="image")[0, 0] == 1
    assert load_rows(tmp_path, modality="text")[0, 0] == 2
    assert load_rows(tmp_path / "img_emb")[0, 0] == 1


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
    path = tmp_path / f"x{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays)
    elif suffix == ".safetensors":
        import safetensors.numpy

        safetensors.numpy.save_file(arrays, path)
    else:
        pq.write_table(pa.table({name: list(rows) for name, rows in arrays.items()}), path)
    assert load_rows(path, modality=modality)[0, 0] == names.index(chosen)
    assert open_rows(path, modality=modality).name == f"{path}:{chosen}"


def test_names_with_colons_dots_and_odd_characters(tmp_path: Path) -> None:
    rows = make_rows(3, 4, SINGLE)
    for name in ("a:b.npy", "a.npz:b.npy"):
        np.save(tmp_path / name, rows)
        np.testing.assert_array_equal(load_rows(tmp_path / name), rows)
    key = "clip.vision/emb:0 é"
    np.savez(tmp_path / "y.npz", **{key: rows, "clip": rows * 0})
    np.testing.assert_array_equal(load_rows(f"{tmp_path / 'y.npz'}:{key}"), rows)
    table = pa.table({"clip": list(rows * 0), key: list(rows), "clip.vision/emb": list(rows * 0)})
    pq.write_table(table, tmp_path / "z.parquet")
    np.testing.assert_array_equal(load_rows(f"{tmp_path / 'z.parquet'}:{key}"), rows)


def test_an_archive_with_columns_is_inflated_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(3000, 30, DOUBLE)
    FORMATS["npz by columns"].write(tmp_path / "x.npz", "emb", rows)
    inflated = 0
    read = zipfile.ZipExtFile._read1

    def counted(self: zipfile.ZipExtFile, n: int) -> bytes:
        nonlocal inflated
        data = read(self, n)
        inflated += len(data)
        return data

    monkeypatch.setattr(zipfile.ZipExtFile, "_read1", counted)
    for _ in open_rows(tmp_path / "x.npz").iter_blocks(1000):
        pass
    assert rows.nbytes < inflated < 1.5 * rows.nbytes


def test_upper_case_suffixes(tmp_path: Path) -> None:
    rows = make_rows(3, 4, SINGLE)
    with (tmp_path / "X.NPY").open("wb") as file:
        np.save(file, rows)
    np.testing.assert_array_equal(load_rows(tmp_path / "X.NPY"), rows)


def test_the_real_embeddings(real_data: Path) -> None:
    path = real_data / "coco_clip_vitb16_500" / "coco_clip_vitb16_500.npz"
    with np.load(path) as file:
        for side, name in (("image", "images"), ("text", "texts")):
            np.testing.assert_array_equal(load_rows(path, modality=side), file[name])
