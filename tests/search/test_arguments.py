"""Arguments of the wrong kind to scores, spaces and indexes: one sentence, and no other error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from fillgap import InputError, InputTypeError, MeanCentering, measure
from fillgap.calibration import (
    CSLS,
    NNN,
    QBNorm,
    QuantileMap,
    QueryCentering,
    QueryStandardisation,
    RelevanceProbability,
    Sides,
    ZScore,
    fit_together,
    make_calibration,
)
from fillgap.search import MixedIndex, create_index, open_index
from fillgap.space import MixedSpace

RNG = np.random.default_rng(0)
IMAGES, TEXTS = RNG.normal(size=(30, 8)) + 0.3, RNG.normal(size=(40, 8)) - 0.3
ROWS = Sides(IMAGES, TEXTS)
SCORES = RNG.normal(size=(3, 30)) / 4
RAGGED = [[1.0, 2.0], [3.0]]
PAIRS = {("text", "image"): np.array([[0, 0], [1, 1], [2, 2]])}
ASKED = {"query": "text", "document": "image"}
#: Looks at documents, at the list, and at neither.
KINDS = [NNN, CSLS, QBNorm, QueryCentering, QueryStandardisation, ZScore, QuantileMap]


def refused(call: Callable[..., Any], words: str, *args: Any, **given: Any) -> None:
    with pytest.raises((InputError, InputTypeError), match=words) as caught:
        call(*args, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_calibration_is_given(kind: Any) -> None:
    fit = kind().fit(ROWS, ROWS)
    for bad in ("texts", "audio", None, 3, ["image"]):
        for sides in ({**ASKED, "document": bad}, {**ASKED, "query": bad}):
            refused(fit.calibrate, "modality", SCORES, documents=IMAGES, **sides)
            refused(fit.is_fitted_for, "modality", sides["query"], sides["document"])
            if fit.folds:
                refused(fit.coefficients, "modality", IMAGES, **sides)
    for bad in (IMAGES.tolist(), "x", 5, IMAGES[0], np.array(1.0)):
        refused(fit.calibrate, "documents must be an array", SCORES, documents=bad, **ASKED)
        if fit.folds:
            refused(fit.coefficients, "documents must be an array", bad, **ASKED)
    given = {"documents": IMAGES, **ASKED}
    refused(fit.calibrate, "scores must be an array of numbers", RAGGED, **given)
    if fit.reads_list or fit.needs_documents:
        for bad in (SCORES[0], SCORES[None]):
            refused(fit.calibrate, "must be of shape", bad, **given)
    extended = fit.calibrate(SCORES.astype(np.longdouble), **given)
    np.testing.assert_allclose(extended, fit.calibrate(SCORES, **given))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_calibration_is_fitted_to(kind: Any) -> None:
    for bad in ([1, 2], "x", 5):
        refused(kind().fit, "relevant must be a mapping", ROWS, ROWS, relevant=bad)
    mistyped = PAIRS | {("text", "images"): PAIRS["text", "image"]}
    refused(kind().fit, "a key of relevant", ROWS, ROWS, relevant=mistyped)
    for value, words in ((np.nan, "finite numbers"), (0.0, "non-zero")):
        bad = IMAGES.copy()
        bad[7] = value
        refused(kind().fit, f"{words} in every row, .* row 7", ROWS, Sides(bad, TEXTS))


SPACE, ALIGNER = MixedSpace(n_features=8), MeanCentering().fit(IMAGES, TEXTS)


def with_means(means: Any) -> MixedSpace:
    return MixedSpace(ALIGNER, query_means=means)


def related(pairs: Any) -> Any:
    return RelevanceProbability().fit(ROWS, ROWS, relevant={("text", "image"): pairs})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: NNN(alpha=10**400).fit(ROWS, ROWS), "alpha must be finite"),
        (
            lambda: QBNorm(beta=np.inf).fit(ROWS, ROWS),
            "beta must be finite and greater than 0, got",
        ),
        (lambda: QBNorm(dynamic="yes").fit(ROWS, ROWS), "dynamic must be True or False"),
        (
            lambda: QueryCentering(weight=10**400).fit(ROWS, ROWS),
            "weight must be at least 0 and at most 1, got inf",
        ),
        (lambda: ZScore(on="x").fit(ROWS, ROWS), "on must be one of"),
        (
            lambda: RelevanceProbability(kind="both").fit(ROWS, ROWS, relevant=PAIRS),
            "kind must be one of",
        ),
        (lambda: related(RAGGED), "must be an array of numbers"),
        (lambda: related([[-1, 0]]), r"got \[-1, 0\] to \[-1, 0\]"),
        (lambda: related([]), "must name pairs of modalities"),
        (lambda: make_calibration(["nnn"]), "the calibration must be one of"),
        (lambda: fit_together([NNN()], ROWS, ROWS), "must be a mapping from names"),
        (lambda: fit_together({"a": 3}, ROWS, ROWS), "got 3 as 'a'"),
        (lambda: MixedSpace(ALIGNER, model=b"x"), "model must be a name"),
        (lambda: MixedSpace(ALIGNER, model=5), "model must be a name"),
        (lambda: with_means("x"), "query_means must be Sides"),
        (lambda: with_means({"texts": 1}), "query_means must be Sides"),
        (lambda: with_means((None, None, None)), "query_means must be Sides"),
        (lambda: with_means(Sides(texts=["a"] * 8)), "query_means must be numbers of shape"),
        (lambda: with_means(Sides(texts=np.full(8, np.nan))), "query_means must be finite"),
        (lambda: with_means(Sides(texts=RAGGED)), "query_means must be an array"),
        *[
            (lambda n=bad: MixedSpace(n_features=n), "n_features must be between")
            for bad in (10**12, 10**30, 1)
        ],
        *[
            (lambda rows=bad: SPACE.stored_aligned(rows, **ASKED), "must be")
            for bad in (None, RAGGED, "x", IMAGES[0])
        ],
        *[
            (lambda call=call, rows=bad: call(rows), "must be")
            for bad in (RAGGED, [[1.0, 2.0], None], [["a", "b"]])
            for call in (
                lambda rows: measure(rows, TEXTS),
                lambda rows: MeanCentering().fit(rows, TEXTS),
                lambda rows: NNN().fit(Sides(rows, TEXTS), ROWS),
            )
        ],
    ],
)
def test_scores_and_spaces(call: Callable[[], Any], words: str) -> None:
    refused(call, words)


def test_any_number_of_answers_may_be_left_out() -> None:
    many = QueryStandardisation(leave_out=10**30).fit(ROWS, ROWS)
    half = QueryStandardisation(leave_out=15).fit(ROWS, ROWS)
    np.testing.assert_array_equal(many.calibrate(SCORES, **ASKED), half.calibrate(SCORES, **ASKED))


def test_a_probability_that_is_not_fitted() -> None:
    with pytest.raises(NotFittedError, match="must be fitted"):
        RelevanceProbability().probability(SCORES, **ASKED)


def test_a_small_beta_gives_the_mean_of_the_bank() -> None:
    fit = QBNorm(beta=1e-14).fit(ROWS, ROWS)
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in ROWS]
    biases = fit.biases(IMAGES, document="image", query="text")
    np.testing.assert_allclose(biases, (unit[1] @ unit[0].T).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": 5}, "what describes an index must be text"),
        ({"model": ["a"]}, "what describes an index must be text"),
        ({"name": None}, "what describes an index must be text"),
        ({"notes": [5]}, "what describes an index must be text"),
        ({"notes": "a text"}, "notes must be a list"),
        ({"notes": 5}, "notes must be a list"),
        ({"encoder": 5}, "the encoder must be one of"),
        ({"backend": 5}, "must be"),
        ({"overwrite": "yes"}, "overwrite must be True or False"),
        ({"path": None}, "must name a folder"),
        ({"path": 5}, "must name a folder"),
        ({"path": "a\0b"}, "must name a folder"),
        ({"path": "n" * 300}, "too long"),
        ({"space": None}, "the space must be a MixedSpace"),
        ({"space": "space.safetensors"}, "the space must be a MixedSpace"),
        ({"space": MeanCentering()}, "the space must be a MixedSpace"),
    ],
)
def test_nothing_is_left_of_an_index_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(create_index, words, **{"path": "index", "space": SPACE, **given})
    assert list(tmp_path.iterdir()) == []


def test_opening_what_is_no_index(tmp_path: Path) -> None:
    for bad in (None, 5, "a\0b"):
        refused(open_index, "must name a folder", bad)
    create_index(tmp_path / "index", SPACE).close()
    refused(open_index, "the space must be a MixedSpace", tmp_path / "index", space="x")


@pytest.fixture
def index(tmp_path: Path) -> MixedIndex:
    index = create_index(tmp_path / "index", SPACE)
    index.add_images(["a", "b"], IMAGES[:2], [{"n": 1}, {}])
    return index


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda i: i.add_images(None, IMAGES[:1]), "ids must be a list"),
        (lambda i: i.add_images(5, IMAGES[:1]), "ids must be a list"),
        (lambda i: i.add_images({"x"}, IMAGES[:1]), "ids must be a list"),
        (lambda i: i.add_images(["x"], RAGGED), "images must be an array"),
        (lambda i: i.add_images(["x"], IMAGES[:1], 5), "payloads must be a list"),
        (lambda i: i.add_texts(["x"], IMAGES[:1], replace="no"), "replace must be True or False"),
        (lambda i: i.search(text=TEXTS[0], modalities=5), "modalities must be a name"),
        (lambda i: i.search(text=TEXTS[0], explain="no"), "explain must be True or False"),
        (lambda i: i.search(text=[]), "must be a vector, got an empty one"),
        (lambda i: i.search(text=RAGGED), "the text query must be an array"),
        (lambda i: i.get(5), "ids must be a list of strings"),
        (lambda i: i.get("\ud800"), "an id must be"),
        (lambda i: i.fetch([5]), "ids must be a list of strings"),
        (lambda i: i.fetch(None), "ids must be a list of strings"),
        (lambda i: i.delete(None), "ids must be a list of strings"),
    ],
)
def test_using_an_index(index: MixedIndex, call: Callable[[MixedIndex], Any], words: str) -> None:
    refused(call, words, index)
    assert len(index) == 2


def test_payloads_have_an_end(index: MixedIndex) -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = {"a": value}
        return value

    index.add_images(["deep"], IMAGES[2:3], [nested(64)])
    assert index.get("deep").payload == nested(64)
    for levels in (65, 300, 100_000):
        refused(index.add_images, "payloads must", ["x"], IMAGES[3:4], [nested(levels)])
    index.add_images(["wide"], IMAGES[4:5], [{"a": [[n] for n in range(500)]}])
