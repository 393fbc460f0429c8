"""Probabilities of relevance where some modalities were never judged for others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conftest import make_gapped
from fillgap import EmbeddingPair, InputError, Sides, recommend
from fillgap.bench.folders import EmbeddedItems
from fillgap.bench.judged import bench_judged
from fillgap.calibration import NNN, Calibration, QuantileMap, RelevanceProbability, ZScore
from fillgap.calibration.probability import ScoreHistogram
from fillgap.datasets.judged import Judged, JudgedItem
from fillgap.evaluation.combine import relevant_rows
from fillgap.evaluation.leaderboard import Combination
from fillgap.evaluation.recommend import _space

KINDS = ["logistic", "isotonic"]


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def sides(n: int = 200) -> Sides:
    images, texts = make_gapped(n, 16, seed=0, gap=0.5)
    return Sides(unit(images), unit(texts))


OF_PAIRS = np.repeat(np.arange(200)[:, None], 2, axis=1)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_never_judged_are_as_likely_at_as_many_deviations(kind: str) -> None:
    rows = sides()
    fit = RelevanceProbability(kind=kind).fit(rows, rows, relevant={("text", "image"): OF_PAIRS})
    cosines = {side: rows.texts @ rows.of(side).T for side in ("image", "text")}
    own = cosines["text"][~np.eye(200, dtype=bool)]
    of = {"image": cosines["image"].ravel(), "text": own}
    for z in (-1.0, 0.5, 1.9, 7.0):
        odds = [
            fit.calibrate(
                np.array([[values.mean() + z * values.std()]]), query="text", document=document
            ).item()
            for document, values in of.items()
        ]
        assert odds[0] == pytest.approx(odds[1], abs=0.02), z
    assert fit.probability(cosines["image"], query="text", document="image").shape == (200, 200)
    with pytest.raises(InputError, match="text queries with text documents must have been judged"):
        fit.probability(cosines["text"], query="text", document="text")
    with pytest.raises(InputError, match="must be fitted for image queries"):
        fit.calibrate(cosines["image"], query="image", document="image")  # nothing to go by


def test_where_nothing_else_is_known_the_order_is_that_of_the_z_score() -> None:
    rows = sides()
    relevant = {("text", "image"): OF_PAIRS, ("image", "text"): OF_PAIRS}
    made: list[Calibration] = [
        RelevanceProbability(after=NNN(k=5)),
        ZScore(on="all", after=NNN(k=5)),
    ]
    for one in made:
        one.fit(rows, rows, relevant=relevant)
    for query in ("image", "text"):
        lists = [
            np.concatenate(
                [
                    one.calibrate(
                        rows.of(query) @ rows.of(d).T, query=query, document=d, documents=rows.of(d)
                    )
                    for d in ("image", "text")
                ],
                axis=1,
            )
            for one in made
        ]
        for odds, z in zip(*lists, strict=True):
            slope, offset = np.polyfit(z, odds, 1)
            assert slope > 0
            np.testing.assert_allclose(odds, slope * z + offset, atol=0.02)


def test_what_is_judged_later_is_borrowed_no_more() -> None:
    rows = sides()
    fit = RelevanceProbability().fit(rows, rows, relevant={("text", "image"): OF_PAIRS})
    noisy = Sides(texts=unit(rows.texts + 0.02 * np.random.default_rng(1).normal(size=(200, 16))))
    fit.partial_fit(noisy, rows, relevant={("text", "text"): OF_PAIRS})
    assert fit.probability(np.ones((1, 1)), query="text", document="text").item() > 0.5


def test_recommend_knows_texts_of_one_image() -> None:
    images, texts = make_gapped(150, 16, seed=1, gap=0.6)
    rng = np.random.default_rng(0)
    index = rng.permutation(np.repeat(np.arange(150), 2))
    captions = texts[index] + 0.05 * rng.normal(size=(300, 16))
    pair = EmbeddingPair(images, captions, image_index=index)
    seen: list[Any] = []

    class Watched(RelevanceProbability):
        def fit(self, queries: Sides, documents: Sides, **rest: Any) -> Any:
            seen.append((queries, rest["relevant"]))
            return super().fit(queries, documents, **rest)

    found = recommend(
        pair, aligners=["mean-centering"], calibrations={"p": Watched()}, n_splits=2,
        n_resamples=100,
    )  # fmt: skip
    assert not found.leaderboard.failures
    assert len(seen) == 2 * 2 + (found.chosen is not None and found.chosen.calibration == "p")
    for queries, relevant in seen:
        between = relevant["text", "text"]
        assert len(between) == len(queries.texts)  # each has one other text of its image
        assert (between[:, 0] != between[:, 1]).all()
    queries, relevant = seen[0]
    mean = (queries.texts[relevant["text", "text"]].prod(axis=1)).sum(axis=1).mean()
    assert mean > (queries.texts @ queries.texts.T).mean() + 0.1
    own = _space(
        pair,
        None,
        Combination("raw", "p"),
        aligners={},
        calibrations={"p": RelevanceProbability()},
        model=None,
    ).calibration
    assert isinstance(own, RelevanceProbability)
    assert own.probability(np.ones((1, 1)), query="text", document="text").item() > 0.1


def test_rows_that_belong_together() -> None:
    index = np.array([3, 0, 3, 2, 0, 3, 9])
    pair = EmbeddingPair(np.eye(10) + 1, np.ones((7, 10)), image_index=index)
    found = relevant_rows(pair, [np.array([0, 2, 3]), np.arange(7)])
    assert found is not None
    expected = [(0, 1), (0, 4), (1, 3), (2, 0), (2, 2), (2, 5)]
    assert sorted(map(tuple, found["image", "text"].tolist())) == expected
    assert sorted(map(tuple, found["text", "image"].tolist())) == sorted(
        (text, image) for image, text in expected
    )
    texts = [(i, j) for i in range(7) for j in range(7) if i != j and index[i] == index[j]]
    assert sorted(map(tuple, found["text", "text"].tolist())) == texts
    assert relevant_rows(EmbeddingPair(np.eye(4), np.eye(4), paired=False), []) is None
    alone = relevant_rows(EmbeddingPair(np.eye(4) + 1, np.eye(4) + 1), [np.arange(4)] * 2)
    assert alone is not None
    assert ("text", "text") not in alone


def test_judgements_of_other_queries_are_fitted_to() -> None:
    """Each fit is told just what is relevant to its queries among its documents."""
    n, rng = 40, np.random.default_rng(0)
    images, texts = make_gapped(n, 16, seed=2, gap=0.6)
    kinds = np.array(["image", "text", "image+text"])[np.arange(n) % 3]
    of = {side: np.flatnonzero([side in kind for kind in kinds]) for side in ("image", "text")}
    documents = EmbeddedItems(kinds, {"image": images[of["image"]], "text": texts[of["text"]]}, of)
    asked = texts + 0.1 * rng.normal(size=texts.shape)
    queries = EmbeddedItems(np.full(n, "text"), {"text": asked}, {"text": np.arange(n)})
    order = rng.permutation(n)
    judged = Judged(
        None,  # type: ignore[arg-type]
        [JudgedItem(str(i), "text", None) for i in range(n)],
        [JudgedItem(str(i), "t" if "t" in k else None, None) for i, k in enumerate(kinds)],
        [(int(i), int(i), 1.0) for i in order],
    )
    object.__setattr__(judged, "folder", type("F", (), {"name": "set"})())
    seen: list[dict[Any, Any]] = []

    class Watched(RelevanceProbability):
        def fit(self, queries: Sides, documents: Sides, **rest: Any) -> Any:
            known = {}
            for (query, document), pairs in rest["relevant"].items():
                assert query == "text"
                whose = [
                    np.abs(whole[:, None] - rows[numbers]).sum(axis=2).argmin(axis=0)
                    for whole, rows, numbers in (
                        (unit(asked), queries.texts, pairs[:, 0]),
                        (unit(documents_of(document)), documents.of(document), pairs[:, 1]),
                    )
                ]
                known[document] = (whose[0], of[document][whose[1]])
            seen.append(known)
            return super().fit(queries, documents, **rest)

    def documents_of(side: str) -> np.ndarray:
        return np.asarray(documents.rows[side])

    calibrations = {"p": Watched()}
    bench_judged(judged, queries, documents, aligners=["gr-clip"], calibrations=calibrations,
                 n_resamples=100)  # fmt: skip
    assert len(seen) == 4 * 2
    for known in seen[::2]:  # raw rows, whose origin can be told
        for document, (query, item) in known.items():
            np.testing.assert_array_equal(query, item)
            assert len(query) > len(of[document]) // 2
    told = np.concatenate([query for known in seen[::2] for query, _ in known.values()])
    assert set(told) == set(range(n))


class TestHistogram:
    scores = np.random.default_rng(0).normal(scale=3.0, size=5000)

    def test_scores_beyond_its_limit_are_counted(self) -> None:
        found = ScoreHistogram()
        found.add(self.scores[:2000] / 10)
        assert found.limit == 4
        found.add(self.scores[2000:])
        assert found.limit == 16
        assert found.total == 5000
        every = np.concatenate([self.scores[:2000] / 10, self.scores[2000:]])
        levels = np.linspace(0.01, 0.99, 50)
        np.testing.assert_allclose(found.quantiles(levels), np.quantile(every, levels), atol=0.02)
        found.add(np.array([np.inf, -np.inf]))  # in the outermost bins
        assert found.limit == 16

    @pytest.mark.parametrize("first", ["small", "large"])
    def test_two_of_different_limits_are_read_together(self, first: str) -> None:
        small, large = ScoreHistogram(), ScoreHistogram()
        small.add(self.scores[:100] / 10)
        large.add(self.scores[100:])
        if first == "large":
            middles, of_large, of_small = large.with_others(small)
        else:
            middles, of_small, of_large = small.with_others(large)
        assert (of_small.sum(), of_large.sum()) == (100, 4900)
        assert (of_small @ middles) / 100 == pytest.approx(self.scores[:100].mean() / 10, abs=1e-3)
        assert (of_large @ middles) / 4900 == pytest.approx(self.scores[100:].mean(), abs=1e-3)

    def test_a_map_of_large_scores_has_their_quantiles(self) -> None:
        rows = sides()
        fit = QuantileMap(after=ZScore()).fit(rows, rows)  # in deviations of the best scores
        cosines = rows.texts @ rows.images.T
        z = fit.after_.calibrate(cosines, query="text", document="image")
        knots = fit.fitted_["text.image.knots"]
        assert z.min() < -6
        assert knots[0] == pytest.approx(z.min(), abs=0.05)
        assert np.median(z) == pytest.approx(np.interp(25, np.arange(len(knots)), knots), abs=0.5)
