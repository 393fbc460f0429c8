"""Sums that merge: equal to the direct formulas, in any order, without losing digits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fillgap.errors import InputError
from fillgap.moments import PRECISE_ROWS, Moments, PairMoments


def _units(X: np.ndarray) -> np.ndarray:
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def test_moments_are_mean_and_scatter_of_unit_rows(gapped: tuple[np.ndarray, np.ndarray]) -> None:
    X, Y = gapped
    moments = PairMoments.from_block(0, X, Y, cross=True)
    for side, rows in ((moments.x, _units(X)), (moments.y, _units(Y))):
        np.testing.assert_allclose(side.mean, rows.mean(0), atol=1e-15)
        np.testing.assert_allclose(side.covariance(), np.cov(rows.T), atol=1e-14)
        np.testing.assert_allclose(side.second_moment(), rows.T @ rows / len(rows), atol=1e-14)
    residuals = [_units(side) - _units(side).mean(0) for side in (X, Y)]
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
    for name in ("mean", "scatter"):
        for side in ("x", "y"):
            got, expected = (
                getattr(getattr(merged, side), name),
                getattr(getattr(whole, side), name),
            )
            np.testing.assert_allclose(got, expected, atol=1e-12)
    assert merged.cross is not None
    np.testing.assert_allclose(merged.cross, whole.cross, atol=1e-12)


def test_a_side_may_be_missing_in_any_block() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    merged = PairMoments.from_block(0, None, Y)
    merged.absorb(PairMoments.from_block(0, X[:10], None))
    merged.absorb(PairMoments.from_block(10, X[10:], None))
    assert (merged.x.count, merged.y.count) == (30, 20)
    np.testing.assert_allclose(merged.x.covariance(), np.cov(_units(X).T), atol=1e-14)


def test_no_digits_are_lost_where_the_mean_dwarfs_the_deviation() -> None:
    rng = np.random.default_rng(0)
    rows = 1e6 + rng.normal(size=(4000, 3))
    total = Moments.from_rows(rows[:7])
    for start in range(7, 4000, 131):
        total.absorb(Moments.from_rows(rows[start : start + 131]))
    np.testing.assert_allclose(total.covariance(), np.cov((rows - 1e6).T), rtol=1e-8, atol=1e-8)


def test_first_rows_are_multiplied_in_float64_and_later_ones_as_they_are() -> None:
    X = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    reference = PairMoments.from_block(0, _units(X.astype(np.float64)), None).x.scatter
    early = PairMoments.from_block(0, X, None).x.scatter
    late = PairMoments.from_block(PRECISE_ROWS, X, None).x.scatter
    assert abs(early - reference).max() < abs(late - reference).max() < 1e-3
    assert early.dtype == late.dtype == np.float64


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
