"""Arguments of the wrong kind to scores, spaces and indexes: one sentence, and no other error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from filled_index import D, N, X, Y
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
from worlds import make_gapped

IMAGES, TEXTS = make_gapped(30, 8, seed=0)
ROWS = Sides(IMAGES, TEXTS)
SCORES = IMAGES[:3] @ TEXTS.T / 40
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
    for bad in ("texts", None, 3, ["image"]):
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
    for bad in ([1, 2], "x", 5):
        refused(kind().fit, "relevant must be a mapping", ROWS, ROWS, relevant=bad)
    mistyped = PAIRS | {("text", "images"): PAIRS["text", "image"]}
    refused(kind().fit, "a key of relevant", ROWS, ROWS, relevant=mistyped)
    zero = Sides(IMAGES * (np.arange(30) != 7)[:, None], TEXTS)
    refused(kind().fit, "non-zero in every row, .* row 7", ROWS, zero)


SPACE, ALIGNER = MixedSpace(n_features=8), MeanCentering().fit(IMAGES, TEXTS)


def fitted(calibration: Any, **given: Any) -> Any:
    return calibration.fit(ROWS, ROWS, **given)


def related(pairs: Any) -> Any:
    return fitted(RelevanceProbability(), relevant={("text", "image"): pairs})


def with_means(means: Any) -> MixedSpace:
    return MixedSpace(ALIGNER, query_means=means)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fitted(NNN(alpha=10**400)), "alpha must be finite"),
        (lambda: fitted(QBNorm(beta=np.inf)), "beta must be finite and greater than 0, got"),
        (lambda: fitted(QBNorm(dynamic="yes")), "dynamic must be True or False"),
        (lambda: fitted(QueryCentering(weight=10**400)), "at least 0 and at most 1, got inf"),
        (lambda: fitted(ZScore(on="x")), "on must be one of"),
        (lambda: fitted(RelevanceProbability(kind="both"), relevant=PAIRS), "kind must be one of"),
        (lambda: related(RAGGED), "must be an array of numbers"),
        (lambda: related([[-1, 0]]), r"got \[-1, 0\] to \[-1, 0\]"),
        (lambda: related([]), "must name pairs of modalities"),
        (lambda: make_calibration(["nnn"]), "the calibration must be one of"),
        (lambda: fit_together([NNN()], ROWS, ROWS), "must be a mapping from names"),
        (lambda: fit_together({"a": 3}, ROWS, ROWS), "got 3 as 'a'"),
        (lambda: MixedSpace(ALIGNER, model=b"x"), "model must be a name"),
        (lambda: with_means("x"), "query_means must be Sides"),
        (lambda: with_means({"texts": 1}), "query_means must be Sides"),
        (lambda: with_means((None, None, None)), "query_means must be Sides"),
        (lambda: with_means(Sides(texts=["a"] * 8)), "query_means must be numbers of shape"),
        (lambda: with_means(Sides(texts=np.full(8, np.nan))), "query_means must be finite"),
        (lambda: with_means(Sides(texts=RAGGED)), "query_means must be an array"),
        (lambda: MixedSpace(n_features=10**30), "n_features must be between"),
        (lambda: MixedSpace(n_features=1), "n_features must be between"),
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


def test_what_is_not_fitted_or_at_its_limit() -> None:
    with pytest.raises(NotFittedError, match="must be fitted"):
        RelevanceProbability().probability(SCORES, **ASKED)
    many, half = (fitted(QueryStandardisation(leave_out=n)) for n in (10**30, 15))
    np.testing.assert_array_equal(many.calibrate(SCORES, **ASKED), half.calibrate(SCORES, **ASKED))
    # A small beta gives the mean of the bank.
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in ROWS]
    biases = fitted(QBNorm(beta=1e-14)).biases(IMAGES, document="image", query="text")
    np.testing.assert_allclose(biases, (unit[1] @ unit[0].T).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        *[({"model": bad}, "what describes an index must be text") for bad in (5, ["a"])],
        ({"name": None}, "what describes an index must be text"),
        ({"notes": [5]}, "what describes an index must be text"),
        *[({"notes": bad}, "notes must be a list") for bad in ("a text", 5)],
        ({"encoder": 5}, "the encoder must be one of"),
        ({"backend": 5}, "must be"),
        ({"overwrite": "yes"}, "overwrite must be True or False"),
        *[({"path": bad}, "must name a folder") for bad in (None, 5, "a\0b")],
        ({"path": "n" * 300}, "too long"),
        *[
            ({"space": bad}, "the space must be a MixedSpace")
            for bad in (None, "space.safetensors", MeanCentering())
        ],
        ({"space": MixedSpace(n_features=8, model="toy"), "model": "other"}, "'other', got 'toy'"),
    ],
)
def test_nothing_is_left_of_an_index_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(create_index, words, **{"path": "index", "space": SPACE, **given})
    assert list(tmp_path.iterdir()) == []


def test_opening_what_is_no_index(filled: MixedIndex) -> None:
    for bad in (None, 5, "a\0b"):
        refused(open_index, "must name a folder", bad)
    refused(open_index, "the space must be a MixedSpace", filled.path, space="x")
    refused(open_index, "got another one given", filled.path, space=MixedSpace(n_features=D))


ONES = np.ones(D)
QUERIES: list[tuple[dict[str, Any], str]] = [
    ({}, "got neither"),
    ({"text": np.ones(D - 1)}, "must be of dimension 16"),
    ({"text": np.full(D, np.nan)}, "^the text query must be finite .*, got NaN or infinity"),
    ({"image": np.zeros(D)}, "^the image query must be finite .*, got all zeros"),
    ({"image": np.full((1, D), np.inf)}, "^the image query must be finite .*, got NaN or inf"),
    ({"text": np.ones((2, D))}, "must be one vector"),
    ({"text": []}, "must be a vector, got an empty one"),
    ({"text": RAGGED}, "the text query must be an array"),
    ({"text": ONES, "k": 0}, "k must be at least 1"),
    ({"text": ONES, "modalities": "video"}, "got 'video'"),
    ({"text": ONES, "modalities": []}, "at least one"),
    ({"text": ONES, "modalities": 5}, "modalities must be a name"),
    ({"text": ONES, "stage": "best"}, "got 'best'"),
    ({"text": ONES, "explain": "no"}, "explain must be True or False"),
    ({"image": Y.mean(axis=0)}, "^image queries must be .* lie where text .* lie. Ask with text"),
]
DOCUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"ids": ["a", "a"]}, "got 'a' twice"),
    ({"ids": ["a"]}, "one for each of the 2"),
    ({"ids": ["a", ""]}, "1 to 1024 characters"),
    ({"ids": ["a", "b\0"]}, "without NUL"),
    ({"ids": ["a", "\ud800"]}, "characters of text"),
    *[({"ids": bad}, "ids must be a list") for bad in (["a", 3], None, 5, {"x", "y"})],
    ({"payloads": [{}]}, "one for each of the 2"),
    ({"payloads": [{}, {"x": float("nan")}]}, "what JSON can hold"),
    ({"payloads": [{}, "x"]}, "must be mappings"),
    ({"payloads": 5}, "payloads must be a list"),
    ({"model": "another"}, "of the model of the index, 'toy'"),
    ({"replace": "no"}, "replace must be True or False"),
    ({"images": np.full((2, D), np.nan)}, "NaN"),
    ({"images": np.ones((2, 3))}, "dimension 16"),
    ({"images": RAGGED}, "images must be an array"),
    ({"images": Y}, "^images must be .* lie where text .* lie. Pass them as texts"),
]


@pytest.mark.parametrize(
    ("method", "given", "words"),
    [
        *[("search", *row) for row in QUERIES],
        *[("add_images", {"ids": ["a", "b"], "images": X[:2], **row}, w) for row, w in DOCUMENTS],
        ("get", {"identity": 5}, "ids must be a list of strings"),
        ("get", {"identity": "\ud800"}, "an id must be"),
        ("fetch", {"ids": [5]}, "ids must be a list of strings"),
        ("fetch", {"ids": None}, "ids must be a list of strings"),
        ("delete", {"ids": None}, "ids must be a list of strings"),
    ],
)
def test_using_an_index(filled: MixedIndex, method: str, given: dict[str, Any], words: str) -> None:
    refused(getattr(filled, method), words, **given)
    assert len(filled) == 2 * N + 1


def test_payloads_have_an_end(tmp_path: Path) -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = {"a": value}
        return value

    with create_index(tmp_path / "index", SPACE) as index:
        index.add_images(["deep"], IMAGES[2:3], [nested(64)])
        assert index.get("deep").payload == nested(64)
        for levels in (65, 300, 100_000):
            refused(index.add_images, "payloads must", ["x"], IMAGES[3:4], [nested(levels)])
        index.add_images(["wide"], IMAGES[4:5], [{"a": [[n] for n in range(500)]}])
