"""Embeddings in int8 with scales are read as float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from conftest import make_gapped
from fillgap.aligners import make_aligner
from fillgap.distributed import ThisProcess, fit_shards
from fillgap.errors import InputError, InputTypeError
from fillgap.io import load_rows, open_rows, open_sides, rows_between, transform_files
from io_formats import exact_in_bfloat16

N, D = 70, 9
WRITERS = {
    ".safetensors": lambda path, arrays: safetensors.numpy.save_file(arrays, path),
    ".npz": lambda path, arrays: np.savez_compressed(path, **arrays),
}
#: Shapes of the scales, and what each stands for.
SHAPES = {
    "one a row": lambda n, d: (n,),
    "one a row, upright": lambda n, d: (n, 1),
    "one a dimension": lambda n, d: (d,),
    "one a dimension, flat": lambda n, d: (1, d),
}


def make_quantised(shape: str, n: int = N, d: int = D) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(4)
    vectors = rng.integers(-127, 128, (n, d)).astype(np.int8)
    scales = rng.uniform(0.001, 0.02, SHAPES[shape](n, d)).astype(np.float32)
    upright = scales[:, None] if scales.shape == (n,) else scales
    return {"vectors": vectors, "scales": scales}, vectors * upright


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_vectors_times_scales(suffix: str, shape: str, tmp_path: Path) -> None:
    arrays, expected = make_quantised(shape)
    path = tmp_path / f"q{suffix}"
    WRITERS[suffix](path, arrays | {"labels": np.arange(3)})
    source = open_rows(path)
    assert source.dtype == np.float32
    blocks = list(source.iter_blocks(32))
    assert [len(block) for block in blocks] == [32, 32, 6]
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    np.testing.assert_array_equal(load_rows(f"{path}:vectors"), expected)
    part = rows_between(source, 11, 53)
    np.testing.assert_array_equal(np.concatenate(list(part.iter_blocks(8))), expected[11:53])


@pytest.mark.parametrize("suffix", WRITERS)
def test_both_sides_of_one_file_have_their_own_scales(suffix: str, tmp_path: Path) -> None:
    (one, X), (other, Y) = make_quantised("one a row"), make_quantised("one a dimension", n=40)
    WRITERS[suffix](tmp_path / f"q{suffix}", {
        "image_vectors": one["vectors"], "image_scales": one["scales"],
        "texts": other["vectors"], "texts_scales": other["scales"],
    })  # fmt: skip
    images, texts = open_sides(tmp_path / f"q{suffix}")
    np.testing.assert_array_equal(load_rows(images.name), X)
    np.testing.assert_array_equal(load_rows(texts.name), Y)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_copies_are_float32_and_alone(suffix: str, shape: str, tmp_path: Path) -> None:
    arrays, rows = make_quantised(shape)
    path = tmp_path / f"q{suffix}"
    WRITERS[suffix](path, arrays | {"a": np.arange(5.0)})
    transform_files(path, tmp_path / f"out{suffix}", lambda block, _: block[:, :4] * 3)
    written = (
        safetensors.numpy.load_file(tmp_path / "out.safetensors")
        if suffix == ".safetensors"
        else dict(np.load(tmp_path / "out.npz"))
    )
    assert list(written) == ["vectors"]
    assert written["vectors"].dtype == np.float32
    np.testing.assert_array_equal(written["vectors"], rows[:, :4] * 3)


def quantised(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows as int8, with a scale for each row."""
    scales = (np.abs(rows).max(axis=1) / 127).astype("f4")
    return np.rint(rows / scales[:, None]).astype("i1"), scales


def test_workers_fit_to_int8_and_to_bfloat16(tmp_path: Path) -> None:
    X, Y = (side + 1.5 for side in make_gapped(400, 16, seed=2))
    rounded = [exact_in_bfloat16(side.astype("f4")) for side in (X, Y)]
    for name, side, rows in zip(("images", "texts"), (X, Y), rounded, strict=True):
        vectors, scales = quantised(side)
        safetensors.numpy.save_file(
            {"vectors": vectors, "scales": scales}, tmp_path / f"{name}_int8.safetensors"
        )
        bits = (rows.view("<u4") >> 16).astype("<u2")
        tensor = torch.from_numpy(bits.view("<i2").copy()).view(torch.bfloat16)
        safetensors.torch.save_file({"emb": tensor}, tmp_path / f"{name}_bf16.safetensors")
    for kind, sides in (
        ("bf16", rounded),
        ("int8", [(lambda v, s: v * s[:, None])(*quantised(side)) for side in (X, Y)]),
    ):
        there, here = make_aligner("balanced"), make_aligner("balanced").fit(*sides)
        report = fit_shards(
            there,
            tmp_path / f"images_{kind}.safetensors",
            tmp_path / f"texts_{kind}.safetensors",
            executor=ThisProcess(),
        )
        np.testing.assert_allclose(there.map_x_.matrix, here.map_x_.matrix, atol=1e-9)
        assert report.n_bytes == 2 * 400 * 16 * {"bf16": 2, "int8": 1}[kind]


@pytest.mark.parametrize("suffix", WRITERS)
def test_refusals(suffix: str, tmp_path: Path) -> None:
    arrays, _ = make_quantised("one a row")
    path = tmp_path / f"q{suffix}"
    WRITERS[suffix](path, {"vectors": arrays["vectors"]})
    with pytest.raises(InputTypeError, match=r"I8 with scales|floating point numbers, got int8"):
        open_rows(f"{path}:vectors")
    WRITERS[suffix](path, {"vectors": arrays["vectors"], "scales": np.ones(N - 1, "f4")})
    with pytest.raises(InputError, match="one scale for each row or each dimension"):
        open_rows(path)
    WRITERS[suffix](path, {"vectors": arrays["vectors"], "scales": np.ones(N, "i8")})
    with pytest.raises((InputError, InputTypeError), match="scales"):
        open_rows(path)
