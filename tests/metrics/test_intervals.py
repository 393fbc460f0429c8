"""Bootstrap intervals against resampling by hand, theory, and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from fillgap.errors import InputError
from fillgap.metrics import intervals
from fillgap.metrics.intervals import bootstrap_interval, bounds_around


def by_hand(values, groups, weights, n_resamples, seed):
    """Draw whole groups, row by row, with the same random numbers."""
    names = np.unique(groups)
    draws = np.random.default_rng(seed).integers(len(names), size=(n_resamples, len(names)))
    means = []
    for draw in draws:
        rows = np.concatenate([np.flatnonzero(groups == names[g]) for g in draw])
        present = np.isfinite(values[rows])
        means.append(np.average(values[rows][present], weights=weights[rows][present]))
    return np.array(means)


def test_groups_are_drawn_whole():
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=60), rng.integers(0, 15, 60) * 7
    weights = rng.uniform(0.5, 2, 60)
    values[[3, 8]] = np.nan
    means = by_hand(values, groups, weights, 80, seed=4)
    found = bootstrap_interval(
        values, groups, weights=weights, n_resamples=80, confidence=0.9, random_state=4
    )
    assert found.low[0] == pytest.approx(np.quantile(means, 0.05))
    assert found.high[0] == pytest.approx(np.quantile(means, 0.95))
    assert found.standard_error[0] == pytest.approx(means.std())


def test_batches_and_columns_do_not_show(monkeypatch):
    values = np.random.default_rng(1).normal(size=(40, 3))
    whole = bootstrap_interval(values, n_resamples=50)
    monkeypatch.setattr(intervals, "BATCH_BYTES", 7 * 8 * 40)
    np.testing.assert_allclose(bootstrap_interval(values, n_resamples=50).low, whole.low)
    one = bootstrap_interval(values[:, 1], n_resamples=50)
    np.testing.assert_allclose(one.high, whole.high[1])


def test_captions_of_one_image_are_no_independent_evidence():
    image = np.random.default_rng(3).normal(size=300)
    alone = bootstrap_interval(image)
    repeated = bootstrap_interval(np.repeat(image, 5), np.repeat(np.arange(300), 5))
    wrongly = bootstrap_interval(np.repeat(image, 5))
    assert repeated.standard_error[0] == pytest.approx(alone.standard_error[0])
    assert wrongly.standard_error[0] < 0.6 * alone.standard_error[0]


def test_about_the_stated_share_of_intervals_holds_the_truth():
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        image = rng.normal(size=60)
        rows = np.repeat(image, 3) + 0.5 * rng.normal(size=180)
        found = bootstrap_interval(
            rows, np.repeat(np.arange(60), 3), n_resamples=300, confidence=0.9
        )
        held += found.low[0] <= 0 <= found.high[0]
    assert 0.82 <= held / 200 <= 0.96


def test_refusals():
    with pytest.raises(
        InputError, match=r"groups must be of length 3, one for each row, got shape"
    ):
        bootstrap_interval([1.0, 2.0, 3.0], [0, 1])
    with pytest.raises(InputError, match="weights must be of length 2"):
        bootstrap_interval([1.0, 2.0], weights=[1.0])
    with pytest.raises(InputError, match="confidence must be greater than 0 and less than 1"):
        bootstrap_interval([1.0, 2.0], confidence=1.0)
    with pytest.raises(InputError, match=r"values must be of shape \(n_rows,\)"):
        bootstrap_interval(np.zeros((2, 2, 2)))


def test_the_mean_of_equal_values_lies_within():
    """Whichever way it is computed: resampled sums are rounded in other ways."""
    missed = 0
    for value in np.random.default_rng(0).uniform(-2, 2, 200):
        values = np.full(109, value)
        found = bootstrap_interval(values, n_resamples=50)
        for mean in (value, values.mean(), np.nanmean(values[:, None], axis=0)[0]):
            low, high = bounds_around(mean, found.low[0], found.high[0])
            assert low <= mean <= high
            assert high - low < 1e-13
            missed += not found.low[0] <= mean <= found.high[0]
    assert missed > 0
    assert bounds_around(0.5, 0.2, 0.4) == (0.2, 0.4)  # a skewed one is left as it is
    assert bounds_around(1.0, 1.0, 1.0) == (1.0, 1.0)
