"""Aligner and calibration chosen together: what is chosen, what it says, and the leaderboard."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fillgap import EmbeddingPair, InputError, InputTypeError, MeanCentering, Sides, recommend
from fillgap.bench.mixed import bench_mixed
from fillgap.bench.pages import against_published, is_published, sentence_of, to_html, to_markdown
from fillgap.calibration import QuantileMap, RelevanceProbability, ZScore, reciprocal_rank_fusion
from fillgap.evaluation import Estimate
from fillgap.evaluation.combine import FUSIONS, fused
from fillgap.evaluation.leaderboard import Combination, Leaderboard, Tally
from fillgap.evaluation.recommend import choose
from fillgap.evaluation.shortlists import calibrated
from fillgap.metrics import exposure_at_k, mixed_ndcg_at_k, recall_at_k
from reference import unit
from reference_lists import all_scores, one_sided_values
from worlds import of_another_kind, two_texts

QUICK = {
    "n_splits": 2,
    "n_resamples": 100,
    "calibrations": {"z-score on all": ZScore(on="all")},
}


SAME = two_texts()
NAN, ZERO = np.ones((9, 24)), EmbeddingPair(*np.ones((2, 9, 24)))
NAN[1, 3], ZERO.texts[4] = np.nan, 0


@pytest.fixture(scope="module")
def pair() -> EmbeddingPair:
    return two_texts()


class TestScoredMeasures:
    def test_without_a_calibration_they_are_those_of_the_scan(self, pair: EmbeddingPair) -> None:
        part = pair.take_images(np.arange(60))
        rows = {"image": unit(part.images), "text": unit(part.texts)}
        found = one_sided_values(all_scores(rows, calibrated(None)), np.asarray(part.image_index))
        for name, expected in (
            ("mixed_ndcg_at_10", mixed_ndcg_at_k(part)),
            ("recall_at_1", recall_at_k(part, k=1)),
            ("exposure_at_10", exposure_at_k(part)),
        ):
            for direction in ("image_to_text", "text_to_image"):
                got = found[name, direction].mean()
                assert got == pytest.approx(getattr(expected, direction), abs=1e-9), name
        # A query is in no list that is fused: with as many of each kind, ranks show as many.
        rows = {side: of[:31] for side, of in rows.items()}
        scores = all_scores(rows, fused(reciprocal_rank_fusion))
        found = one_sided_values(scores, np.arange(31))
        for query, other in (("image", "text"), ("text", "image")):
            best = [scores[query][side].max(axis=1).tolist() for side in (query, other)]
            assert best == [[1 / 61] * 31] * 2
            assert (np.diag(scores[query][query]) == -np.inf).all()
            together = found["exposure_at_10", f"{query}_to_{other}"] * 31 / 61  # of the first ten
            assert together.tolist() == pytest.approx([0.5] * 31)


class TestRecommend:
    def test_it_closes_a_gap_and_says_what_each_step_adds(self, pair: EmbeddingPair) -> None:
        found = recommend(pair, model="m", n_splits=2, n_resamples=100)
        assert found.objective == "two_sided_ndcg_at_10"
        assert found.chosen is not None
        assert found.sentence.startswith(f"Use {found.chosen}: two-sided NDCG@10 goes ")
        values = [step.estimates[found.objective].value for step in found.steps]
        assert found.steps[0].what == Combination()
        assert found.steps[-1].what == found.chosen
        assert values[-1] > values[0] + 0.1
        for exposure in found.leaderboard.line(found.chosen).exposure.values():
            assert 0.8 <= exposure.value <= 1.25
        assert -found.leaderboard.line(found.chosen).changes["recall_at_1"].value <= 0.02
        assert found.space.model == "m"
        assert (found.space.calibration is None) == (found.chosen.calibration == "none")
        json.dumps(found.to_dict(), allow_nan=False)
        again = recommend(pair, model="m", n_splits=2, n_resamples=100)
        assert again.to_dict() == found.to_dict()

    def test_its_figures_are_of_images_that_had_no_part_in_the_choice(
        self, pair: EmbeddingPair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        halves, fits, real, fit = [], Counter[int](), Leaderboard.from_tally, MeanCentering.fit

        def counted(self: MeanCentering, X: Any, Y: Any = None) -> MeanCentering:
            fits[len(X)] += 1
            return fit(self, X, Y)

        def watched(*given, images, **options):  # type: ignore[no-untyped-def]
            halves.append(images)
            return real(*given, images=images, **options)

        monkeypatch.setattr(Leaderboard, "from_tally", watched)
        monkeypatch.setattr(MeanCentering, "fit", counted)
        found = recommend(pair, aligners=["mean-centering"], **QUICK)
        assert (halves[0] != halves[1]).all()
        assert fits[80] == 2  # once in a fold, for all calibrations together
        assert fits.keys() <= {80, 160}
        assert found.fitted_on is None
        one_sided = EmbeddingPair(pair.images, pair.texts[::2])
        assert recommend(one_sided, **QUICK).objective == "mixed_ndcg_at_10"

    def test_a_calibration_is_fitted_to_a_sample_whose_pairs_are_known(
        self, pair: EmbeddingPair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of more rows than a bank should hold, some are taken; what is relevant is renumbered."""
        monkeypatch.setattr("fillgap.evaluation.combine._SAMPLE", 40)
        images, texts, seen = unit(pair.images), unit(pair.texts), []

        class Watched(ZScore):
            def fit(self, queries, documents, *, relevant, **rest):  # type: ignore[no-untyped-def]
                seen.append((queries.images, documents.texts, relevant["image", "text"]))
                return super().fit(queries, documents, **rest)

        chosen = Combination("raw", "p")
        monkeypatch.setitem(recommend.__globals__, "choose", lambda *_: (chosen, {}))
        tried = {"watched": Watched(on="all"), "p": RelevanceProbability()}
        found = recommend(pair, **QUICK | {"aligners": [], "calibrations": tried})
        assert found.space.calibration.is_fitted_for("text", "image")
        assert len(seen) == 2
        for asked, shown, pairs in seen:
            assert len(asked) == len(shown) == 40
            assert len(pairs) > 5
            image = np.argmax(asked[pairs[:, 0]] @ images.T, axis=1)
            text = np.argmax(shown[pairs[:, 1]] @ texts.T, axis=1)
            np.testing.assert_array_equal(image, np.asarray(pair.image_index)[text])

    def test_without_a_gap_it_leaves_the_embeddings_alone(self) -> None:
        rng = np.random.default_rng(0)
        X = rng.normal(size=(120, 24))
        Y = np.repeat(X, 2, axis=0) + 0.05 * rng.normal(size=(240, 24))
        index = np.repeat(np.arange(120), 2)
        found = recommend(EmbeddingPair(X, Y, image_index=index), **QUICK)
        assert found.chosen is None
        above = [line.what for line in found.leaderboard.lines]
        above = above[: above.index(Combination())]
        assert list(found.passed_over) == above
        best = f"{above[0]} scores highest, but " if above else "nothing scores higher than raw"
        assert best in found.sentence
        assert found.sentence.startswith("Leave the embeddings as they are: ")
        assert found.space.aligner is None
        assert found.space.calibration is None

    def test_data_of_another_kind_are_told(self, pair: EmbeddingPair) -> None:
        other = of_another_kind(pair)
        found = recommend(pair, fit_on=other, aligners=["mean-centering"], max_loss=1.0, **QUICK)
        assert found.chosen is not None
        assert (
            "of fits to other data (other kind: 120 images, 240 texts): fitted on" in found.sentence
        )
        assert found.other_kind is not None
        assert found.fitted_on == "other kind"
        assert "120 images of other data (other kind) fitted on" in found.leaderboard.about
        own = recommend(pair, aligners=["mean-centering"], max_loss=1.0, **QUICK)
        assert own.other_kind is own.fitted_on is None
        assert "other data" not in own.sentence + own.leaderboard.about
        assert own.chosen is not None
        means = [board.line(own.chosen).estimates for board in (found.leaderboard, own.leaderboard)]
        assert means[0] != means[1]
        rng = np.random.default_rng(0)
        noise = EmbeddingPair(rng.normal(size=(90, 24)), rng.normal(size=(70, 24)), name="noise")
        found = recommend(pair, fit_on=noise, aligners=["spectral"], max_loss=0.0, **QUICK)
        assert found.chosen is None
        ending = "These are figures of fits to other data (noise: 90 images, 70 texts)."
        assert found.sentence.endswith(ending)

    def test_a_log_of_texts_alone_calibrates_text_queries(self, pair: EmbeddingPair) -> None:
        """And queries that are images are calibrated with the collection's own."""
        log = pair.texts[-50:]
        options = QUICK | {"calibrations": {"q": QuantileMap()}, "aligners": []}
        found = recommend(pair, queries=Sides(texts=log), **options)
        assert not found.leaderboard.failures
        assert found.chosen == Combination("raw", "q")
        expected = QuantileMap().fit(Sides(pair.images, log), Sides(pair.images, pair.texts))
        fitted = found.space.calibration.fitted_
        assert fitted.keys() == expected.fitted_.keys()
        for name, array in expected.fitted_.items():
            np.testing.assert_allclose(fitted[name], array, atol=1e-3, err_msg=name)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"queries": Sides(texts=np.ones((1, 24)))}, "text queries must be at least 2 rows"),
            ({"queries": Sides(NAN[:3])}, "^image queries must be finite .* in row 1 "),
            ({"queries": Sides(texts=np.ones((3, 5)))}, "text queries .* be of dimension 24, .* 5"),
            ({"queries": np.ones((9, 24))}, r"queries must be Sides\(images, texts\)"),
            ({"fit_on": EmbeddingPair(*np.ones((2, 9, 5)))}, "data to fit on must be of dimension"),
            ({"fit_on": SAME}, "others than the collection, got the same images"),
            ({"fit_on": ZERO}, "^texts to fit on must be non-zero .* in row 4 "),
            ({"pair": EmbeddingPair(NAN, NAN)}, "^images must be finite .* in row 1 "),
            ({"pair": ZERO}, "^texts must be non-zero .* in row 4 "),
            ({"pair": EmbeddingPair(SAME.images, SAME.texts)}, "images and texts must be paired"),
            ({"max_loss": -1}, "max_loss must be at least 0"),
            ({"aligners": ["nothing"]}, "the method must be one of"),
        ],
    )
    def test_what_it_refuses(self, pair: EmbeddingPair, options: dict, message: str) -> None:
        with pytest.raises((InputError, InputTypeError), match=message):
            recommend(options.pop("pair", pair), **options)


def test_the_leaderboard_holds_every_combination(pair: EmbeddingPair) -> None:
    board = bench_mixed(pair, aligners=["balanced"], n_splits=2, n_resamples=100)
    names = {line.what.calibration for line in board.lines}
    assert set(FUSIONS) <= names
    assert {line.what.aligner for line in board.lines} == {"raw", "balanced"}
    values = [line.estimates[board.objective].value for line in board.lines]
    assert values == sorted(values, reverse=True)
    assert not board.failures
    versus = against_published(board)
    text, page = to_markdown(board, versus), to_html(board, versus)
    assert text.count("\n| ") == len(board.lines) + 2
    assert page.count("<tr>") == len(board.lines) + 1
    for one in versus:
        assert f"- {sentence_of(one)}\n" in text
        assert f"<p>{sentence_of(one)}</p>" in page


def board_of(
    values: dict[Combination, np.ndarray], exposure: float = 1.0, *, twice: bool = True
) -> Leaderboard:
    """Return a leaderboard of values of each image; all lose nothing within a modality.

    `twice` says that each item is in the pool as an image and as a text.
    """
    table = {
        what: {
            "mixed_ndcg_at_10": mixed,
            **({"ndcg_at_10": np.ones(len(mixed))} if twice else {}),
            "recall_at_1": np.ones(len(mixed)),
            "exposure.image_to_text": np.full(len(mixed), exposure),
        }
        for what, mixed in values.items()
    }
    return Leaderboard.from_values(
        "toy", table, Tally(), about="", n_judged=200, n_resamples=100, random_state=0
    )


class TestEachStepMustBeSure:
    both, scores, geometry = (
        Combination("balanced", "nnn"), Combination("raw", "nnn"), Combination("balanced")
    )  # fmt: skip

    def board(self, scores: float, geometry: float, noise: float) -> Leaderboard:
        """Both together reach .5; what each reaches alone, and how much images differ."""
        rng, signs = np.random.default_rng(1), np.repeat([-1.0, 1.0], 100)
        values = {
            Combination(): np.zeros(200),
            self.both: np.full(200, 0.5),
            self.scores: scores + noise * rng.permutation(signs),
            self.geometry: geometry + noise * rng.permutation(signs),
        }
        return board_of(values)

    def test_one_of_two_is_chosen_where_the_other_adds_little_that_is_not_sure(self) -> None:
        for scores, geometry, noise, expected in (
            (0.3, 0.3, 0.1, self.both),
            (0.497, 0.3, 0.1, self.scores),
            (0.3, 0.497, 0.1, self.geometry),
            (0.497, 0.496, 0.1, self.scores),
            (0.496, 0.497, 0.1, self.geometry),  # the better one
            (0.497, 0.497, 0.001, self.both),  # little, and sure
            (0.49, 0.49, 0.5, self.both),  # not sure, and not little
        ):
            chosen, passed_over = choose(self.board(scores, geometry, noise), 0.02)
            assert chosen == expected
            assert (self.both in passed_over) == (expected != self.both)
        board = self.board(0.497, 0.3, 0.1)  # one that may not be chosen takes no place
        unfair = {"image_to_text": Estimate(2.0, 2.0, 2.0)}
        lines = tuple(
            replace(line, exposure=unfair) if line.what == self.scores else line
            for line in board.lines
        )
        assert choose(replace(board, lines=lines), 0.02)[0] == self.both


class TestAgainstPublished:
    raw, z, rrf = Combination(), Combination("raw", "z-score"), Combination("raw", "rrf")
    ours = (Combination("balanced", "nnn"), Combination("balanced", "z-score"))

    def test_the_choice_is_judged_on_what_it_was_not_made_by(self) -> None:
        """Each of two is perfect on one half and useless on the other: chosen, worth nothing."""
        first = np.random.default_rng(0).permutation(200) % 2 == 0
        values = {
            self.raw: np.zeros(200),
            self.ours[0]: np.where(first, 1.0, 0.0),
            self.ours[1]: np.where(first, 0.0, 1.0),
            self.z: np.full(200, 0.4),
        }
        (found,) = against_published(board_of(values))
        assert found.chosen == (self.ours[0], self.ours[1])
        assert found.published == self.z
        assert found.ours.value == 0
        assert found.change.value == pytest.approx(-0.4)
        assert found.p_value < 0.001
        noise = np.random.default_rng(1).uniform(0.2, 0.8, 200)  # the difference is paired
        values = {self.raw: np.zeros(200), self.ours[0]: noise + 0.01, self.z: noise}
        (found,) = against_published(board_of(values))
        assert (found.change.low, found.change.high) == pytest.approx((0.01, 0.01))

    def test_unfair_rivals_and_choices_do_not_count_one_sided(self) -> None:
        values = {self.raw: np.zeros(200), self.ours[0]: np.ones(200), self.z: np.full(200, 0.4)}
        assert against_published(board_of(values, exposure=1.9)) == []
        (found,) = against_published(board_of(values, exposure=1.9, twice=False))
        assert (found.chosen[0], found.published) == (self.ours[0], self.z)

    def test_merged_lists_are_rivals_but_no_choice(self) -> None:
        values = {
            self.raw: np.zeros(200),
            self.ours[0]: np.full(200, 0.5),
            self.z: np.full(200, 0.4),
            self.rrf: np.full(200, 0.9),
        }
        assert is_published(Combination("mean-centering"))
        assert not is_published(Combination("raw", "z-score after nnn"))
        assert not is_published(Combination("mean-centering", "z-score"))
        merged, scored = against_published(board_of(values))
        assert (merged.published, scored.published) == (self.rrf, self.z)
        assert merged.chosen == scored.chosen == (self.ours[0], self.ours[0])
        assert scored.kind.endswith("that does not merge two lists")


def test_many_rivals_do_not_hide_a_sure_gain() -> None:
    """The smallest p that permutations can give must survive the correction for their number."""
    values = {Combination(): np.zeros(200)}
    values |= {Combination("balanced", str(i)): np.ones(200) for i in range(120)}
    assert all(line.p_values["mixed_ndcg_at_10"] < 0.05 for line in board_of(values).lines[:-1])
