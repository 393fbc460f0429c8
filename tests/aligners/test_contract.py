"""Every aligner keeps the contract, in memory, from files, and merged from shards in any order."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from aligner_table import ROWS, Row
from fillgap.aligners import Aligner, BalancedAligner, SpectralAligner
from fillgap.aligners.base import MomentAligner, SumAligner
from fillgap.errors import InputError
from fillgap.io import open_rows, save_rows
from fillgap.pair import BLOCK_ROWS, RowSource
from reference import unit
from worlds import make_gapped

Pair = tuple[np.ndarray, np.ndarray]
SUMS = [row for row in ROWS if isinstance(row.make(), SumAligner)]
from_sums = pytest.mark.parametrize("row", SUMS, ids=lambda row: row.name)
every = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def cosines(aligner: Aligner, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    Z = unit(np.vstack(aligner.transform_pair(X, Y)))
    return Z @ Z.T


@every
def test_scaled_rotated_and_exchanged_sides(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    n, rng = len(X), np.random.default_rng(1)
    expected = cosines(row.make().fit(X, Y), X, Y)
    scales = rng.uniform(0.1, 16, size=(n, 1))
    got = cosines(row.make().fit(X * scales, Y / scales), X * scales, Y)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    Q = np.linalg.qr(rng.normal(size=(X.shape[1],) * 2))[0]
    got = cosines(row.make().fit(X @ Q, Y @ Q), X @ Q, Y @ Q)
    assert (abs(got - expected).max() < 1e-8) == row.rotation_invariant
    swapped = np.roll(np.roll(cosines(row.make().fit(Y, X), Y, X), n, axis=0), n, axis=1)
    tolerance = 1e-4 if row.name == "refined" else 1e-8
    assert (abs(swapped - expected).max() < tolerance) == row.symmetric


@every
def test_a_linear_aligner_is_one_affine_map_a_side(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    aligner = row.make().set_params(normalize=False).fit(X, Y)
    assert aligner.linear
    if row.name in {"spectral", "balanced", "balanced-cut", "cca", "pca-projection"}:
        A = aligner.map_x_.matrix  # the signs are fixed
        assert (A[np.argmax(np.abs(A), axis=0), np.arange(A.shape[1])] > 0).all()
    images = aligner.transform_pair(X, Y)
    normalised = row.make().fit(X, Y).transform_pair(X, Y)
    for i, map_ in enumerate((aligner.map_x_, aligner.map_y_)):
        A, b = map_.folded(X.shape[1])
        np.testing.assert_allclose(images[i], unit((X, Y)[i]) @ A + b, atol=1e-10)
        np.testing.assert_allclose(normalised[i], unit(images[i]), atol=1e-12)


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_precision_follows_the_input(row: Row, dtype: type, gapped: Pair) -> None:
    sides = [side.astype(dtype) for side in gapped]
    before = [side.copy() for side in sides]
    for image in row.make().fit(*sides).transform_pair(*sides):
        assert image.dtype == np.float32
    np.testing.assert_array_equal(sides, before)


@every
def test_any_block_any_earlier_fit_and_any_clone_give_the_same(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    aligner = row.make().fit(X, Y)
    first = aligner.transform(X)
    assert first.dtype == np.float64
    many = np.tile(X, (BLOCK_ROWS // len(X) + 2, 1))
    np.testing.assert_allclose(aligner.transform(many)[-len(X) :], first, atol=1e-12)
    aligner.fit(Y[:99], X[:99])
    assert np.array_equal(aligner.fit(X, Y).transform(X), first)
    assert np.array_equal(clone(aligner).fit(X, Y).transform(X), first)


@every
def test_streaming_equals_one_fit(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    aligner = row.make()
    if not isinstance(aligner, MomentAligner):
        assert not hasattr(aligner, "partial_fit")
        return
    expected = cosines(row.make().fit(X, Y), X, Y)
    for start in (200, 0, 100):
        part = slice(start, start + 100)
        aligner.partial_fit(X[part], Y[part])
    assert aligner.n_samples_ == (300, 300)
    np.testing.assert_allclose(cosines(aligner, X, Y), expected, atol=1e-9)


@every
def test_refusals(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    if row.make().needs_pairs:
        with pytest.raises(InputError, match=r"must be pairs .* got 300 images and 299 texts"):
            row.make().fit(X, Y[:-1])
    else:
        assert row.make().fit(X, Y[:200]).n_samples_ == (300, 200)
    with pytest.raises(NotFittedError, match="must be fitted before it is applied"):
        row.make().transform(X)
    aligner = row.make().fit(X, Y)
    with pytest.raises(InputError, match="images must be of dimension 24, as in the fit, got 23"):
        aligner.transform(X[:, 1:])
    with pytest.raises(InputError, match="texts must be finite numbers in every row"):
        aligner.transform_y(np.where(np.arange(24) == 3, np.nan, Y))
    with pytest.raises(InputError, match="images and texts must be of one dimension, got 24 and 9"):
        row.make().fit(X, Y[:, :9])
    with pytest.raises(InputError, match="texts must be at least 2 rows, got 1"):
        row.make().fit(X[:1].repeat(2, axis=0), Y[:1])
    with pytest.raises(TypeError, match="images must be floating point numbers, got int64"):
        row.make().fit(np.ones((300, 24), dtype=np.int64), Y)
    X = np.ones((50, 8)) + 1e-9 * np.random.default_rng(0).normal(size=(50, 8))
    with pytest.raises(InputError, match="different embeddings|non-trivial eigenvector"):
        row.make().fit(X, X)


@every
def test_torch_tensors_give_the_same_result(row: Row, gapped: Pair) -> None:
    torch = pytest.importorskip("torch")
    X, Y = (side.astype(np.float32) for side in gapped)
    expected = row.make().fit(X, Y).transform_pair(X, Y)
    T = torch.from_numpy(X), torch.from_numpy(Y)
    got = row.make().fit(*T).transform_pair(*T)
    for a, b in zip(got, expected, strict=True):
        assert isinstance(a, torch.Tensor)
        assert abs(a.numpy() - b).max() < (1e-3 if row.name == "refined" else 1e-5)


@from_sums
@pytest.mark.parametrize("seed", range(4))
def test_shards_merged_in_any_order_give_the_same_maps(row: Row, seed: int) -> None:
    X, Y = make_gapped(240, 16, seed=5)
    expected = cosines(row.make().fit(X, Y), X, Y)
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(np.arange(1, 240), size=5, replace=False))
    shards = list(zip(np.split(X, edges), np.split(Y, edges), [0, *edges], strict=True))

    def reduce(function: Callable[[int, Any, Any], Any]) -> Any:
        # A worker gets the function by pickle, and sends its sums back the same way.
        function = pickle.loads(pickle.dumps(function))
        parts = [function(int(first), x, y) for x, y, first in shards]
        total = parts.pop(int(rng.integers(len(parts))))
        for place in rng.permutation(len(parts)):
            total.absorb(parts[place])
        return total

    aligner = row.make().fit_by(X, Y, reduce)
    assert aligner.n_samples_ == (240, 240)
    np.testing.assert_allclose(cosines(aligner, X, Y), expected, atol=1e-8)


@from_sums
@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_files_are_fitted_in_blocks_as_arrays_are(row: Row, suffix: str, tmp_path: Path) -> None:
    X, Y = make_gapped(BLOCK_ROWS + 300, 6, seed=1)
    Y = Y if row.make().needs_pairs else Y[: BLOCK_ROWS // 2]
    for name, side in (("x", X), ("y", Y)):
        save_rows(tmp_path / f"{name}.{suffix}", side)
    files = [open_rows(tmp_path / f"{name}.{suffix}") for name in "xy"]
    aligner = row.make()
    small = {"n_components": 4, "n_removed": 2}
    aligner.set_params(**{name: small[name] for name in small.keys() & aligner.get_params()})
    expected = cosines(aligner.fit(X, Y), X[:200], Y[:200])
    got = cosines(aligner.fit(*files), X[:200], Y[:200])
    np.testing.assert_allclose(got, expected, atol=1e-9)


class Recording:
    """A source that remembers which blocks were asked for, and how many it gave at once."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.dtype, self.name = rows, rows.shape, rows.dtype, "recorded"
        self.sizes: list[int] = []

    def iter_blocks(self, block_rows: int):
        for start in range(0, len(self.rows), block_rows):
            block = self.rows[start : start + block_rows]
            self.sizes.append(len(block))
            yield block


@pytest.mark.parametrize(("make", "passes"), [(BalancedAligner, 1), (SpectralAligner, 2)])
def test_a_fit_reads_as_often_as_it_says_and_never_more_than_a_block(
    make: type[Aligner], passes: int
) -> None:
    rng, n, seen = np.random.default_rng(0), 2 * BLOCK_ROWS + 5, []
    X, Y = (Recording(rng.normal(size=(n, 4)) + 3) for _ in range(2))
    assert isinstance(X, RowSource)
    make(n_components=2).fit(X, Y, progress=lambda *step: seen.append(step[:2]))
    assert seen[-1] == (2 * n, 2 * n)
    assert [done for done, _ in seen[:3]] == [BLOCK_ROWS, 2 * BLOCK_ROWS, n]
    assert make.passes == passes
    for side in (X, Y):
        assert side.sizes == [BLOCK_ROWS, BLOCK_ROWS, 5] * passes


def test_bad_rows_of_a_block_are_counted_beyond_a_strip() -> None:
    X = np.ones((BLOCK_ROWS + 50, 4)) + np.eye(4)[np.arange(BLOCK_ROWS + 50) % 4]
    X[BLOCK_ROWS + 7] = np.nan
    with pytest.raises(InputError, match=f"NaN or infinity in row {BLOCK_ROWS + 7}"):
        BalancedAligner().fit(Recording(X), X)
    X = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    fitted = BalancedAligner().fit(X, X + 1)
    bad = X.copy()
    bad[[700, 1900]] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinity in row 10700 \(2 such rows"):
        fitted.apply_block(bad, "images", 10_000)
    whole, parts = fitted.apply_block(X, "images"), [fitted.transform(part) for part in X[:, None]]
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-6)
