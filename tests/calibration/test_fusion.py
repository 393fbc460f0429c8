"""Fusion of lists against plain loops, and lists from which something is left out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from fillgap import InputError, InputTypeError
from fillgap.calibration import distribution_based_fusion, min_max_fusion, reciprocal_rank_fusion


def slow_rrf(scores: list[float], constant: float) -> list[float]:
    ranks = [1 + sum(o > s for o in scores) + (scores.count(s) - 1) / 2 for s in scores]
    return [1 / (constant + rank) for rank in ranks]


def slow_dbsf(scores: list[float], depth: int | None) -> list[float]:
    best = sorted(scores)[-(depth or len(scores)) :]
    return [(s - np.mean(best)) / (6 * np.std(best)) + 0.5 for s in scores]


def slow_min_max(scores: list[float], depth: int | None) -> list[float]:
    best = sorted(scores)[-(depth or len(scores)) :]
    return [(s - min(best)) / (max(best) - min(best)) for s in scores]


METHODS: list[tuple[Callable[..., Any], Callable[[list[float]], list[float]]]] = [
    (reciprocal_rank_fusion, partial(slow_rrf, constant=60)),
    (partial(reciprocal_rank_fusion, constant=1), partial(slow_rrf, constant=1)),
    (distribution_based_fusion, partial(slow_dbsf, depth=None)),
    (partial(distribution_based_fusion, depth=5), partial(slow_dbsf, depth=5)),
    (min_max_fusion, partial(slow_min_max, depth=None)),
    (partial(min_max_fusion, depth=5), partial(slow_min_max, depth=5)),
]
RNG = np.random.default_rng(0)
LISTS = [RNG.normal(size=(7, 12)).round(1), RNG.normal(size=(7, 30)) + 4]


@pytest.mark.parametrize(("fuse", "slow"), METHODS)
class TestEveryFusion:
    def test_formula(self, fuse: Callable[..., Any], slow: Callable[..., Any]) -> None:
        for scores, got in zip(LISTS, fuse(LISTS), strict=True):
            expected = [slow(row) for row in scores.tolist()]
            np.testing.assert_allclose(got, expected, atol=1e-12)

    def test_what_is_not_in_a_list_takes_no_place(
        self, fuse: Callable[..., Any], slow: Callable[..., Any]
    ) -> None:
        scores = LISTS[1].copy()
        out = np.arange(7) * 3 % 30
        scores[np.arange(7), out] = -np.inf
        got = fuse([scores])[0]
        assert (got[np.arange(7), out] == -np.inf).all()
        for row, place, original in zip(got, out, LISTS[1].tolist(), strict=True):
            left = original[:place] + original[place + 1 :]
            np.testing.assert_allclose(np.delete(row, place), slow(left), atol=1e-12)

    def test_an_empty_row_and_a_level_one(
        self, fuse: Callable[..., Any], slow: Callable[..., Any]
    ) -> None:
        assert (fuse([np.full((1, 4), -np.inf)])[0] == -np.inf).all()
        level = fuse([np.ones((1, 4))])[0]
        assert np.isfinite(level).all()
        assert np.ptp(level) == 0

    def test_refusals(self, fuse: Callable[..., Any], slow: Callable[..., Any]) -> None:
        for bad in (np.nan, np.inf):
            with pytest.raises(InputError, match=r"must be finite numbers, got NaN .* in list 1"):
                fuse([np.ones((1, 2)), np.array([[1.0, bad]])])
        for bad in ([["x"]], [np.ones((1, 2), bool)], [np.ones((1, 2), complex)], 5):
            with pytest.raises(InputTypeError, match="lists must be arrays of numbers"):
                fuse(bad)
        with pytest.raises(InputTypeError, match="lists must be an array of numbers"):
            fuse([[[1.0, 2.0], [3.0]]])
        with pytest.raises(InputError, match="must be one or more"):
            fuse([])
        with pytest.raises(InputError, match="for the same queries"):
            fuse([np.ones((1, 2)), np.ones((2, 2))])


@pytest.mark.parametrize("fuse", [distribution_based_fusion, min_max_fusion])
def test_depth_must_be_a_count(fuse: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="depth must be at least 1"):
        fuse(LISTS, depth=0)
