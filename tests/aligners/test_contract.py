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
from conftest import make_gapped
from fillgap.aligners import Aligner, BalancedAligner, SpectralAligner
from fillgap.aligners.base import MomentAligner, SumAligner, drive
from fillgap.errors import InputError
from fillgap.io import open_rows, save_rows
from fillgap.pair import BLOCK_ROWS, RowSource
from reference import unit

Pair = tuple[np.ndarray, np.ndarray]
SUMS = [row for row in ROWS if isinstance(row.make(), SumAligner)]
from_sums = pytest.mark.parametrize("row", SUMS, ids=lambda row: row.name)
every = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def cosines(aligner: Aligner, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    Z = unit(np.vstack(aligner.transform_pair(X, Y)))
    return Z @ Z.T


@every
def test_scale_of_rows_does_not_matter(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    scales = np.random.default_rng(1).uniform(0.1, 16, size=(len(X), 1))
    expected = cosines(row.make().fit(X, Y), X, Y)
    got = cosines(row.make().fit(X * scales, Y / scales), X * scales, Y)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@every
def test_rotation_of_the_space(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    Q = np.linalg.qr(np.random.default_rng(2).normal(size=(X.shape[1],) * 2))[0]
    expected = cosines(row.make().fit(X, Y), X, Y)
    got = cosines(row.make().fit(X @ Q, Y @ Q), X @ Q, Y @ Q)
    assert (abs(got - expected).max() < 1e-8) == row.rotation_invariant


@every
def test_exchanging_the_sides(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    n = len(X)
    expected = cosines(row.make().fit(X, Y), X, Y)
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
    for rows, map_, image in (
        (X, aligner.map_x_, aligner.transform(X)),
        (Y, aligner.map_y_, aligner.transform_y(Y)),
    ):
        A, b = map_.folded(X.shape[1])
        np.testing.assert_allclose(image, unit(rows) @ A + b, atol=1e-10)
    normalised = row.make().fit(X, Y)
    np.testing.assert_allclose(normalised.transform(X), unit(aligner.transform(X)), atol=1e-12)
    np.testing.assert_allclose(normalised.transform_y(Y), unit(aligner.transform_y(Y)), atol=1e-12)


@every
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_precision_follows_the_input(row: Row, dtype: type, gapped: Pair) -> None:
    X, Y = (side.astype(dtype) for side in gapped)
    before = X.copy(), Y.copy()
    A, B = row.make().fit(X, Y).transform_pair(X, Y)
    assert A.dtype == B.dtype == (np.float64 if dtype is np.float64 else np.float32)
    assert np.array_equal(X, before[0])
    assert np.array_equal(Y, before[1])


@every
def test_rows_are_independent_of_the_block_they_come_in(row: Row) -> None:
    X, Y = make_gapped(200, 24, seed=0)
    aligner = row.make().fit(X, Y)
    many = np.tile(X, (BLOCK_ROWS // len(X) + 2, 1))
    assert len(many) > BLOCK_ROWS
    np.testing.assert_allclose(aligner.transform(many)[-len(X) :], aligner.transform(X), atol=1e-12)


@every
def test_fitting_again_and_cloning_give_the_same_bits(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    aligner = row.make().fit(X, Y)
    first = aligner.transform(X)
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
def test_sets_of_different_sizes(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    if row.make().needs_pairs:
        with pytest.raises(InputError, match=r"must be pairs .* got 300 images and 299 texts"):
            row.make().fit(X, Y[:-1])
    else:
        assert row.make().fit(X, Y[:200]).n_samples_ == (300, 200)


@every
def test_refusals(row: Row, gapped: Pair) -> None:
    X, Y = gapped
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


@every
def test_collapsed_embeddings_are_refused(row: Row) -> None:
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

    aligner = row.make()
    aligner._reset()
    drive(aligner.fit_steps(), reduce)
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
    parameters = {"n_components": 4} if "n_components" in row.make().get_params() else {}
    if row.name == "dimension-removal":
        parameters = {"n_removed": 2}
    made = [row.make().set_params(**parameters) for _ in range(2)]
    expected = cosines(made[0].fit(X, Y), X[:200], Y[:200])
    got = cosines(made[1].fit(*files), X[:200], Y[:200])
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
    rng = np.random.default_rng(0)
    X, Y = (Recording(rng.normal(size=(2 * BLOCK_ROWS + 5, 4)) + 3) for _ in range(2))
    assert isinstance(X, RowSource)
    aligner, seen = make().set_params(n_components=2), []
    aligner.fit(X, Y, progress=lambda done, total, what: seen.append((done, total)))
    n = len(X.rows)
    assert seen[-1] == (2 * n, 2 * n)
    assert [done for done, _ in seen[:3]] == [BLOCK_ROWS, 2 * BLOCK_ROWS, n]
    assert make.passes == passes
    for side in (X, Y):
        assert side.sizes == [BLOCK_ROWS, BLOCK_ROWS, 5] * passes


def test_a_bad_row_deep_in_a_file_is_named_by_its_number(tmp_path: Path) -> None:
    X, Y = make_gapped(BLOCK_ROWS + 50, 4, seed=0)
    X[BLOCK_ROWS + 7] = np.nan
    save_rows(tmp_path / "x.npy", X)
    with pytest.raises(InputError, match=f"NaN or infinity in row {BLOCK_ROWS + 7}"):
        BalancedAligner().fit(open_rows(tmp_path / "x.npy"), Y)


def test_bad_rows_of_a_block_are_counted_beyond_a_strip() -> None:
    X = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    fitted = BalancedAligner().fit(X, X + 1)
    bad = X.copy()
    bad[[700, 1900]] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinity in row 10700 \(2 such rows"):
        fitted.apply_block(bad, "images", 10_000)
    whole, parts = fitted.apply_block(X, "images"), [fitted.transform(part) for part in X[:, None]]
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-6)
