"""Zero-shot classification: against loops, on data with known answers, and what it refuses."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fillgap.aligners import BalancedAligner, EmbeddingShift, MeanCentering
from fillgap.errors import InputError, InputTypeError
from fillgap.evaluation import zero_shot
from fillgap.metrics import bootstrap_interval
from fillgap.pair import BLOCK_ROWS
from reference import unit
from worlds import make_gapped

FAST = {"n_resamples": 100}


def labelled(n: int, n_classes: int, d: int = 8, *, seed: int = 0, noise: float = 0.6):
    """Images around the centre of their class, and one to three prompts a class around it too."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_classes, d))
    labels = rng.integers(n_classes, size=n)
    prompt_labels = rng.permutation(np.repeat(np.arange(n_classes), 1 + np.arange(n_classes) % 3))
    images = centres[labels] + noise * rng.normal(size=(n, d))
    prompts = centres[prompt_labels] + noise * rng.normal(size=(len(prompt_labels), d))
    return images, labels, prompts, prompt_labels


def slow(images, labels, prompts, prompt_labels, k, transform=None):
    """Ranks by loops over images and classes."""
    images, prompts = unit(np.asarray(images, float)), unit(np.asarray(prompts, float))
    if transform is not None:
        images, prompts = transform(images, prompts)
    classes = sorted(set(prompt_labels.tolist()))
    right = []
    for image, label in zip(images, labels, strict=True):
        scores = {}
        for c in classes:
            mean = sum(unit(p[None])[0] for p, named in zip(prompts, prompt_labels) if named == c)  # noqa: B905
            scores[c] = float(image @ mean) / math.sqrt(float(mean @ mean))
        own = scores.pop(label)
        rank = (
            1 + sum(s > own for s in scores.values()) + 0.5 * sum(s == own for s in scores.values())
        )
        right.append(float(rank <= k))
    return np.array(right)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 20), n_classes=st.integers(2, 7), seed=st.integers(0, 999))
def test_agrees_with_loops(n: int, n_classes: int, seed: int) -> None:
    data = labelled(n, n_classes, seed=seed)
    found = zero_shot(*data, k=(1, 2, 5), **FAST)
    assert list(found.correct) == [k for k in (1, 2, 5) if k < n_classes]
    for k, correct in found.correct.items():
        np.testing.assert_array_equal(correct, slow(*data, k))
        assert found.accuracy[k].value == pytest.approx(correct.mean())
    # Classes keep their labels, and a long prompt does not outweigh the others of its class.
    names, lengths = (
        np.array([70, -3, 12, 5, 9, 40, 8]),
        np.random.default_rng(seed).uniform(0.1, 9),
    )
    images, labels, prompts, prompt_labels = data
    prompts = prompts * lengths ** np.arange(len(prompts))[:, None]
    named = zero_shot(images, names[labels], prompts, names[prompt_labels], k=1, **FAST)
    np.testing.assert_array_equal(named.predicted, names[found.predicted])
    assert named.classes.tolist() == sorted(names[:n_classes])


@pytest.mark.parametrize("cls", [MeanCentering, BalancedAligner, EmbeddingShift])
def test_an_aligner_maps_prompts_as_texts_before_they_are_averaged(cls) -> None:
    X, Y = make_gapped(150, 8, seed=0)
    aligner, other = cls().fit(X, Y), cls(normalize=False).fit(X, Y)
    rng = np.random.default_rng(1)
    labels, prompt_labels = rng.integers(6, size=150), np.arange(18) % 6
    found = zero_shot(X, labels, Y[:18], prompt_labels, aligner=aligner, **FAST)
    expected = slow(X, labels, Y[:18], prompt_labels, 1, transform=aligner.transform_pair)
    np.testing.assert_array_equal(found.correct[1], expected)
    long = zero_shot(X, labels, Y[:18], prompt_labels, aligner=other, **FAST)
    np.testing.assert_array_equal(found.predicted, long.predicted)


def test_the_hub_is_the_class_that_swallows_images() -> None:
    # Three classes on the axes; every image leans to the first, a third of them truly.
    images = np.array([[1.0, 0, 0], [0.8, 0.6, 0], [0.8, 0, 0.6], [0, 1.0, 0]])
    found = zero_shot(images, [0, 1, 2, 1], np.eye(3), [0, 1, 2], **FAST)
    assert found.predicted.tolist() == [0, 0, 0, 1]
    assert (found.hub, found.hub_share, found.hub_fair_share) == (0, 0.75, 0.25)
    assert found.hub_ratio == 3.0
    assert found.to_dict()["hub"] == {"class": 0, "share": 0.75, "fair_share": 0.25, "ratio": 3.0}
    found = zero_shot(np.eye(3)[[0, 0]], [1, 2], np.eye(3), [0, 1, 2], **FAST)
    assert (found.hub, found.hub_share, found.hub_fair_share) == (0, 1.0, 0.0)
    assert found.hub_ratio == math.inf
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["hub"]["ratio"] is None
    assert document["accuracy"]["top_1"]["value"] == 0.0
    assert (document["n_images"], document["n_classes"]) == (2, 3)
    same = np.tile([1.0, 0, 0, 0], (40, 1))  # collapsed embeddings classify nothing
    found = zero_shot(same, np.arange(40) % 10, same[:10], np.arange(10), **FAST)
    assert found.accuracy[1].value == found.accuracy[5].value == 0.0
    assert (found.hub_share, found.hub_ratio) == (1.0, 10.0)


def test_intervals_are_those_of_the_bootstrap_over_images() -> None:
    data = labelled(120, 7, noise=1.0)
    found = zero_shot(*data, n_resamples=500, random_state=3)
    table = np.column_stack([found.correct[1], found.correct[5]])
    expected = bootstrap_interval(table, n_resamples=500, random_state=3)
    for column, k in enumerate((1, 5)):
        assert found.accuracy[k].low == expected.low[column]
        assert found.accuracy[k].high == expected.high[column]
    assert found.accuracy[1].low < found.accuracy[1].value < found.accuracy[1].high
    again = zero_shot(*data, n_resamples=500, random_state=3)
    assert again.to_dict() == found.to_dict()


def test_more_images_than_a_block() -> None:
    images, labels, prompts, prompt_labels = labelled(BLOCK_ROWS + 50, 3, d=3)
    found = zero_shot(images, labels, prompts, prompt_labels, k=1, **FAST)
    before = images.copy()
    scaled = (images * 7).astype(np.float32)
    again = zero_shot(scaled, labels, prompts * 0.1, prompt_labels, k=1, **FAST)
    np.testing.assert_array_equal(found.predicted, again.predicted)
    np.testing.assert_array_equal(images, before)
    tail = slice(BLOCK_ROWS - 50, None)
    part = zero_shot(images[tail], labels[tail], prompts, prompt_labels, k=1, **FAST)
    np.testing.assert_array_equal(found.predicted[tail], part.predicted)
    np.testing.assert_array_equal(found.correct[1][tail], part.correct[1])


def good() -> dict:
    images, labels, prompts, prompt_labels = labelled(20, 4)
    return {"images": images, "labels": labels, "prompts": prompts, "prompt_labels": prompt_labels}


REFUSED = [
    ({"labels": np.zeros(19, int)}, r"labels must be one number for each of the 20 images, got sh"),
    ({"labels": np.zeros((20, 1), int)}, r"got shape \(20, 1\)"),
    ({"labels": np.zeros(20)}, "labels must be integers, got float64"),
    ({"labels": np.full(20, True)}, "labels must be integers, got bool"),
    (
        {"labels": np.where(np.arange(20) < 3, 9, 0)},
        r"got 9 without a prompt \(3 images of such cl",
    ),
    ({"prompt_labels": np.zeros(3, int)}, "prompt_labels must be one number for each of the 7 pro"),
    ({"prompt_labels": np.zeros(7, int)}, "prompt_labels must name at least 2 classes, got 1"),
    ({"prompts": np.ones((7, 3))}, "images and prompts must be of one dimension, got 8 and 3"),
    ({"prompts": np.zeros((7, 8))}, "prompts must be non-zero in every row"),
    ({"images": np.full((20, 8), np.nan)}, "images must be finite numbers in every row"),
    ({"images": np.ones(8)}, "images must be 2-D"),
    ({"k": 0}, "k must be at least 1, got 0"),
    ({"k": (1, 2.5)}, "k must be an integer, got 2.5"),
    ({"k": 4}, r"k must be smaller than the number of classes, 4, got \[4\]"),
    ({"k": ()}, r"got \[\]"),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED)
def test_refusals(change: dict, sentence: str) -> None:
    with pytest.raises((InputError, InputTypeError), match=sentence):
        zero_shot(**(good() | change))
