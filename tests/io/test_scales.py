"""Embeddings in int8 with scales are read as float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fillgap.aligners import make_aligner
from fillgap.distributed import ThisProcess, fit_shards
from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_rows, open_rows, open_sides, transform_files
from fillgap.io.shards import rows_between
from io_formats import FORMATS, exact_in_bfloat16, save
from worlds import make_gapped

#: Shapes of the scales, and what each stands for.
SHAPES = {
    "one a row": lambda n, d: (n,),
    "one a row, upright": lambda n, d: (n, 1),
    "one a dimension": lambda n, d: (d,),
    "one a dimension, flat": lambda n, d: (1, d),
}
BOTH = pytest.mark.parametrize("suffix", [".npz", ".safetensors"])


def make_quantised(shape: str, n: int = 70, d: int = 9) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(4)
    vectors = rng.integers(-127, 128, (n, d)).astype(np.int8)
    scales = rng.uniform(0.001, 0.02, SHAPES[shape](n, d)).astype(np.float32)
    return {"vectors": vectors, "scales": scales}, vectors * (
        scales[:, None] if scales.shape == (n,) else scales
    )


@BOTH
@pytest.mark.parametrize("n", [70, 9])  # with as many rows as dimensions, (n,) is for rows
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_vectors_times_scales(suffix: str, shape: str, n: int, tmp_path: Path) -> None:
    if n == 9 and shape == "one a dimension":
        pytest.skip("read as one a row")
    arrays, expected = make_quantised(shape, n)
    path = save(tmp_path / f"q{suffix}", **arrays, labels=np.arange(3))
    source = open_rows(path)
    assert source.dtype == np.float32
    np.testing.assert_array_equal(np.concatenate(list(source.iter_blocks(32))), expected)
    np.testing.assert_array_equal(load_rows(f"{path}:vectors"), expected)
    part = rows_between(source, 2, n - 1)
    np.testing.assert_array_equal(np.concatenate(list(part.iter_blocks(4))), expected[2 : n - 1])
    copy = transform_files(path, tmp_path / f"out{suffix}", lambda block, _: block[:, :4] * 3)[0]
    written = FORMATS[suffix[1:]].read(copy)
    assert written.pop("__metadata__", None) is None
    assert list(written) == ["vectors"]
    assert written["vectors"].dtype == np.float32
    np.testing.assert_array_equal(written["vectors"], expected[:, :4] * 3)


@BOTH
def test_both_sides_of_one_file_have_their_own_scales(suffix: str, tmp_path: Path) -> None:
    (one, X), (other, Y) = make_quantised("one a row"), make_quantised("one a dimension", n=40)
    path = save(
        tmp_path / f"q{suffix}",
        image_vectors=one["vectors"], image_scales=one["scales"],
        texts=other["vectors"], texts_scales=other["scales"],
    )  # fmt: skip
    images, texts = open_sides(path)
    np.testing.assert_array_equal(load_rows(images.name), X)
    np.testing.assert_array_equal(load_rows(texts.name), Y)


def test_workers_fit_to_int8_and_to_bfloat16(tmp_path: Path) -> None:
    sides = [(side + 1.5).astype("f4") for side in make_gapped(400, 16, seed=2)]
    scales = [(np.abs(side).max(axis=1) / 127).astype("f4") for side in sides]
    vectors = [
        np.rint(side / factors[:, None]).astype("i1")
        for side, factors in zip(sides, scales, strict=True)
    ]
    for name, rows, int8, factors in zip(("images", "texts"), sides, vectors, scales, strict=True):
        save(tmp_path / f"{name}_int8.safetensors", vectors=int8, scales=factors)
        FORMATS["bfloat16"].write(tmp_path / f"{name}_bf16.safetensors", "emb", rows)
    for kind, itemsize, decoded in (
        ("bf16", 2, [exact_in_bfloat16(side) for side in sides]),
        ("int8", 1, [v * s[:, None] for v, s in zip(vectors, scales, strict=True)]),
    ):
        there, here = make_aligner("balanced"), make_aligner("balanced").fit(*decoded)
        images, texts = (tmp_path / f"{name}_{kind}.safetensors" for name in ("images", "texts"))
        report = fit_shards(there, images, texts, executor=ThisProcess())
        np.testing.assert_allclose(there.map_x_.matrix, here.map_x_.matrix, atol=1e-9)
        assert report.n_bytes == 2 * 400 * 16 * itemsize


@BOTH
def test_refusals(suffix: str, tmp_path: Path) -> None:
    vectors = make_quantised("one a row")[0]["vectors"]
    path = save(tmp_path / f"q{suffix}", vectors=vectors)
    with pytest.raises(InputTypeError, match=r"I8 with scales|floating point numbers, got int8"):
        open_rows(f"{path}:vectors")
    save(path, vectors=vectors, scales=np.ones(69, "f4"))
    with pytest.raises(InputError, match="one scale for each row or each dimension"):
        open_rows(path)
    save(path, vectors=vectors, scales=np.ones(70, "i8"))
    with pytest.raises((InputError, InputTypeError), match="scales"):
        open_rows(path)
