"""The grid search: what it finds, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fillgap.aligners import GaussianTransport, MeanCentering
from fillgap.aligners.transport.laplace import LaplaceTransport
from fillgap.errors import InputError
from fillgap.evaluation import held_out_splits
from fillgap.evaluation.grid_search import grid_search
from fillgap.metrics import mixed_recall_at_k
from fillgap.metrics.scan import scan_pool
from fillgap.pair import EmbeddingPair
from worlds import make_gapped


@pytest.fixture(scope="module")
def pair() -> EmbeddingPair:
    return EmbeddingPair(*make_gapped(60, 8, seed=0))


GRID = {"eta": [1.0, 1e4], "alpha": [0.0, 1.0]}


def test_every_combination_is_judged_on_held_out_rows(pair: EmbeddingPair) -> None:
    seen: list[tuple[Any, ...]] = []
    aligner = LaplaceTransport(max_iter=1)
    result = grid_search(pair, aligner, GRID, n_splits=2, progress=lambda *said: seen.append(said))
    assert seen[0] == (0, 4, "eta=1.0, alpha=0.0")
    assert seen[-1] == (4, 4, "done")
    assert "stopped after 1 iterations" in result.best.notes[0]
    assert not hasattr(aligner, "plan_")
    tried = {(p.parameters["eta"], p.parameters["alpha"]) for p in result.points}
    assert tried == {(eta, alpha) for eta in GRID["eta"] for alpha in GRID["alpha"]}
    means = [point.values["mean"] for point in result.points]
    assert means == sorted(means, reverse=True)
    assert result.best is result.points[0]
    assert result.method == "laplace-transport"
    for point in result.points:
        directions = [point.values[name] for name in ("image_to_text", "text_to_image")]
        assert point.values["mean"] == pytest.approx(np.mean(directions))


def test_the_value_is_that_of_fitting_by_hand(pair: EmbeddingPair) -> None:
    grid = {"ridge": [0.1]}
    result = grid_search(pair, GaussianTransport(), grid, n_splits=3, random_state=7)
    expected = []
    for train_rows, test_rows in held_out_splits(pair, n_splits=3, random_state=7):
        train, test = pair.take_images(train_rows), pair.take_images(test_rows)
        fitted = GaussianTransport(ridge=0.1).fit(train.images, train.texts)
        mapped = fitted.transform_pair(test.images, test.texts)
        found = mixed_recall_at_k(scan_pool(*mapped), 10)
        expected.append(found.image_to_text)
    assert result.best.values["image_to_text"] == pytest.approx(np.mean(expected))


def test_what_cannot_be_fitted_is_listed_last(pair: EmbeddingPair) -> None:
    grid = {"n_neighbors": [500, 3]}
    result = grid_search(pair, "laplace-transport", grid, n_splits=1)
    assert result.best.parameters == {"n_neighbors": 3}
    assert "n_neighbors must be less than" in (result.points[1].failure or "")
    hopeless = grid_search(pair, "laplace-transport", {"n_neighbors": [500]}, n_splits=1)
    with pytest.raises(InputError, match="got none: n_neighbors must be less than"):
        hopeless.best  # noqa: B018


@pytest.mark.parametrize(
    ("grid", "options", "message"),
    [
        ({}, {}, "the grid must name at least one parameter, got none"),
        ({"etta": [1]}, {}, "a parameter of mean-centering must be one of .*, got 'etta'"),
        ({"normalize": []}, {}, r"a sequence of values for normalize, got \[\]"),
        ({"normalize": True}, {}, "a sequence of values for normalize, got True"),
        ({"normalize": "yes"}, {}, "a sequence of values for normalize, got 'yes'"),
        (
            {"normalize": [True]},
            {"measure": "exposure_at_10"},
            "measure must be one of .*, got 'ex",
        ),
    ],
)
def test_bad_grids(pair: EmbeddingPair, grid: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        grid_search(pair, MeanCentering(), grid, **options)
    unpaired = EmbeddingPair(pair.images, pair.texts, paired=False)
    with pytest.raises(InputError, match="must be paired to be judged on held-out rows"):
        grid_search(unpaired, "mean-centering", {"normalize": [True]})
