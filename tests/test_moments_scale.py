"""A fit of very many rows loses no digits."""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from fillgap.moments import Moments


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
