"""Every aligner keeps the contract: one table of aligners, each test a property over it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from aligner_table import ROWS, Row
from conftest import make_gapped
from fillgap.aligners.base import Aligner, MomentAligner
from fillgap.errors import InputError
from fillgap.pair import BLOCK_ROWS

Pair = tuple[np.ndarray, np.ndarray]
every = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def cosines(aligner: Aligner, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    Z = np.vstack(aligner.transform_pair(X, Y)).astype(np.float64)
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    return Z @ Z.T


@every
def test_scale_of_rows_does_not_matter(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    scales = np.random.default_rng(1).uniform(0.1, 16, size=(len(X), 1))
    expected = cosines(row.make().fit(X, Y), X, Y)
    np.testing.assert_allclose(
        cosines(row.make().fit(X * scales, Y / scales), X * scales, Y), expected, atol=1e-6
    )


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
def test_unit_rows_by_default_and_the_affine_image_on_request(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    unit = row.make().fit(X, Y)
    plain = row.make().set_params(normalize=False).fit(X, Y)
    for a, b in zip(unit.transform_pair(X, Y), plain.transform_pair(X, Y), strict=True):
        np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=1e-12)
        np.testing.assert_allclose(a, b / np.linalg.norm(b, axis=1, keepdims=True), atol=1e-12)


@every
def test_a_linear_aligner_is_one_affine_map_a_side(row: Row, gapped: Pair) -> None:
    X, Y = gapped
    aligner = row.make().set_params(normalize=False).fit(X, Y)
    assert aligner.linear
    for rows, map_, image in (
        (X, aligner.map_x_, aligner.transform(X)),
        (Y, aligner.map_y_, aligner.transform_y(Y)),
    ):
        A, b = map_.folded(X.shape[1])
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(image, units @ A + b, atol=1e-10)


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
def test_signs_are_fixed(row: Row, gapped: Pair) -> None:
    aligner = row.make().fit(*gapped)
    if row.name in {"spectral", "balanced", "balanced-cut", "cca", "pca-projection"}:
        A = aligner.map_x_.matrix
        assert A is not None
        assert (A[np.argmax(np.abs(A), axis=0), np.arange(A.shape[1])] > 0).all()


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
