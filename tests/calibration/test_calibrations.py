"""Every calibration: its formula, folding, order, merging, saving, and what it refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import reference_scores as slow
from calibration_table import ROWS, Row
from fillgap import InputError, InputTypeError
from fillgap.calibration import (
    CALIBRATIONS,
    CSLS,
    NNN,
    Calibration,
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
from fillgap.calibration.base import MODALITIES
from fillgap.calibration.methods import calibration_state, restore_calibration
from fillgap.calibration.probability import ScoreHistogram
from reference import unit
from worlds import make_gapped

PAIRS = [(q, d) for q in ("image", "text") for d in ("image", "text")]
Q_ROWS, D_ROWS, DIM = 40, 60, 12


def sides(n: int, seed: int) -> Sides:
    """Images and texts with a common meaning and a gap."""
    rng = np.random.default_rng(seed)
    meaning = np.random.default_rng(0).normal(size=(D_ROWS, DIM))[:n]
    offset = 0.8 * np.ones(DIM)
    noise = rng.normal(size=(2, n, DIM)) * np.array([0.4, 0.8])[:, None, None]
    return Sides(unit(meaning + noise[0] + offset), unit(meaning + noise[1] - offset))


QUERIES, DOCUMENTS = sides(Q_ROWS, 1), sides(D_ROWS, 2)
RELEVANT = {pair: np.repeat(np.arange(Q_ROWS)[:, None], 2, axis=1) for pair in PAIRS}


def fitted(row: Row) -> Calibration:
    return row.make().fit(QUERIES, DOCUMENTS, relevant=RELEVANT)


@pytest.fixture(scope="module", params=ROWS, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> Row:
    return request.param


@pytest.fixture(scope="module")
def calibration(row: Row) -> Calibration:
    return fitted(row)


class TestEveryCalibration:
    @pytest.mark.parametrize(("query", "document"), PAIRS)
    def test_it_folds_exactly_into_one_more_coordinate(
        self, row: Row, calibration: Calibration, query: str, document: str
    ) -> None:
        assert calibration.folds == row.folds
        Q, D = sides(15, 5).of(query), sides(33, 6).of(document)
        if not row.folds:
            with pytest.raises(InputError, match="must be affine in the score to be folded"):
                calibration.coefficients(D, document=document, query=query)
            return
        a, b = calibration.coefficients(D, document=document, query=query)
        assert (a > 0).all()
        stored = np.column_stack([a[:, None] * D, b])
        asked = np.column_stack([Q, np.ones(len(Q))])
        direct = calibration.calibrate(Q @ D.T, query=query, document=document, documents=D)
        assert np.abs(asked @ stored.T - direct).max() < 1e-11

    @pytest.mark.parametrize(("query", "document"), PAIRS)
    def test_order_within_a_modality(
        self, row: Row, calibration: Calibration, query: str, document: str
    ) -> None:
        D = DOCUMENTS.of(document)
        scores = QUERIES.of(query) @ D.T
        got = calibration.calibrate(scores, query=query, document=document, documents=D)
        assert got.shape == scores.shape
        assert np.isfinite(got).all()
        assert np.array_equal(got.argsort(), scores.argsort()) == row.keeps_order

    def test_whether_the_other_documents_count(self, row: Row, calibration: Calibration) -> None:
        """Half of the documents score what they score among all, unless `reads_list` says no."""
        changed, others = [], sides(Q_ROWS, 3)  # not those fitted to, whose best are all hubs
        for query in MODALITIES:
            for document in MODALITIES:
                D = DOCUMENTS.of(document)
                cosines = others.of(query) @ D.T
                whole = calibration.calibrate(cosines, query=query, document=document, documents=D)
                half = calibration.calibrate(
                    cosines[:, ::2], query=query, document=document, documents=D[::2]
                )
                changed.append(np.abs(whole[:, ::2] - half).max() > 1e-9)
        assert any(changed) == calibration.reads_list

    def test_parts_merge_to_one_fit(self, row: Row, calibration: Calibration) -> None:
        sided = row.make()
        for side in ("text", "image"):
            part = Sides(**{f"{side}s": QUERIES.of(side)})
            relevant = {pair: rows for pair, rows in RELEVANT.items() if pair[0] == side}
            sided.partial_fit(part, DOCUMENTS, relevant=relevant)
        parts = row.make()
        for start, stop in ((0, 11), (11, 30), (30, Q_ROWS)):
            part = Sides(*(side[start:stop] for side in QUERIES))
            relevant = {
                pair: rows[start:stop] - np.array([start, 0]) for pair, rows in RELEVANT.items()
            }
            parts.partial_fit(part, DOCUMENTS, relevant=relevant)
        assert parts.fitted_.keys() == calibration.fitted_.keys()
        for name, array in calibration.fitted_.items():
            for merged in (parts, sided):
                assert np.allclose(merged.fitted_[name], array, rtol=1e-12, atol=1e-12), name

    def test_a_second_fit_forgets_the_first(self, row: Row, calibration: Calibration) -> None:
        again = row.make().fit(
            sides(20, 9),
            DOCUMENTS,
            relevant={("text", "image"): [[0, 0], [1, 1]], ("image", "text"): [[0, 0], [1, 1]]},
        )
        again.fit(QUERIES, DOCUMENTS, relevant=RELEVANT)
        for name, array in calibration.fitted_.items():
            assert np.array_equal(again.fitted_[name], array), name

    def test_it_comes_back_from_its_state(self, row: Row, calibration: Calibration) -> None:
        back = restore_calibration(*calibration_state(calibration))
        assert repr(back) == repr(calibration)
        D = DOCUMENTS.texts
        scores = QUERIES.images @ D.T
        arguments = {"query": "image", "document": "text", "documents": D}
        assert np.array_equal(
            back.calibrate(scores, **arguments), calibration.calibrate(scores, **arguments)
        )
        with pytest.raises(InputError, match="must be fitted in this process to go on"):
            back.partial_fit(QUERIES, DOCUMENTS, relevant=RELEVANT)

    def test_blocks_do_not_matter(
        self, row: Row, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fillgap.calibration.base._BLOCK_BYTES", 1)
        seen: list[tuple[int, int | None, str]] = []
        small = row.make().fit(
            QUERIES, DOCUMENTS, relevant=RELEVANT, progress=lambda *step: seen.append(step)
        )
        for name, array in calibration.fitted_.items():
            assert np.allclose(small.fitted_[name], array, rtol=1e-9, atol=2e-4), name
        scores = QUERIES.texts @ DOCUMENTS.texts.T
        arguments = {"query": "text", "document": "text", "documents": DOCUMENTS.texts}
        assert np.allclose(
            small.calibrate(scores, **arguments),
            calibration.calibrate(scores, **arguments),
            rtol=1e-3,
            atol=1e-3,
        )

    def test_what_it_refuses(self, row: Row, calibration: Calibration) -> None:
        with pytest.raises(NotFittedError, match="must be fitted"):
            row.make().calibrate(
                np.zeros((2, D_ROWS)), query="text", document="image", documents=DOCUMENTS.images
            )
        with pytest.raises(InputError, match="the modality must be one of 'image', 'text'"):
            calibration.calibrate(
                np.zeros((2, D_ROWS)), query="audio", document="image", documents=DOCUMENTS.images
            )
        with pytest.raises(InputTypeError, match="scores must be floating point"):
            calibration.calibrate(np.zeros((2, 3), dtype=int), query="text", document="image")
        with pytest.raises(InputError, match="queries and documents must be of one dimension"):
            row.make().fit(
                Sides(texts=np.ones((3, 4))), Sides(images=np.ones((3, 5))), relevant=RELEVANT
            )
        bad = DOCUMENTS.images.copy()
        bad[7, 3] = np.nan
        with pytest.raises(InputError, match="documents must be finite .* in row 7"):
            made = row.make().fit(QUERIES, Sides(images=bad), relevant=RELEVANT)
            made.calibrate(np.zeros((1, D_ROWS)), query="text", document="image", documents=bad)
        with pytest.raises(InputError, match="must be of at least one modality"):
            row.make().fit(Sides(), DOCUMENTS, relevant=RELEVANT)
        with pytest.raises(InputTypeError, match=r"must be Sides\(images, texts\), got ndarray"):
            row.make().fit(QUERIES.images, DOCUMENTS, relevant=RELEVANT)

    def test_a_missing_modality_is_named(self, row: Row) -> None:
        only = row.make().fit(
            Sides(texts=QUERIES.texts),
            DOCUMENTS,
            relevant={k: v for k, v in RELEVANT.items() if k[0] == "text"},
        )
        arguments = {"document": "image", "documents": DOCUMENTS.images}
        scores = QUERIES.texts @ DOCUMENTS.images.T
        assert np.isfinite(only.calibrate(scores, query="text", **arguments)).all()
        with pytest.raises(InputError, match="the calibration must be fitted for image queries"):
            only.calibrate(scores, query="image", **arguments)
        fitted = {(q, d) for q in MODALITIES for d in MODALITIES if only.is_fitted_for(q, d)}
        assert fitted == {("text", "image"), ("text", "text")}

    def test_it_is_a_scikit_learn_estimator(self, row: Row) -> None:
        made = row.make()
        assert repr(clone(made)) == repr(made)
        assert type(made) in CALIBRATIONS.values()


@pytest.mark.parametrize(("query", "document"), PAIRS)
class TestFormulas:
    def prepared(self, query: str, document: str) -> tuple[np.ndarray, np.ndarray, bool]:
        D = DOCUMENTS.of(document)
        return (
            slow.cosines(sides(15, 5).of(query), D),
            slow.cosines(QUERIES.of(query), D),
            query == document,
        )

    def check(
        self,
        calibration: Calibration,
        query: str,
        document: str,
        expected: np.ndarray,
        tolerance: float = 1e-6,
    ) -> None:
        scores, _, _ = self.prepared(query, document)
        fit = calibration.fit(QUERIES, DOCUMENTS, relevant=RELEVANT)
        got = fit.calibrate(
            scores, query=query, document=document, documents=DOCUMENTS.of(document)
        )
        assert np.abs(got - expected).max() < tolerance

    @pytest.mark.parametrize("on", ["all", "pseudo-positives"])
    def test_z_score(self, query: str, document: str, on: str) -> None:
        scores, sample, same = self.prepared(query, document)
        expected = slow.z_score(scores, sample, on, same=same)
        self.check(ZScore(on=on), query, document, expected, 1e-9)

    def test_nnn(self, query: str, document: str) -> None:
        scores, sample, same = self.prepared(query, document)
        expected = slow.nnn(scores, sample, 7, 0.4, same=same)
        self.check(NNN(k=7, alpha=0.4), query, document, expected)

    def test_csls(self, query: str, document: str) -> None:
        scores, sample, same = self.prepared(query, document)
        self.check(CSLS(k=7), query, document, slow.csls(scores, sample, 7, same=same))

    @pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
    def test_query_centering(self, query: str, document: str, weight: float) -> None:
        scores, sample, same = self.prepared(query, document)
        z = slow.z_score(scores, sample, "all", same=same)
        expected = z - weight * slow.of_queries(z, scores, 4, same=same)
        centering = QueryCentering(k=4, weight=weight, after=ZScore(on="all"))
        self.check(centering, query, document, expected)

    @pytest.mark.parametrize(("depth", "leave_out"), [(100, 0), (100, 5), (10, 3), (10, 50)])
    def test_query_standardisation(
        self, query: str, document: str, depth: int, leave_out: int
    ) -> None:
        scores, sample, same = self.prepared(query, document)
        corrected = slow.nnn(scores, sample, 7, 0.4, same=same)
        expected = slow.own_list_z(corrected, scores, depth, leave_out, same=same)
        first = NNN(k=7, alpha=0.4)
        standard = QueryStandardisation(depth=depth, leave_out=leave_out, after=first)
        # The reference queries of NNN are in float32, and the deviations are near .01.
        self.check(standard, query, document, expected, 1e-5)

    def test_qb_norm(self, query: str, document: str) -> None:
        scores, sample, same = self.prepared(query, document)
        expected = slow.qb_norm(scores, sample, 20, same=same)
        self.check(QBNorm(beta=20), query, document, expected)
        hubs = np.unique(sample.argmax(axis=1))
        of_hub = np.isin(scores.argmax(axis=1), hubs)
        bias = scores - expected
        either = np.where(of_hub[:, None], expected, scores - bias.mean(axis=1, keepdims=True))
        self.check(QBNorm(beta=20, dynamic=True), query, document, either)

    def test_logistic(self, query: str, document: str) -> None:
        scores, sample, _ = self.prepared(query, document)
        mark = np.zeros(sample.shape, dtype=bool)
        mark[tuple(RELEVANT[query, document].T)] = True
        a, b = slow.logistic(sample, mark)
        self.check(RelevanceProbability(), query, document, a * scores + b, 0.02)


@pytest.mark.parametrize(
    "make",
    [CSLS, lambda: QBNorm(dynamic=True), QueryCentering, QueryStandardisation],
    ids=["csls", "qb", "centering", "standardisation"],
)
def test_a_copy_in_the_list_changes_no_other_score(make: Callable[[], Calibration]) -> None:
    fit = make().fit(QUERIES, DOCUMENTS)
    arguments = {"query": "text", "document": "text"}
    for asked in sides(15, 5).texts[:, None]:
        with_copy = np.vstack([DOCUMENTS.texts, asked])
        got = fit.calibrate(asked @ with_copy.T, **arguments, documents=with_copy)
        expected = fit.calibrate(asked @ DOCUMENTS.texts.T, **arguments, documents=DOCUMENTS.texts)
        change = got[:, :-1] - expected
        assert np.ptp(change) < 1e-12
        if not isinstance(fit, QBNorm):  # which leaves the mean correction of all documents
            assert np.abs(change).max() < 1e-12


class TestQueryStandardisation:
    rng = np.random.default_rng(0)
    rows = Sides(rng.normal(size=(50, 8)) + 1, rng.normal(size=(50, 8)) - 1)

    def asked(self, scores: np.ndarray, **parameters: Any) -> np.ndarray:
        fit = QueryStandardisation(**parameters).fit(self.rows, self.rows)
        return fit.calibrate(scores, query="text", document="image")

    def test_answers_do_not_widen_the_list_that_they_stand_out_of(self) -> None:
        scores = np.append(np.tile([-1.0, 1.0], 50), [8.0])[None]
        assert self.asked(scores, depth=101, leave_out=1)[0, -1] == pytest.approx(8)
        assert self.asked(scores, depth=101, leave_out=0)[0, -1] < 6.5

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_short_lists_and_level_ones_are_finite(self, n: int) -> None:
        scores = np.arange(2.0 * n).reshape(2, n)
        for got in (self.asked(scores), self.asked(np.ones((2, n)))):
            assert got.shape == (2, n)
            assert np.isfinite(got).all()
        assert (self.asked(np.ones((2, n))) == 0).all()


def test_quantile_map_gives_one_distribution() -> None:
    rng = np.random.default_rng(0)
    queries = Sides(rng.normal(size=(200, 16)) + 1, rng.normal(size=(200, 16)) - 1)
    documents = Sides(rng.normal(size=(300, 16)) + 1, rng.normal(size=(300, 16)) - 1)
    fit = QuantileMap().fit(queries, documents)
    found = []
    for query, document in PAIRS:
        scores = unit(queries.of(query)) @ unit(documents.of(document)).T
        mapped = fit.calibrate(scores, query=query, document=document)
        found.append(np.quantile(mapped, [0.1, 0.5, 0.9, 0.99, 0.999]))
    assert np.ptp(found, axis=0).max() < 0.01


def test_a_threshold_means_the_same_for_images_and_texts() -> None:
    rng = np.random.default_rng(3)
    meaning = rng.normal(size=(400, 24))
    documents = Sides(
        meaning + 0.9 * rng.normal(size=meaning.shape) + 1,
        meaning + 0.5 * rng.normal(size=meaning.shape) - 1,
    )
    queries = Sides(texts=meaning + 0.5 * rng.normal(size=meaning.shape) - 1)
    every = np.repeat(np.arange(200)[:, None], 2, axis=1)
    relevant = {("text", "image"): every, ("text", "text"): every}
    half = Sides(texts=queries.texts[:200])
    every_score = {
        document: unit(queries.texts[200:]) @ unit(documents.of(document)).T
        for document in ("image", "text")
    }
    mark = np.zeros((200, 400), dtype=bool)
    mark[np.arange(200), np.arange(200, 400)] = True
    for kind in ("logistic", "isotonic"):
        fit = RelevanceProbability(kind=kind).fit(half, documents, relevant=relevant)
        for document, scores in every_score.items():
            p = fit.probability(scores, query="text", document=document)
            assert ((p >= 0) & (p <= 1)).all()
            if kind == "isotonic":  # the logistic curve is too steep for the best of many
                likely = p > 0.1
                spread = np.sqrt((p * (1 - p))[likely].sum())
                assert abs(mark[likely].sum() - p[likely].sum()) < 5 * spread, document
            assert abs(p.mean() - mark.mean()) < 0.001, (kind, document)


class TestTogether:
    def test_each_is_what_it_is_alone(self) -> None:
        made: dict[str, Calibration] = {row.name: row.make() for row in ROWS}
        found = fit_together(made, QUERIES, DOCUMENTS, relevant=RELEVANT)
        assert list(found) == list(made)
        for row in ROWS:
            alone, together = fitted(row), found[row.name]
            assert isinstance(together, type(alone))
            assert together.fitted_.keys() == alone.fitted_.keys()
            for key, array in alone.fitted_.items():
                np.testing.assert_allclose(together.fitted_[key], array, rtol=1e-12)
            for query in MODALITIES:
                arguments = {"query": query, "document": "text", "documents": DOCUMENTS.texts}
                got, expected = (
                    one.calibrate(QUERIES.of(query) @ DOCUMENTS.texts.T, **arguments)
                    for one in (together, alone)
                )
                np.testing.assert_allclose(got, expected, rtol=1e-12, err_msg=row.name)

    def test_what_is_applied_first_is_fitted_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        count, learn = Counter[int](), NNN._learn

        def counted(self: NNN, *arguments: Any) -> None:
            count[self.k] += 1
            learn(self, *arguments)

        monkeypatch.setattr(NNN, "_learn", counted)
        made = {
            "nnn": NNN(),
            "z": ZScore(after=NNN()),
            "all": ZScore(on="all", after=NNN()),
            "twice": QuantileMap(after=ZScore(after=NNN())),
            "other": QuantileMap(after=NNN(k=3)),
        }
        found = fit_together(made, QUERIES, DOCUMENTS)
        assert count == {16: 1, 3: 1}
        assert found["z"].after_ is found["nnn"]
        assert found["twice"].after_ is found["z"]

    def test_one_that_fails_leaves_the_others_alone(self) -> None:
        made = {
            "unknown": ZScore(on="some"),
            "none relevant": RelevanceProbability(),
            "bad k": QuantileMap(after=NNN(k=0)),
            "q": QuantileMap(),
        }
        found = fit_together(made, QUERIES, DOCUMENTS)
        failed = {name: str(one) for name, one in found.items() if isinstance(one, Exception)}
        assert failed.keys() == made.keys() - {"q"}
        assert "k must be at least 1" in failed["bad k"]
        bad = np.where(np.arange(DIM) == 3, np.nan, DOCUMENTS.images)
        failed = fit_together(made, QUERIES, Sides(images=bad))
        assert all(isinstance(one, InputError) for one in failed.values())

    def test_a_class_with_a_fit_of_its_own_is_left_to_it(self) -> None:
        class Shifted(ZScore):
            def fit(self, queries: Any, documents: Any, **rest: Any) -> Any:
                fit = super().fit(queries, documents, **rest)
                self.fitted_["text.text.mean"] = np.array(7.0)
                return fit

        found = fit_together({"own": QuantileMap(after=Shifted())}, QUERIES, DOCUMENTS)
        assert found["own"].after_.fitted_["text.text.mean"] == 7


class TestModalitiesNeverJudged:
    rows = Sides(*map(unit, make_gapped(200, 16, seed=0, gap=0.5)))
    every = np.repeat(np.arange(200)[:, None], 2, axis=1)

    @pytest.mark.parametrize("kind", ["logistic", "isotonic"])
    def test_they_are_as_likely_at_as_many_deviations(self, kind: str) -> None:
        relevant = {("text", "image"): self.every}
        fit = RelevanceProbability(kind=kind).fit(self.rows, self.rows, relevant=relevant)
        cosines = {side: self.rows.texts @ self.rows.of(side).T for side in MODALITIES}
        own = cosines["text"][~np.eye(200, dtype=bool)]
        for z in (-1.0, 0.5, 1.9, 7.0):
            odds = [
                fit.calibrate(
                    np.array([[values.mean() + z * values.std()]]), query="text", document=document
                ).item()
                for document, values in (("image", cosines["image"]), ("text", own))
            ]
            assert odds[0] == pytest.approx(odds[1], abs=0.02), z
        assert fit.probability(cosines["image"], query="text", document="image").shape == (200, 200)
        with pytest.raises(InputError, match="text queries with text documents must have been ju"):
            fit.probability(cosines["text"], query="text", document="text")

    @pytest.mark.parametrize("query", MODALITIES)
    def test_where_nothing_is_known_the_order_is_that_of_the_z_score(self, query: str) -> None:
        relevant = {("text", "image"): self.every, ("image", "text"): self.every}
        lists = []
        for one in (RelevanceProbability(after=NNN(k=5)), ZScore(on="all", after=NNN(k=5))):
            one.fit(self.rows, self.rows, relevant=relevant)
            scored = [
                one.calibrate(self.rows.of(query) @ D.T, query=query, document=side, documents=D)
                for side, D in zip(MODALITIES, self.rows, strict=True)
            ]
            lists.append(np.concatenate(scored, axis=1))
        for odds, z in zip(*lists, strict=True):
            slope, offset = np.polyfit(z, odds, 1)
            assert slope > 0
            np.testing.assert_allclose(odds, slope * z + offset, atol=0.02)

    def test_what_is_judged_later_is_borrowed_no_more(self) -> None:
        relevant = {("text", "image"): self.every}
        fit = RelevanceProbability().fit(self.rows, self.rows, relevant=relevant)
        noise = 0.02 * np.random.default_rng(1).normal(size=(200, 16))
        queries = Sides(texts=unit(self.rows.texts + noise))
        fit.partial_fit(queries, self.rows, relevant={("text", "text"): self.every})
        assert fit.probability(np.ones((1, 1)), query="text", document="text").item() > 0.5


class TestHistogram:
    scores = np.random.default_rng(0).normal(scale=3.0, size=5000)

    def test_scores_beyond_its_limit_are_counted(self) -> None:
        found = ScoreHistogram()
        found.add(self.scores[:2000] / 10)
        assert found.limit == 4
        found.add(self.scores[2000:])
        assert (found.limit, found.total) == (16, 5000)
        every = np.concatenate([self.scores[:2000] / 10, self.scores[2000:]])
        levels = np.linspace(0.01, 0.99, 50)
        np.testing.assert_allclose(found.quantiles(levels), np.quantile(every, levels), atol=0.02)
        found.add(np.array([np.inf, -np.inf]))  # in the outermost bins
        assert found.limit == 16

    @pytest.mark.parametrize("scales", [(0.1, 1.0), (1.0, 0.1)])
    def test_two_of_different_limits_are_read_together(self, scales: tuple[float, float]) -> None:
        parts = [self.scores[i::2] * scale for i, scale in enumerate(scales)]
        both = [ScoreHistogram(), ScoreHistogram()]
        for histogram, part in zip(both, parts, strict=True):
            histogram.add(part)
        middles, *counts = both[0].with_others(both[1])
        for count, part in zip(counts, parts, strict=True):
            assert count.sum() == 2500
            assert (count @ middles) / 2500 == pytest.approx(part.mean(), abs=1e-3)


class TestRefusals:
    @pytest.mark.parametrize(
        ("pairs", "match"),
        [
            ([[0.5, 1.0]], "must be integers"),
            ([0, 1], r"must be of shape \(n_pairs, 2\), got \(2,\)"),
            ([[-1, 0]], "must name queries below"),
            ([[Q_ROWS, 0]], "must name queries below"),
        ],
    )
    def test_what_is_relevant_to_more_queries(self, pairs: list[object], match: str) -> None:
        """Numbers are of the queries given with them, not of all so far."""
        calibration = RelevanceProbability(after=NNN(k=5)).fit(
            QUERIES, DOCUMENTS, relevant=RELEVANT
        )
        with pytest.raises((InputError, InputTypeError), match=match):
            calibration.partial_fit(QUERIES, DOCUMENTS, relevant={("text", "image"): pairs})
        calibration.partial_fit(QUERIES, DOCUMENTS, relevant=RELEVANT)  # it is as it was before
        twice = Sides(*(np.tile(side, (2, 1)) for side in QUERIES))
        both = {
            pair: np.concatenate([rows, rows + np.array([Q_ROWS, 0])])
            for pair, rows in RELEVANT.items()
        }
        once = RelevanceProbability(after=NNN(k=5)).fit(twice, DOCUMENTS, relevant=both)
        for name, array in once.fitted_.items():
            assert np.array_equal(calibration.fitted_[name], array), name

    def test_one_that_shares_what_it_is_applied_after(self) -> None:
        made = {"z": ZScore(after=NNN(k=5)), "q": QuantileMap(after=NNN(k=5))}
        together = fit_together(made, QUERIES, DOCUMENTS)["z"]
        with pytest.raises(InputError, match="ZScore must be fitted alone to go on"):
            together.partial_fit(QUERIES, DOCUMENTS)
        together.fit(QUERIES, DOCUMENTS).partial_fit(QUERIES, DOCUMENTS)

    def test_parameters(self) -> None:
        for bad, words in (
            (NNN(k=0), "k must be at least 1"),
            (NNN(alpha=-1.0), "alpha must be at least 0"),
            (CSLS(k=0), "k must be at least 1"),
            (QBNorm(beta=0.0), "beta must be greater than 0"),
            (ZScore(on="some"), "on must be one of 'pseudo-positives', 'all'"),
            (QuantileMap(on="some"), "on must be one of"),
            (QueryStandardisation(depth=1), "depth must be at least 2"),
            (QueryStandardisation(leave_out=-1), "leave_out must be at least 0"),
            (RelevanceProbability(kind="some"), "kind must be one of 'logistic', 'isotonic'"),
        ):
            with pytest.raises(InputError, match=words):
                bad.fit(QUERIES, DOCUMENTS, relevant=RELEVANT)
        with pytest.raises(InputTypeError, match="after must be a calibration or None, got 'nnn'"):
            ZScore(after="nnn").fit(QUERIES, DOCUMENTS)  # type: ignore[arg-type]

    def test_names(self) -> None:
        with pytest.raises(InputError, match="got 'zscore'. Did you mean z-score"):
            make_calibration("zscore")
        with pytest.raises(InputError, match="a parameter of nnn must be one of k, alpha|alpha, k"):
            make_calibration("nnn", beta=3)
        assert make_calibration("nnn", alpha=0.1).get_params()["alpha"] == 0.1

    def test_relevance(self) -> None:
        made = RelevanceProbability()
        with pytest.raises(InputError, match="relevant must be given for RelevanceProbability"):
            made.fit(QUERIES, DOCUMENTS)
        for pairs, error, words in (
            (np.zeros((3, 2)), InputTypeError, "must be integers, got float64"),
            ([[0, 1, 2]], InputError, r"must be of shape \(n_pairs, 2\), got \(1, 3\)"),
            ([[0, D_ROWS]], InputError, "must name queries below 40 and documents below 60"),
            ([[0, 0]], InputError, "must have at least 2 relevant"),
        ):
            with pytest.raises(error, match=words):
                made.fit(QUERIES, DOCUMENTS, relevant={("text", "image"): pairs})
        against = DOCUMENTS.images[:Q_ROWS] * -1
        with pytest.raises(InputError, match="relevant documents must score higher than others"):
            relevant = {("image", "image"): RELEVANT["image", "image"]}
            made.fit(QUERIES, Sides(images=against), relevant=relevant)

    def test_constant_scores(self) -> None:
        same = np.tile(DOCUMENTS.images[:1], (5, 1))
        with pytest.raises(InputError, match="scores of text queries with image .* must differ"):
            ZScore().fit(Sides(texts=QUERIES.texts[:1].repeat(3, axis=0)), Sides(images=same))

    def test_shapes(self) -> None:
        fit = NNN().fit(QUERIES, DOCUMENTS)
        with pytest.raises(InputError, match="documents must be given to NNN, got none"):
            fit.calibrate(np.zeros((1, 4)), query="text", document="image")
        with pytest.raises(InputError, match="one column for each of the 60 documents"):
            fit.calibrate(
                np.zeros((1, 4)), query="text", document="image", documents=DOCUMENTS.images
            )
        with pytest.raises(InputError, match="documents must be of dimension 12, as in the fit"):
            fit.coefficients(np.ones((4, 5)), document="image", query="text")
