"""Aligner and calibration chosen together: what is chosen, what it says, and the leaderboard."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from conftest import of_another_kind, two_texts
from fillgap import EmbeddingPair, InputError, InputTypeError, Sides, recommend
from fillgap.bench.mixed import bench_mixed
from fillgap.bench.pages import against_published, is_published, sentence_of, to_html, to_markdown
from fillgap.calibration import QuantileMap, ZScore, reciprocal_rank_fusion
from fillgap.errors import unit_rows
from fillgap.evaluation import Estimate
from fillgap.evaluation.combine import FUSIONS, fused
from fillgap.evaluation.leaderboard import Combination, Leaderboard, Tally
from fillgap.evaluation.recommend import choose
from fillgap.evaluation.shortlists import all_scores, calibrated
from fillgap.metrics import (
    expected_calibration_error,
    exposure_at_k,
    mixed_ndcg_at_k,
    precision_at_threshold,
    recall_at_k,
)
from reference_lists import one_sided_values

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
        rows = {
            "image": part.images / np.linalg.norm(part.images, axis=1, keepdims=True),
            "text": part.texts / np.linalg.norm(part.texts, axis=1, keepdims=True),
        }
        found = one_sided_values(all_scores(rows, calibrated(None)), np.asarray(part.image_index))
        for name, expected in (
            ("mixed_ndcg_at_10", mixed_ndcg_at_k(part)),
            ("recall_at_1", recall_at_k(part, k=1)),
            ("exposure_at_10", exposure_at_k(part)),
        ):
            for direction in ("image_to_text", "text_to_image"):
                got = found[name, direction].mean()
                assert got == pytest.approx(getattr(expected, direction), abs=1e-9), name

    def test_a_query_is_in_no_list_that_is_fused(self) -> None:
        """With as many of each kind, ranks alone show as many of each kind."""
        rng = np.random.default_rng(0)
        rows = {side: unit_rows(rng.normal(size=(31, 8)), side) for side in ("image", "text")}
        scorer = fused(reciprocal_rank_fusion)
        scores = all_scores(rows, scorer)
        found = one_sided_values(scores, np.arange(31))
        for query, other in (("image", "text"), ("text", "image")):
            best = [scores[query][side].max(axis=1).tolist() for side in (query, other)]
            assert best == [[1 / 61] * 31] * 2
            assert (np.diag(scores[query][query]) == -np.inf).all()
        for direction in ("image_to_text", "text_to_image"):
            together = found["exposure_at_10", direction] * 31 / 61  # share of the first ten
            assert together.tolist() == pytest.approx([0.5] * 31), direction


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
        halves, real = [], Leaderboard.from_tally

        def watched(*given, images, **options):  # type: ignore[no-untyped-def]
            halves.append(images)
            return real(*given, images=images, **options)

        monkeypatch.setattr(Leaderboard, "from_tally", watched)
        recommend(pair, aligners=["mean-centering"], **QUICK)
        assert (halves[0] != halves[1]).all()

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

    def test_one_text_an_image_is_judged_one_sided(self, pair: EmbeddingPair) -> None:
        found = recommend(EmbeddingPair(pair.images, pair.texts[::2]), **QUICK)
        assert found.objective == "mixed_ndcg_at_10"

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

    def test_advice_against_other_data_says_whose_figures_they_are(
        self, pair: EmbeddingPair
    ) -> None:
        rng = np.random.default_rng(0)
        noise = EmbeddingPair(rng.normal(size=(90, 24)), rng.normal(size=(70, 24)), name="noise")
        found = recommend(pair, fit_on=noise, aligners=["spectral"], max_loss=0.0, **QUICK)
        assert found.chosen is None
        assert found.sentence.endswith(
            "These are figures of fits to other data (noise: 90 images, 70 texts)."
        )

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
            (
                {"queries": Sides(texts=np.ones((3, 5)))},
                "text queries must be of dimension 24, .* 5",
            ),
            ({"queries": np.ones((9, 24))}, r"queries must be Sides\(images, texts\)"),
            (
                {"fit_on": EmbeddingPair(*np.ones((2, 9, 5)))},
                "data to fit on must be of dimension 24",
            ),
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


def test_a_calibration_is_fitted_to_a_sample_whose_pairs_are_known(
    monkeypatch: pytest.MonkeyPatch, pair: EmbeddingPair
) -> None:
    """Of more rows than a bank should hold, some are taken; what is relevant is numbered anew."""
    monkeypatch.setattr("fillgap.evaluation.combine._SAMPLE", 40)
    sides = [
        side / np.linalg.norm(side, axis=1, keepdims=True) for side in (pair.images, pair.texts)
    ]
    seen = []

    class Watched(ZScore):
        def fit(self, queries, documents, *, relevant=None, progress=None):  # type: ignore[no-untyped-def]
            if not seen:  # the first fit is to raw rows, whose origin can be told
                images, texts = (
                    np.argmax(part @ whole.T, axis=1)
                    for part, whole in zip((queries.images, documents.texts), sides, strict=True)
                )
                assert len(images) == len(texts) == 40
                for image, text in relevant["image", "text"]:
                    seen.append(images[image] == np.asarray(pair.image_index)[texts[text]])
            return super().fit(queries, documents)

    recommend(
        pair, aligners=["mean-centering"], calibrations={"watched": Watched(on="all")},
        n_splits=1, n_resamples=100,
    )  # fmt: skip
    assert len(seen) > 5
    assert all(seen)


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

    def test_one_that_may_not_be_chosen_takes_no_place(self) -> None:
        board = self.board(0.497, 0.3, 0.1)
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

    def test_the_difference_is_paired(self) -> None:
        noise = np.random.default_rng(1).uniform(0.2, 0.8, 200)
        values = {self.raw: np.zeros(200), self.ours[0]: noise + 0.01, self.z: noise}
        (found,) = against_published(board_of(values))
        assert found.change.low == pytest.approx(0.01)
        assert found.change.high == pytest.approx(0.01)

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


class TestProbabilities:
    def test_a_true_promise_has_no_error(self) -> None:
        rng = np.random.default_rng(0)
        p = rng.uniform(size=200_000)
        assert expected_calibration_error(p, rng.uniform(size=p.size) < p) < 0.01
        assert expected_calibration_error(p, rng.uniform(size=p.size) < p**2) > 0.1
        assert expected_calibration_error([0.3, 0.3], [True, False]) == pytest.approx(0.2)

    def test_precision(self) -> None:
        marks = [False, True, True, False]
        assert precision_at_threshold([0.9, 0.8, 0.7, 0.1], marks, threshold=0.7) == 2 / 3
        assert np.isnan(precision_at_threshold([0.1], [True], threshold=0.5))

    def test_what_they_refuse(self) -> None:
        with pytest.raises(InputError, match="probabilities must be between 0 and 1, got 0 to 2"):
            expected_calibration_error([0.0, 2.0], [True, False])
        with pytest.raises(InputError, match="must be of one shape and not empty"):
            precision_at_threshold([0.1], [True, False], threshold=0.5)
        with pytest.raises(InputError, match="scores must be finite"):
            precision_at_threshold([np.nan], [True], threshold=0.5)
        with pytest.raises(InputError, match="n_bins must be at least 1"):
            expected_calibration_error([0.5], [True], n_bins=0)
