"""The sweep of the gap: held out for real, right against loops, and honest in its conclusion."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scipy.stats import skew

import reference
from fillgap.datasets.scenes import ClassPrompts
from fillgap.errors import InputError, InputTypeError
from fillgap.evaluation import held_out_splits, zero_shot
from fillgap.evaluation.statistics import Estimate
from fillgap.metrics import retrieval
from fillgap.metrics.intervals import bootstrap_interval
from fillgap.metrics.scan import scan_pool
from fillgap.pair import EmbeddingPair
from fillgap.papers.gap_sweep import (
    AMOUNTS,
    GapSweep,
    SweepPoint,
    check_figure,
    sweep_gap,
    write_sweep_figure,
)
from worlds import make_gapped

QUICK = {"n_splits": 2, "n_resamples": 100}
BOTH = {"image_to_text": "image", "text_to_image": "text"}


def twins(n: int = 80, d: int = 10, *, seed: int = 0) -> EmbeddingPair:
    """Pairs that differ by the gap alone, off a common centroid: closing it makes them equal."""
    rng = np.random.default_rng(seed)
    meaning = np.zeros((n, d))
    meaning[:, :-1] = rng.normal(size=(n, d - 1)) + 2 * (np.arange(d - 1) == 0)
    meaning /= np.linalg.norm(meaning, axis=1, keepdims=True)
    gap = 1.5 * np.eye(d)[-1]
    labels = np.argmax(meaning[:, 1:5], axis=1)
    return EmbeddingPair(meaning + gap, meaning - gap, labels=labels, name="twins")


def prompts_for(d: int) -> ClassPrompts:
    rows = np.repeat(np.eye(d)[1:5], 2, axis=0) + 0.05 - 1.5 * np.eye(d)[-1]
    return ClassPrompts(rows.astype(np.float32), np.repeat(np.arange(4), 2), ["p"] * 8, ["c"] * 4)


@pytest.fixture(scope="module")
def swept() -> GapSweep:
    return sweep_gap(twins(), prompts=prompts_for(10), **QUICK)


@pytest.fixture(scope="module")
def captioned() -> EmbeddingPair:
    """44 images with two texts each, in mixed order."""
    X, Y = make_gapped(44, 6, seed=3)
    index = np.random.default_rng(1).permutation(np.repeat(np.arange(44), 2))
    texts = Y[index] + 0.1 * np.random.default_rng(2).normal(size=(88, 6))
    return EmbeddingPair(X, texts, image_index=index, labels=np.arange(44) % 3)


@pytest.fixture(scope="module")
def classes() -> ClassPrompts:
    rows = make_gapped(9, 6, seed=4)[1]
    return ClassPrompts(rows, np.arange(9) % 3, ["p"] * 9, ["c"] * 3)


@pytest.fixture(scope="module")
def found(captioned: EmbeddingPair, classes: ClassPrompts) -> GapSweep:
    amounts = (0.9, -0.4, 0.3, 0.5, 0.3)
    return sweep_gap(
        captioned, amounts=amounts, prompts=classes, n_splits=1, n_resamples=100, random_state=5
    )


class TestAgainstLoops:
    """One split, and everything again by hand."""

    def by_hand(self, pair, amount):
        """The held-out images and texts, moved by the gap of the others."""
        ((train, test),) = held_out_splits(pair, n_splits=1, random_state=5)
        index = np.asarray(pair.image_index)
        X, Y = reference.unit(pair.images), reference.unit(pair.texts)
        delta = X[train].mean(axis=0) - Y[np.isin(index, train)].mean(axis=0)
        kept = np.flatnonzero(np.isin(index, test))
        new = {int(row): place for place, row in enumerate(test)}
        moved = reference.unit(X[test] - amount * delta), reference.unit(Y[kept] + amount * delta)
        return (*moved, [new[int(i)] for i in index[kept]]), delta, test

    @pytest.mark.parametrize("amount", [-0.4, 0.0, 0.3, 0.5, 0.9])
    def test_every_measure(self, captioned, classes, found, amount) -> None:
        point = next(point for point in found.points if point.amount == amount)
        (X, Y, index), delta, test = self.by_hand(captioned, amount)
        for direction, kind in BOTH.items():
            got = {name: item[direction].value for name, item in point.estimates.items()
                   if direction in item}  # fmt: skip
            assert got == pytest.approx(
                {
                    "mixed_ndcg_at_10": reference.ndcg(X, Y, index, 10, kind, True),
                    "recall_at_1": reference.recall(X, Y, index, 1, kind, False),
                    "exposure_at_10": reference.exposure(X, Y, 10, kind),
                }
            )
        cosines = [[X[i] @ Y[t] for t in range(len(Y)) if index[t] == i] for i in range(len(X))]
        assert point.mean("pair_cosine").value == pytest.approx(np.mean(cosines))
        x, y = X.mean(axis=0), Y.mean(axis=0)
        angle = math.degrees(math.acos(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))
        signed = angle if (x - y) @ delta > 0 else -angle
        assert point.mean("gap_angle").value == pytest.approx(signed, abs=1e-6)
        counts = np.zeros(len(X) + len(Y))
        for _, _, items in reference.neighbourhoods(X, Y, 10):
            np.add.at(counts, items, 1)
        assert point.mean("hubness").value == pytest.approx(skew(counts))
        # Prompts move as texts do.
        rows = reference.unit(reference.unit(classes.texts) + amount * delta)
        labels = captioned.labels[test]
        classified = zero_shot(X, labels, rows, classes.labels, k=1, n_resamples=100)
        assert point.mean("zero_shot_top_1").value == pytest.approx(classified.accuracy[1].value)

    def test_intervals_draw_the_texts_of_an_image_together(self, captioned, found) -> None:
        (X, Y, index), _, _ = self.by_hand(captioned, 0.0)
        queries = scan_pool(X, Y, index, n_neighbors=10).text_queries
        values = retrieval.recall(queries, 1, mixed=False)
        expected = bootstrap_interval(values, index, n_resamples=100, random_state=5)
        item = found.raw.estimates["recall_at_1"]["text_to_image"]
        assert (item.low, item.high) == (expected.low[0], expected.high[0])


class TestKnownAnswers:
    def test_twins_meet_where_the_gap_closes(self, swept: GapSweep) -> None:
        closed = next(point for point in swept.points if point.amount == 0.5)
        for measure in ("mixed_ndcg_at_10", "pair_cosine"):
            assert closed.mean(measure).value > 0.99
            assert swept.best(measure) is closed
        assert abs(closed.angle) < 3
        assert closed.p_values["mixed_ndcg_at_10"] < 0.01
        assert set(closed.p_values) == {"mixed_ndcg_at_10", "recall_at_1", "zero_shot_top_1"}
        for measure in ("mixed_ndcg_at_10", "exposure_at_10"):
            assert swept.raw.mean(measure).value < 0.05
        angles = [point.angle for point in swept.points]
        assert angles == sorted(angles, reverse=True)
        assert angles[-1] == pytest.approx(-swept.raw.angle, abs=4)
        assert angles[0] > swept.raw.angle + 5

    def test_values_lie_in_their_intervals_and_changes_are_from_the_raw_gap(
        self, swept: GapSweep
    ) -> None:
        assert [point.amount for point in swept.points] == list(AMOUNTS)
        assert swept.raw.changes == swept.raw.p_values == {}
        for point in swept.points:
            for directions in point.estimates.values():
                for item in directions.values():
                    assert item.low <= item.value <= item.high
            assert point.mean("gap_angle").low < point.mean("gap_angle").high
            for measure, change in point.changes.items():
                difference = point.mean(measure).value - swept.raw.mean(measure).value
                assert change.value == pytest.approx(difference)

    def test_p_values_are_corrected_for_the_number_of_amounts(self) -> None:
        pair = twins(40, 8)
        few = sweep_gap(pair, amounts=[0.4], **QUICK).points[1].p_values["mixed_ndcg_at_10"]
        several = sweep_gap(pair, amounts=[0.4, 0.41, 0.42, 0.43, 0.44], **QUICK)
        assert several.points[1].p_values["mixed_ndcg_at_10"] == pytest.approx(5 * few, rel=0.5)

    def test_without_prompts_there_is_no_zero_shot(self, tmp_path) -> None:
        found = sweep_gap(twins(30), amounts=[0.5], **QUICK)
        write_sweep_figure(found, tmp_path / "a.svg")  # one panel stays empty
        assert "zero-shot" not in (tmp_path / "a.svg").read_text(encoding="utf-8")
        assert "zero_shot_top_1" not in found.measures
        assert "zero-shot" not in found.conclusion
        assert [point.amount for point in found.points] == [0.0, 0.5]

    def test_it_is_seeded_and_reports_progress(self) -> None:
        seen: list[tuple[int, int | None, str]] = []
        options = {"amounts": [0.5], "progress": lambda *step: seen.append(step), **QUICK}
        runs = [sweep_gap(twins(30), random_state=seed, **options).to_dict() for seed in (0, 0, 1)]
        assert runs[0] == runs[1]
        assert runs[0] != runs[2]
        assert seen[:5] == [(0, 4, "λ = 0"), (1, 4, "λ = 0.5"), (2, 4, "λ = 0"), (3, 4, "λ = 0.5"),
                            (4, 4, "done")]  # fmt: skip

    def test_json_holds_it(self, swept: GapSweep) -> None:
        document = json.loads(json.dumps(swept.to_dict(), allow_nan=False))
        assert document["conclusion"] == swept.conclusion
        assert document["n_fit"] + document["n_test"] == document["n_images"] == 80
        point = document["points"][7]
        assert point["amount"] == 0.5
        assert point["estimates"]["recall_at_1"]["mean"]["value"] == 1.0


def made(**values: dict[float, float]) -> GapSweep:
    """A sweep with these values of a measure by λ; a change is sure if it exceeds .1."""
    amounts = sorted(next(iter(values.values())))
    points = []
    for amount in amounts:
        here = {name: v[amount] for name, v in values.items()} | {"gap_angle": 70 - 140 * amount}
        table = {name: {"mean": Estimate(v, v, v)} for name, v in here.items()}
        change = {name: v[amount] - v[0.0] for name, v in values.items()}
        points.append(
            SweepPoint(
                amount,
                table,
                {name: Estimate(c, c - 0.1, c + 0.1) for name, c in change.items()},
                {name: 0.001 if abs(c) > 0.1 else 0.4 for name, c in change.items()},
            )
        )
    return GapSweep("made", 10, 10, 4, 2, 5, 5, tuple(points))


class TestConclusion:
    @pytest.mark.parametrize(
        ("amount", "words"),
        [
            (-0.5, "peaks with the gap opened (λ = -0.5, Δθ = 140.0°), at 0.500 instead of 0.200"),
            (0.25, "peaks with the gap partly closed (λ = 0.25, Δθ = 35.0°), at 0.500"),
            (0.5, "peaks with the gap closed (λ = 0.5, Δθ = 0.0°), at 0.500"),
            (1.0, "peaks with the gap over-corrected (λ = 1, Δθ = -70.0°), at 0.500"),
        ],
    )
    def test_it_says_where_the_peak_is(self, amount: float, words: str) -> None:
        values = dict.fromkeys((-0.5, 0.0, 0.25, 0.5, 1.0), 0.2) | {amount: 0.5}
        sentence = made(mixed_ndcg_at_10=values).conclusion
        assert sentence.startswith("The raw gap is Δθ = 70.0°: mixed NDCG@10 " + words)
        assert "(+0.300, 95 % interval +0.200 to +0.400)" in sentence
        assert sentence.endswith(".")
        assert "chance" not in sentence

    def test_the_raw_gap_may_be_best_and_wins_ties(self) -> None:
        found = made(
            mixed_ndcg_at_10={-0.5: 0.2, 0.0: 0.2, 0.5: 0.2},
            recall_at_1={-0.5: 0.1, 0.0: 0.15, 0.5: 0.2},
        )
        assert found.conclusion == (
            "The raw gap is Δθ = 70.0°: mixed NDCG@10 peaks with the gap as it is, at 0.200; "
            "recall@1 within the other modality peaks with the gap closed (λ = 0.5, Δθ = 0.0°), "
            "at 0.200 instead of 0.150 (+0.050, 95 % interval -0.050 to +0.150, "
            "which may be chance)."
        )


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"amounts": [0.1, math.nan]}, "an amount must be finite, got nan"),
            ({"amounts": [0.1, math.inf]}, "an amount must be finite, got inf"),
            ({"amounts": ["half"]}, "an amount must be a number, got 'half'"),
            ({"n_splits": 0}, "n_splits must be at least 1, got 0"),
            ({"n_resamples": 5}, "n_resamples must be at least 100, got 5"),
        ],
    )
    def test_parameters(self, change: dict, sentence: str) -> None:
        with pytest.raises((InputError, InputTypeError), match=sentence):
            sweep_gap(twins(20), **change)

    @pytest.mark.parametrize(
        ("of_pair", "prompts", "sentence"),
        [
            ({"paired": False}, None, "must be paired to be judged on held-out rows"),
            ({}, prompts_for(6), "labels of the images must be given with class"),
            ({"labels": np.full(20, 9)}, prompts_for(6), "got 9 without a prompt"),
        ],
    )
    def test_data(self, of_pair: dict, prompts: ClassPrompts | None, sentence: str) -> None:
        pair = EmbeddingPair(*make_gapped(20, 6, seed=0), **of_pair)
        with pytest.raises(InputError, match=sentence):
            sweep_gap(pair, prompts=prompts, **QUICK)


class TestFigure:
    def test_it_is_whole_repeats_and_keeps_its_text(self, swept: GapSweep, tmp_path) -> None:
        import matplotlib as mpl

        before = dict(mpl.rcParams)
        paths = [tmp_path / name for name in ("a.svg", "b.svg")]
        for path in paths:
            write_sweep_figure(swept, path)
        assert dict(mpl.rcParams) == before
        assert paths[0].read_bytes() == paths[1].read_bytes()
        assert sorted(tmp_path.iterdir()) == paths
        root = ET.parse(paths[0]).getroot()
        assert root.tag.endswith("svg")
        words = " ".join(element.text or "" for element in root.iter())
        for label in ("mixed NDCG@10", "recall@1", "exposure@10", "mean pair cosine",
                      "zero-shot accuracy", "hubness", "image queries", "twins"):  # fmt: skip
            assert label in words

    def test_places_that_are_refused(self, swept: GapSweep, tmp_path) -> None:
        with pytest.raises(InputError, match=r"must be a file that ends in \.svg, got .*a\.png"):
            write_sweep_figure(swept, tmp_path / "a.png")
        with pytest.raises(InputError, match="must be in a folder that exists"):
            write_sweep_figure(swept, tmp_path / "missing" / "a.svg")
        (tmp_path / "old.svg").write_text("precious")
        with pytest.raises(InputError, match="exists already"):
            check_figure(tmp_path / "old.svg", overwrite=False)
