"""Sums that merge: equal to the direct formulas, in any order, without losing digits."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fillgap.errors import InputError
from fillgap.moments import PRECISE_ROWS, Moments, PairMoments
from reference import unit


def test_moments_are_mean_and_scatter_of_unit_rows(gapped: tuple[np.ndarray, np.ndarray]) -> None:
    X, Y = gapped
    moments = PairMoments.from_block(0, X, Y, cross=True)
    for side, rows in ((moments.x, unit(X)), (moments.y, unit(Y))):
        np.testing.assert_allclose(side.mean, rows.mean(0), atol=1e-15)
        np.testing.assert_allclose(side.covariance(), np.cov(rows.T), atol=1e-14)
        np.testing.assert_allclose(side.second_moment(), rows.T @ rows / len(rows), atol=1e-14)
    residuals = [unit(side) - unit(side).mean(0) for side in (X, Y)]
    assert moments.cross is not None
    np.testing.assert_allclose(moments.cross, residuals[0].T @ residuals[1], atol=1e-12)


@given(cuts=st.lists(st.integers(1, 59), max_size=6), seed=st.integers(0, 1000))
def test_any_split_and_order_merges_to_the_same_moments(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(60, 5)) + 3, rng.normal(size=(60, 5)) - 1
    whole = PairMoments.from_block(0, X, Y, cross=True)
    edges = [0, *sorted(set(cuts)), 60]
    parts = [
        PairMoments.from_block(a, X[a:b], Y[a:b], cross=True)
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    merged = parts.pop(int(rng.integers(len(parts))))
    for i in rng.permutation(len(parts)):
        merged.absorb(parts[i])
    assert merged.x.count == whole.x.count
    for got, expected in ((merged.x, whole.x), (merged.y, whole.y)):
        np.testing.assert_allclose(got.mean, expected.mean, atol=1e-12)
        np.testing.assert_allclose(got.scatter, expected.scatter, atol=1e-12)
    assert merged.cross is not None
    np.testing.assert_allclose(merged.cross, whole.cross, atol=1e-12)


def test_a_side_may_be_missing_in_any_block() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    merged = PairMoments.from_block(0, None, Y)
    merged.absorb(PairMoments.from_block(0, X[:10], None))
    merged.absorb(PairMoments.from_block(10, X[10:], None))
    assert (merged.x.count, merged.y.count) == (30, 20)
    np.testing.assert_allclose(merged.x.covariance(), np.cov(unit(X).T), atol=1e-14)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (np.nan, "finite numbers in every row, got NaN or infinity in row 107"),
        (np.inf, "finite numbers in every row, got NaN or infinity in row 107"),
        (0.0, "non-zero in every row, got all zeros in row 107"),
    ],
)
def test_a_row_without_direction_is_named(value: float, sentence: str) -> None:
    X = np.random.default_rng(0).normal(size=(20, 4))
    X[7] = value
    with pytest.raises(InputError, match=sentence):
        PairMoments.from_block(100, X, None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_far_from_length_one_keep_their_direction(dtype: type) -> None:
    X = np.random.default_rng(0).normal(size=(9, 4)).astype(dtype)
    expected = PairMoments.from_block(0, X, None).x.mean
    scales = np.array([1e-30, 1e30, 1, 1e-20, 1e25, 3, 1e-5, 1e19, 1e-19], dtype=dtype)
    got = PairMoments.from_block(0, X * scales[:, None], None).x.mean
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_hundred_million_rows_far_from_zero_keep_their_covariance() -> None:
    rng = np.random.default_rng(0)
    mean, n = np.array([1e6, -3e6, 2e6]), 4096
    rows = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.5, 0], [0, 1.0, 0.2], [0, 0, 0.1]])
    block = Moments.from_rows(rows + mean)
    truth = np.cov(rows.T, ddof=0)
    np.testing.assert_allclose(block.covariance(ddof=0), truth, rtol=1e-7)
    total = Moments.empty(3)
    for _ in range(24_415):  # 10⁸ rows, one block at a time, as a long stream is
        total.absorb(block)
    assert total.count > 10**8 - n
    np.testing.assert_allclose(total.covariance(ddof=0), truth, rtol=1e-6)
    np.testing.assert_allclose(total.mean, block.mean, rtol=1e-14)


@pytest.mark.parametrize("order", ["drawn", "sorted"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_blocks_made_ready_in_strips_keep_their_digits(order: str, dtype: str) -> None:
    """Mean far above the deviation; sorted, the first strip is not like the others."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(5000, 6)) * 0.05 + [3.0, -2, 1, 2, 1, -1]
    if order == "sorted":
        rows[300:] += [0.5, 0.2, 0, 0, 0.1, 0]
    X, Y = rows.astype(dtype), (rows[::-1] - 1).astype(dtype)
    found = PairMoments.from_block(PRECISE_ROWS, X, Y, cross=True)  # not a small set
    x, y = unit(X), unit(Y)
    tolerance = 1e-12 if dtype == "f8" else 2e-5
    for side, exact in ((found.x, x), (found.y, y)):
        np.testing.assert_allclose(side.mean, exact.mean(axis=0), atol=1e-7)
        scatter = np.cov(exact.T, ddof=0) * len(exact)
        np.testing.assert_allclose(side.scatter, scatter, atol=tolerance * np.abs(scatter).max())
    cross = (x - x.mean(axis=0)).T @ (y - y.mean(axis=0))
    np.testing.assert_allclose(found.cross, cross, atol=tolerance * np.abs(cross).max())


def test_a_side_without_rows_is_sent_without_its_zeros() -> None:
    rows = np.random.default_rng(3).normal(size=(300, 200)).astype("f4")
    one_sided = PairMoments.from_block(0, rows, None)
    sent = pickle.dumps(one_sided)
    assert len(sent) < 1.1 * (200 * 200 + 400) * 8
    again = pickle.loads(sent)
    again.absorb(PairMoments.from_block(0, None, rows))
    np.testing.assert_array_equal(again.x.scatter, again.y.scatter)
