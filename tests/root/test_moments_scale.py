"""A fit of very many rows loses no digits."""

from __future__ import annotations

import pickle
from copy import deepcopy

import numpy as np
import pytest

from fillgap.moments import PRECISE_ROWS, Moments, PairMoments


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


def test_merging_in_a_tree_is_merging_in_a_row() -> None:
    rng = np.random.default_rng(1)
    blocks = [Moments.from_rows(rng.normal(size=(64, 4)) + 1e5 * i) for i in range(8)]
    stream = Moments.empty(4)
    for block in blocks:
        stream.absorb(block)
    tree = deepcopy(blocks)
    while len(tree) > 1:
        for left, right in zip(tree[::2], tree[1::2], strict=True):
            left.absorb(right)
        tree = tree[::2]
    np.testing.assert_allclose(tree[0].scatter, stream.scatter, rtol=1e-12)
    # What sums of squares would give: the mean, squared, swamps the deviation.
    rows = rng.normal(size=(256, 1)) + 1e8
    naive = np.mean(rows**2) - np.mean(rows) ** 2
    assert abs(Moments.from_rows(rows).covariance(ddof=0)[0, 0] / np.var(rows) - 1) < 1e-7
    assert abs(naive / np.var(rows) - 1) > 0.1


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
    x, y = (
        side.astype("f8") / np.linalg.norm(side.astype("f8"), axis=1)[:, None] for side in (X, Y)
    )
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
