"""Rows that occur more than once score alike, whatever the processor's product does to them."""

from __future__ import annotations

import numpy as np
import pytest

from fillgap import BalancedAligner
from fillgap.calibration import NNN, Sides
from fillgap.evaluation.combine import aligned_sides
from fillgap.evaluation.shortlists import all_scores, calibrated
from fillgap.kernel import copies, level_columns


def slow_copies(rows: np.ndarray) -> tuple[list[int], list[int]]:
    """Compare every row with all before it."""
    found = []
    for i in range(len(rows)):
        earlier = [j for j in range(i) if np.array_equal(rows[i], rows[j])]
        found += [(i, earlier[0])] if earlier else []
    return [i for i, _ in found], [j for _, j in found]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_copies_are_those_that_a_loop_finds(dtype: str, order: str) -> None:
    rng = np.random.default_rng(0)
    rows = np.asarray(rng.integers(-1, 2, size=(90, 3)) * 0.1, dtype=dtype, order=order)
    copy, first = copies(rows)
    assert (copy.tolist(), first.tolist()) == slow_copies(rows)
    assert 30 < len(copy) < 90
    split = copies(rows[:17], rows[17:17], rows[17:])
    assert [part.tolist() for part in split] == [copy.tolist(), first.tolist()]


def test_rows_that_differ_in_a_few_columns_alone() -> None:
    rng = np.random.default_rng(1)
    rows = np.zeros((400, 300), np.float32)
    rows[np.arange(400), rng.integers(0, 300, 400)] = 1  # most of what is looked at first is zero
    copy, first = copies(rows[:150], rows[150:])
    assert (copy.tolist(), first.tolist()) == slow_copies(rows)
    assert len(copy) > 50


def test_both_zeros_are_equal() -> None:
    copy, first = copies(np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, -1.0]], np.float32))
    assert (copy.tolist(), first.tolist()) == ([1], [0])


def test_rows_of_one_hash_are_still_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from fillgap import kernel

    rows = np.array([[1.0], [2.0], [1.0]], np.float32)
    monkeypatch.setattr(kernel, "_hashes", lambda side, *_: np.zeros(len(side), np.uint64))
    assert [part.tolist() for part in copies(rows)] == [[2], [0]]


def test_all_columns_of_copies_are_the_first() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    scores = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    assert level_columns(scores, rows) is scores
    np.testing.assert_array_equal(scores, [[0.1, 0.2, 0.1], [0.4, 0.5, 0.4]])


def test_copies_stay_level_through_an_aligner_and_a_calibration() -> None:
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(2, 300, 265)).astype(np.float32)
    texts[100:] = texts[rng.integers(0, 100, 200)]
    copy, first = copies(texts)
    aligner = BalancedAligner().fit(images, texts)
    rows = aligned_sides(aligner, images, texts)
    np.testing.assert_array_equal(rows.texts[copy], rows.texts[first])
    calibration = NNN().fit(Sides(rows.images, rows.texts), Sides(rows.images, rows.texts))
    scores = all_scores({"image": rows.images, "text": rows.texts}, calibrated(calibration))
    np.testing.assert_array_equal(
        scores["image"]["text"][:, copy], scores["image"]["text"][:, first]
    )
