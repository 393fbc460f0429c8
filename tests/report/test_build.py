"""What a report computes, from which rows, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest import make_gapped
from fillgap.aligners import (
    METHODS,
    MeanCentering,
    OrthogonalProcrustes,
    RidgeRegression,
    load_aligner,
    save_aligner,
)
from fillgap.aligners.base import SumAligner
from fillgap.aligners.methods import Provenance
from fillgap.errors import InputError
from fillgap.evaluation import held_out_splits
from fillgap.metrics import measure
from fillgap.pair import EmbeddingPair, fingerprint
from fillgap.report import Files, build, build_report, panels
from fillgap.report.markdown import render_json
from report_pairs import (
    pair_with_everything,
    two_methods,
    unpaired_pair,
    unpaired_report,
    whole_report,
)


def test_measures_before_and_after_are_of_rows_that_were_not_fitted() -> None:
    shown, pair = whole_report().shown, pair_with_everything()
    assert whole_report().measured.verdict == measure(pair).verdict
    train, test = next(held_out_splits(pair, n_splits=1))
    fitted = METHODS[shown.name]().fit(*_sides(pair.take_images(np.sort(train))))
    part = pair.take_images(np.sort(test))
    aligned = part.with_vectors(*fitted.transform_pair(part.images, part.texts))
    for found, expected in ((shown.before, measure(part)), (shown.after, measure(aligned))):
        assert found.values["recall_at_10"] == expected.values["recall_at_10"]
        assert found.values["exposure_at_10"] == expected.values["exposure_at_10"]


def _sides(pair: EmbeddingPair) -> tuple[np.ndarray, np.ndarray]:
    return pair.images, pair.texts


def test_the_recommended_method_is_shown_or_else_the_best_for_what_it_would_do() -> None:
    advice = two_methods().recommendation
    assert whole_report().shown.name == advice.method
    assert "as recommended" in whole_report().shown.sentence
    none = replace(advice, method=None, passed_over={"mean-centering": "x"})
    comparison = replace(two_methods(), recommendation=none)
    shown = build_report(pair_with_everything(), comparison=comparison, quick=True).shown
    assert shown.name == "mean-centering"
    assert shown.sentence.startswith("No method is recommended; mean-centering is shown")


def test_a_given_method_is_fitted_to_half_and_shown() -> None:
    report = build_report(
        pair_with_everything(), aligner=RidgeRegression(), comparison=two_methods(), quick=True
    )
    assert report.shown.name == "ridge-regression"
    assert report.shown.sentence.startswith("Shown as asked. It was fitted to 30 images")
    assert report.comparison is two_methods()


def test_a_fitted_aligner_is_taken_as_it_is_for_other_rows_and_with_a_doubt(tmp_path) -> None:
    X, Y = make_gapped(80, 16, seed=9)
    file = save_aligner(
        MeanCentering().fit(X, Y), tmp_path / "a.safetensors",
        provenance=Provenance(data_hash=fingerprint(X, Y)),
    )  # fmt: skip
    aligner, pair = load_aligner(file), pair_with_everything()
    report = build_report(pair, aligner=aligner, comparison=two_methods(), quick=True)
    assert report.shown.after.n_images == pair.n_images
    assert report.shown.sentence.endswith("to 80 images and 80 texts, not to those here.")
    aligned = pair.with_vectors(*aligner.transform_pair(pair.images, pair.texts))
    assert report.shown.after.values["tmr"] == measure(aligned).values["tmr"]
    unknown = MeanCentering().fit(*_sides(pair))
    report = build_report(pair, aligner=unknown, comparison=two_methods(), quick=True)
    doubt = "nothing says to which: if to those here, what follows flatters it."
    assert doubt in report.shown.sentence


@pytest.mark.parametrize("aligner", [MeanCentering(), OrthogonalProcrustes()], ids=repr)
def test_an_aligner_of_these_very_rows_is_fitted_again(aligner, tmp_path) -> None:
    pair = pair_with_everything()
    sides = pair.matched() if aligner.needs_pairs else _sides(pair)
    provenance = Provenance(data_hash=fingerprint(*sides))
    file = save_aligner(aligner.fit(*sides), tmp_path / "a.safetensors", provenance=provenance)
    report = build_report(pair, aligner=load_aligner(file), comparison=two_methods(), quick=True)
    assert "fitted to these very rows" in report.shown.sentence
    assert report.shown.after.n_images == pair.n_images // 2


def test_the_fingerprint_of_the_files_counts_where_only_a_sample_was_read(tmp_path) -> None:
    pair = pair_with_everything()
    file = save_aligner(
        MeanCentering().fit(*_sides(pair)), tmp_path / "a.safetensors",
        provenance=Provenance(data_hash=fingerprint(*_sides(pair))),
    )  # fmt: skip
    files = Files("i.npy", "t.npy", fingerprint=fingerprint(*_sides(pair)))
    report = build_report(
        pair.take_images(np.arange(50)), aligner=load_aligner(file), files=files,
        comparison=two_methods(), quick=True,
    )  # fmt: skip
    assert "fitted to these very rows" in report.shown.sentence


def test_an_aligner_of_another_dimension_is_refused_before_anything_long(monkeypatch) -> None:
    fitted = MeanCentering().fit(*make_gapped(30, 8, seed=0))
    monkeypatch.setattr(build, "compare", None)
    with pytest.raises(InputError, match="must be of dimension 8, as in the fit"):
        build_report(pair_with_everything(), aligner=fitted)
    with pytest.raises(InputError, match="must be paired"):
        build_report(unpaired_pair(), aligner=OrthogonalProcrustes(), quick=True)


def test_unpaired_sets_leave_out_what_needs_pairs_with_one_sentence_each() -> None:
    report = unpaired_report()
    assert report.comparison is None
    assert report.similarities == ()
    assert report.left_out["comparison"].startswith("Without pairs no method can be judged.")
    assert report.left_out["similarities"].startswith("Without pairs there is nothing")
    assert report.shown.name == "balanced"
    assert report.shown.after.n_images == 30
    assert not any(hit.is_own for query in report.queries for hit in query.hits["raw"])


def test_rows_that_cannot_be_measured_leave_only_the_verdict() -> None:
    pair = pair_with_everything(20)
    pair.images[3, 2] = np.nan
    report = build_report(pair)
    assert report.measured.verdict.kind == "fault"
    assert list(report.left_out) == ["all"]
    assert report.projections == report.queries == ()


def test_a_fault_is_shown_and_no_method_is_recommended() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(80, 16)) + 2, rng.normal(size=(80, 16)) - 2
    report = build_report(EmbeddingPair(X, Y), quick=True)
    assert report.measured.verdict.kind == "fault"
    assert report.left_out["comparison"].endswith("the fault must be mended first.")
    assert report.shown is report.usage is None
    assert [pair.label for pair in report.projections[0].pairs] == ["raw"]


def test_collapsed_images_have_no_spectrum_but_a_report() -> None:
    pair = pair_with_everything(30)
    pair.images[:] = pair.images[0]
    report = build_report(pair, quick=True)
    assert report.subspaces == ()
    assert "more than one point" in report.left_out["subspaces"]


def test_too_few_images_to_judge_leave_the_rest() -> None:
    X, Y = make_gapped(3, 8, seed=0)
    report = build_report(EmbeddingPair(X, Y), quick=True)
    assert "at least 4 different ones" in report.left_out["comparison"]
    assert "at least 4 different ones" in report.left_out["measures"]
    assert report.shown is None
    assert report.queries


@pytest.mark.parametrize("quick", [True, False])
def test_what_is_compared(quick, monkeypatch) -> None:
    seen = {}

    def record(pair, methods, *, n_splits, **_):
        seen.update(methods=methods, n_splits=n_splits)
        return two_methods()

    monkeypatch.setattr(build, "compare", record)
    monkeypatch.setattr(build, "project_more", lambda *_, **__: ((), None))
    given = RidgeRegression(ridge=0.5)
    report = build_report(pair_with_everything(), aligner=given, quick=quick)
    names = [name for name, cls in METHODS.items() if issubclass(cls, SumAligner) or not quick]
    assert list(seen["methods"]) == [*names, "ridge-regression (as shown)"]
    assert seen["methods"]["ridge-regression (as shown)"] is given
    assert seen["n_splits"] == (2 if quick else 5)
    assert dict(report.shown.parameters) == {"ridge": 0.5}


@pytest.mark.parametrize("paired", [True, False])
def test_of_many_rows_some_are_drawn_and_the_report_says_so(paired, monkeypatch) -> None:
    monkeypatch.setattr(panels, "MAX_IMAGES", 40)
    pair = pair_with_everything() if paired else unpaired_pair()
    drawn, sentence = panels.draw_pair(pair, random_state=3)
    again, _ = panels.draw_pair(pair, random_state=3)
    other, _ = panels.draw_pair(pair, random_state=4)
    assert drawn.image_ids == again.image_ids != other.image_ids
    assert drawn.n_images == 40
    assert drawn.n_texts == (80 if paired else 40)
    assert sentence == (
        f"Drawn at random: 40 of {pair.n_images} images, and {drawn.n_texts} of {pair.n_texts} "
        "texts."
    )
    for name, row in zip(drawn.image_ids, drawn.images, strict=True):
        np.testing.assert_array_equal(row, pair.images[list(pair.image_ids).index(name)])
    if paired:
        for caption, owner in zip(drawn.captions, drawn.image_index, strict=True):
            assert caption.split()[1] == drawn.image_ids[owner][6:-4]


def test_rows_without_names_are_called_by_their_number_in_the_file(monkeypatch) -> None:
    monkeypatch.setattr(panels, "MAX_IMAGES", 10)
    pair = replace(pair_with_everything(30), image_ids=None)
    drawn, _ = panels.draw_pair(pair, random_state=0)
    for kept, ids in ((drawn.images, drawn.image_ids), (drawn.texts, drawn.text_ids)):
        whole = pair.images if kept is drawn.images else pair.texts
        for row, name in zip(kept, ids, strict=True):
            np.testing.assert_array_equal(row, whole[int(name.split()[1])])


def test_equal_seeds_give_equal_reports_and_others_do_not() -> None:
    pair = pair_with_everything()
    before = pair.images.copy(), pair.texts.copy()

    def once(seed: int) -> str:
        return render_json(
            build_report(pair, comparison=two_methods(), quick=True, random_state=seed)
        )

    first = once(0)
    assert first == once(0)
    np.testing.assert_array_equal(pair.images, before[0])
    np.testing.assert_array_equal(pair.texts, before[1])
    assert first != once(1).replace('"random_state": 1', '"random_state": 0')
