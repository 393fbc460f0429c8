"""Zero-shot classification: against loops, on data with known answers, and what it refuses."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_gapped
from fillgap.aligners import BalancedAligner, EmbeddingShift, MeanCentering
from fillgap.errors import InputError, InputTypeError
from fillgap.evaluation import zero_shot
from fillgap.metrics import bootstrap_interval
from fillgap.pair import BLOCK_ROWS

FAST = {"n_resamples": 100}


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


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


def test_unit_prompts_weigh_alike_in_an_ensemble() -> None:
    """A long prompt must not outweigh the others of its class."""
    prompts = np.array([[100.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    image = np.array([[0.3, 1.0, 0.8]])  # with raw means class 0 would be about (1, .01, 0)
    assert zero_shot(image, [0], prompts, [0, 0, 1], **FAST).predicted[0] == 0


def test_classes_keep_their_labels() -> None:
    images, labels, prompts, prompt_labels = labelled(50, 4, noise=0.0)
    names = np.array([70, -3, 12, 5])
    found = zero_shot(images, names[labels], prompts, names[prompt_labels], **FAST)
    assert found.classes.tolist() == [-3, 5, 12, 70]
    np.testing.assert_array_equal(found.predicted, names[labels])
    assert found.accuracy[1].value == found.accuracy[1].low == found.accuracy[1].high == 1.0


def test_collapsed_embeddings_classify_nothing() -> None:
    images, prompts = np.tile([1.0, 0, 0, 0], (40, 1)), np.tile([1.0, 0, 0, 0], (10, 1))
    found = zero_shot(images, np.arange(40) % 10, prompts, np.arange(10), **FAST)
    assert found.accuracy[1].value == found.accuracy[5].value == 0.0
    assert found.hub_share == 1.0
    assert found.hub_ratio == 10.0


def test_the_hub_is_the_class_that_swallows_images() -> None:
    # Three classes on the axes; every image leans to the first, a third of them truly.
    images = np.array([[1.0, 0, 0], [0.8, 0.6, 0], [0.8, 0, 0.6], [0, 1.0, 0]])
    found = zero_shot(images, [0, 1, 2, 1], np.eye(3), [0, 1, 2], **FAST)
    assert found.predicted.tolist() == [0, 0, 0, 1]
    assert (found.hub, found.hub_share, found.hub_fair_share) == (0, 0.75, 0.25)
    assert found.hub_ratio == 3.0
    assert found.to_dict()["hub"] == {"class": 0, "share": 0.75, "fair_share": 0.25, "ratio": 3.0}


def test_a_hub_without_images_has_an_infinite_ratio_and_null_in_json() -> None:
    found = zero_shot(np.eye(3)[[0, 0]], [1, 2], np.eye(3), [0, 1, 2], **FAST)
    assert (found.hub, found.hub_share, found.hub_fair_share) == (0, 1.0, 0.0)
    assert found.hub_ratio == math.inf
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["hub"]["ratio"] is None
    assert document["accuracy"]["top_1"]["value"] == 0.0
    assert (document["n_images"], document["n_classes"]) == (2, 3)


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
    ({"labels": np.full(20, "cat")}, "labels must be integers, got <U3"),
    ({"labels": np.full(20, True)}, "labels must be integers, got bool"),
    (
        {"labels": np.where(np.arange(20) < 3, 9, 0)},
        r"be classes that prompts name, got 9 without a prompt \(3 images of such classes\)",
    ),
    ({"prompt_labels": np.zeros(3, int)}, "prompt_labels must be one number for each of the 7 pro"),
    (
        {"prompt_labels": np.zeros(7, int), "labels": np.zeros(20, int)},
        "prompt_labels must name at least 2 classes, got 1",
    ),
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
