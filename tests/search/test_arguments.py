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
#: Looks at documents, at the list, and at neither.
KINDS = [NNN, CSLS, QBNorm, QueryCentering, QueryStandardisation, ZScore, QuantileMap]


def refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises((InputError, InputTypeError), match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
class TestCalibrations:
    def fit(self, kind: Any) -> Any:
        return kind().fit(ROWS, ROWS)

    @pytest.mark.parametrize("bad", ["texts", "audio", None, 3, ["image"]])
    def test_modalities(self, kind: Any, bad: Any) -> None:
        fit = self.fit(kind)
        for given in ({"query": "text", "document": bad}, {"query": bad, "document": "image"}):
            refused(
                lambda given=given: fit.calibrate(SCORES, documents=IMAGES, **given), "modality"
            )
            refused(lambda given=given: fit.is_fitted_for(*given.values()), "modality")
            if fit.folds:
                refused(lambda given=given: fit.coefficients(IMAGES, **given), "modality")

    @pytest.mark.parametrize("bad", [IMAGES.tolist(), "x", 5, IMAGES[0], np.array(1.0)])
    def test_documents(self, kind: Any, bad: Any) -> None:
        fit, sides = self.fit(kind), {"query": "text", "document": "image"}
        refused(lambda: fit.calibrate(SCORES, documents=bad, **sides), "documents must be an array")
        if fit.folds:
            refused(lambda: fit.coefficients(bad, **sides), "documents must be an array")

    def test_scores(self, kind: Any) -> None:
        fit, sides = self.fit(kind), {"query": "text", "document": "image", "documents": IMAGES}
        refused(lambda: fit.calibrate(RAGGED, **sides), "scores must be an array of numbers")
        if fit.reads_list or fit.needs_documents:
            for bad in (SCORES[0], SCORES[None]):
                refused(lambda bad=bad: fit.calibrate(bad, **sides), "must be of shape")
        extended = fit.calibrate(SCORES.astype(np.longdouble), **sides)
        np.testing.assert_allclose(extended, fit.calibrate(SCORES, **sides))

    @pytest.mark.parametrize("bad", [[1, 2], "x", 5])
    def test_relevant(self, kind: Any, bad: Any) -> None:
        refused(lambda: kind().fit(ROWS, ROWS, relevant=bad), "relevant must be a mapping")
        mistyped = PAIRS | {("text", "images"): PAIRS["text", "image"]}
        refused(lambda: kind().fit(ROWS, ROWS, relevant=mistyped), "a key of relevant")

    @pytest.mark.parametrize(("value", "words"), [(np.nan, "finite numbers"), (0.0, "non-zero")])
    def test_rows_of_documents(self, kind: Any, value: float, words: str) -> None:
        bad = IMAGES.copy()
        bad[7] = value
        refused(lambda: kind().fit(ROWS, Sides(bad, TEXTS)), f"{words} in every row, .* row 7")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NNN(alpha=10**400), "alpha must be finite"),
        (lambda: QBNorm(beta=float("inf")), "beta must be finite and greater than 0, got inf"),
        (lambda: QBNorm(dynamic="yes"), "dynamic must be True or False"),
        (
            lambda: QueryCentering(weight=10**400),
            "weight must be at least 0 and at most 1, got inf",
        ),
        (lambda: RelevanceProbability(kind="both"), "kind must be one of"),
        (lambda: ZScore(on="x"), "on must be one of"),
    ],
)
def test_parameters(make: Callable[[], Any], words: str) -> None:
    refused(lambda: make().fit(ROWS, ROWS, relevant=PAIRS), words)


def test_any_number_of_answers_may_be_left_out() -> None:
    many = QueryStandardisation(leave_out=10**30).fit(ROWS, ROWS)
    half = QueryStandardisation(leave_out=15).fit(ROWS, ROWS)
    sides = {"query": "text", "document": "image"}
    np.testing.assert_array_equal(many.calibrate(SCORES, **sides), half.calibrate(SCORES, **sides))


def test_a_probability_that_is_not_fitted() -> None:
    with pytest.raises(NotFittedError, match="must be fitted"):
        RelevanceProbability().probability(SCORES, query="text", document="image")


def test_pairs_of_relevance() -> None:
    for bad, words in (
        (RAGGED, "must be an array of numbers"),
        ([[-1, 0]], r"got \[-1, 0\] to \[-1, 0\]"),
        ([], "must name pairs of modalities"),
    ):
        relevant = {("text", "image"): bad}
        refused(lambda r=relevant: RelevanceProbability().fit(ROWS, ROWS, relevant=r), words)


def test_names_and_tables_of_calibrations() -> None:
    refused(lambda: make_calibration(["nnn"]), "the calibration must be one of")
    refused(lambda: fit_together([NNN()], ROWS, ROWS), "must be a mapping from names")
    refused(lambda: fit_together({"a": 3}, ROWS, ROWS), "got 3 as 'a'")


def test_a_small_beta_gives_the_mean_of_the_bank() -> None:
    fit = QBNorm(beta=1e-14).fit(ROWS, ROWS)
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in ROWS]
    biases = fit.biases(IMAGES, document="image", query="text")
    np.testing.assert_allclose(biases, (unit[1] @ unit[0].T).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("bad", [RAGGED, [[1.0, 2.0], None], [["a", "b"]]])
def test_rows_that_are_no_matrix(bad: Any) -> None:
    for call in (
        lambda: measure(bad, TEXTS),
        lambda: MeanCentering().fit(bad, TEXTS),
        lambda: NNN().fit(Sides(bad, TEXTS), ROWS),
    ):
        refused(call, "must be")


class TestSpaces:
    aligner = MeanCentering().fit(IMAGES, TEXTS)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"model": b"x"}, "model must be a name"),
            ({"model": 5}, "model must be a name"),
            ({"query_means": "x"}, "query_means must be Sides"),
            ({"query_means": {"texts": 1}}, "query_means must be Sides"),
            ({"query_means": (None, None, None)}, "query_means must be Sides"),
            ({"query_means": Sides(texts=["a"] * 8)}, "query_means must be numbers of shape"),
            ({"query_means": Sides(texts=np.full(8, np.nan))}, "query_means must be finite"),
            ({"query_means": Sides(texts=RAGGED)}, "query_means must be an array"),
        ],
    )
    def test_parts(self, given: dict[str, Any], words: str) -> None:
        refused(lambda: MixedSpace(self.aligner, **given), words)

    def test_dimensions(self) -> None:
        for bad in (10**12, 10**30, 1):
            refused(lambda bad=bad: MixedSpace(n_features=bad), "n_features must be between")

    def test_rows(self) -> None:
        space = MixedSpace(self.aligner)
        for bad in (None, RAGGED, "x", IMAGES[0]):
            refused(
                lambda bad=bad: space.stored_aligned(bad, document="image", query="text"), "must be"
            )


@pytest.fixture
def index(tmp_path: Path) -> MixedIndex:
    index = create_index(tmp_path / "index", MixedSpace(n_features=8))
    index.add_images(["a", "b"], IMAGES[:2], [{"n": 1}, {}])
    return index


class TestMakingAnIndex:
    space = MixedSpace(n_features=8)

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
        ],
    )
    def test_nothing_is_left_of_one_that_cannot_be(
        self, tmp_path: Path, given: dict[str, Any], words: str
    ) -> None:
        refused(lambda: create_index(tmp_path / "index", self.space, **given), words)
        assert list(tmp_path.iterdir()) == []

    def test_paths_and_spaces(self, tmp_path: Path) -> None:
        for bad in (None, 5, "a\0b"):
            refused(lambda bad=bad: create_index(bad, self.space), "must name a folder")
            refused(lambda bad=bad: open_index(bad), "must name a folder")
        for bad in (None, "space.safetensors", MeanCentering()):
            refused(
                lambda bad=bad: create_index(tmp_path / "x", bad), "the space must be a MixedSpace"
            )
        create_index(tmp_path / "x", self.space)
        refused(lambda: open_index(tmp_path / "x", space="x"), "the space must be a MixedSpace")
        refused(lambda: create_index(tmp_path / ("n" * 300), self.space), "too long")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda i: i.add_images(None, IMAGES[:1]), "ids must be a list"),
        (lambda i: i.add_images(5, IMAGES[:1]), "ids must be a list"),
        (lambda i: i.add_images({"x"}, IMAGES[:1]), "ids must be a list"),
        (lambda i: i.add_images(["x"], RAGGED), "images must be an array"),
        (lambda i: i.add_images(["x"], IMAGES[:1], 5), "payloads must be a list"),
        (lambda i: i.add_images(["x"], IMAGES[:1], replace="no"), "replace must be True or False"),
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
    refused(lambda: call(index), words)
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
        refused(lambda n=levels: index.add_images(["x"], IMAGES[3:4], [nested(n)]), "payloads must")
    index.add_images(["wide"], IMAGES[4:5], [{"a": [[n] for n in range(500)]}])
