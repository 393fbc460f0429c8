"""What a report computes, from which rows, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fillgap.aligners import (
    METHODS,
    MeanCentering,
    OrthogonalProcrustes,
    RidgeRegression,
    load_aligner,
    save_aligner,
)
from fillgap.aligners.base import Aligner, SumAligner
from fillgap.aligners.methods import Provenance
from fillgap.errors import InputError
from fillgap.evaluation import held_out_splits
from fillgap.metrics import measure
from fillgap.pair import EmbeddingPair, fingerprint
from fillgap.report import Files, build, build_report, panels
from fillgap.report.markdown import render_json
from report_pairs import (
    pair_with_everything,
    quick_report,
    two_methods,
    unpaired_pair,
    unpaired_report,
    whole_report,
)
from worlds import make_gapped


def test_measures_before_and_after_are_of_rows_that_were_not_fitted() -> None:
    shown, pair = whole_report().shown, pair_with_everything()
    assert whole_report().measured.verdict == measure(pair).verdict
    train, test = next(held_out_splits(pair, n_splits=1))
    rows = pair.take_images(np.sort(train))
    fitted = METHODS[shown.name]().fit(rows.images, rows.texts)
    part = pair.take_images(np.sort(test))
    aligned = part.with_vectors(*fitted.transform_pair(part.images, part.texts))
    for found, expected in ((shown.before, measure(part)), (shown.after, measure(aligned))):
        for name in ("recall_at_10", "exposure_at_10"):
            assert found.values[name] == expected.values[name]


def test_the_recommended_method_is_shown_or_else_the_best_for_what_it_would_do() -> None:
    advice = two_methods().recommendation
    assert whole_report().shown.name == advice.method
    assert "as recommended" in whole_report().shown.sentence
    none = replace(advice, method=None, passed_over={"mean-centering": "x"})
    shown = quick_report(comparison=replace(two_methods(), recommendation=none)).shown
    assert shown.name == "mean-centering"
    assert shown.sentence.startswith("No method is recommended; mean-centering is shown")


def written(aligner: Aligner, folder: Path, *sides: np.ndarray) -> Aligner:
    """Fit an aligner, and read it back from its file, which knows to what it was fitted."""
    provenance = Provenance(data_hash=fingerprint(*sides))
    file = save_aligner(aligner.fit(*sides), folder / "a.safetensors", provenance=provenance)
    return load_aligner(file)


def test_a_fitted_aligner_is_taken_as_it_is_for_other_rows_and_with_a_doubt(tmp_path) -> None:
    pair = pair_with_everything()
    aligner = written(MeanCentering(), tmp_path, *make_gapped(80, 16, seed=9))
    shown = quick_report(aligner=aligner).shown
    assert shown.after.n_images == pair.n_images
    assert shown.sentence.endswith("to 80 images and 80 texts, not to those here.")
    aligned = pair.with_vectors(*aligner.transform_pair(pair.images, pair.texts))
    assert shown.after.values["tmr"] == measure(aligned).values["tmr"]
    unknown = quick_report(aligner=MeanCentering().fit(pair.images, pair.texts)).shown
    doubt = "nothing says to which: if to those here, what follows flatters it."
    assert doubt in unknown.sentence


@pytest.mark.parametrize("n", [60, 50], ids=["all", "of a sample"])
@pytest.mark.parametrize("aligner", [MeanCentering(), OrthogonalProcrustes()], ids=repr)
def test_an_aligner_of_these_very_rows_is_fitted_again(aligner, n, tmp_path) -> None:
    pair = pair_with_everything()
    sides = pair.matched() if aligner.needs_pairs else (pair.images, pair.texts)
    files = Files("i.npy", "t.npy", fingerprint=fingerprint(*sides)) if n < 60 else None
    report = quick_report(
        pair.take_images(np.arange(n)), aligner=written(aligner, tmp_path, *sides), files=files
    )
    assert "fitted to these very rows" in report.shown.sentence
    assert report.shown.after.n_images == n // 2


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


def faulty(name: str) -> EmbeddingPair:
    pair, noise = pair_with_everything(30), np.random.default_rng(0).normal(size=(2, 80, 16))
    if name == "not finite":
        pair.images[3, 2] = np.nan
    elif name == "collapsed":
        pair.images[:] = pair.images[0]
    elif name == "opposite noise":
        pair = EmbeddingPair(noise[0] + 2, noise[1] - 2)
    elif name == "too few":
        pair = EmbeddingPair(*make_gapped(3, 8, seed=0))
    return pair


MENDED = {"comparison": "the fault must be mended first."}
#: What each leaves out, and why.
FAULTY = {
    "not finite": {"all": "leave nothing more to show"},
    "opposite noise": MENDED,
    "collapsed": MENDED | {"subspaces": "more than one point"},
    "too few": dict.fromkeys(("comparison", "measures"), "at least 4 different ones"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_rows_leave_what_can_be_shown(name: str) -> None:
    report, left_out = build_report(faulty(name), quick=True), FAULTY[name]
    assert report.left_out.keys() == left_out.keys()
    assert all(reason in report.left_out[section] for section, reason in left_out.items())
    assert report.shown is report.usage is report.comparison is None
    assert (report.measured.verdict.kind == "fault") == (name != "too few")
    labels = [pair.label for drawn in report.projections for pair in drawn.pairs]
    assert labels == ([] if "all" in left_out else ["raw"])
    assert bool(report.queries) == bool(labels)


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
    assert report.shown.sentence.startswith("Shown as asked. It was fitted to 30 images")
    assert (report.shown.name, report.shown.parameters) == ("ridge-regression", {"ridge": 0.5})
    assert report.comparison is two_methods()


@pytest.mark.parametrize("paired", [True, False])
def test_of_many_rows_some_are_drawn_and_the_report_says_so(paired, monkeypatch) -> None:
    monkeypatch.setattr(panels, "MAX_IMAGES", 40)
    pair = pair_with_everything() if paired else unpaired_pair()
    (drawn, sentence), (again, _), (other, _), (bare, _) = (
        panels.draw_pair(some, random_state=seed)
        for some, seed in ((pair, 3), (pair, 3), (pair, 4), (replace(pair, image_ids=None), 3))
    )
    assert drawn.image_ids == again.image_ids != other.image_ids
    assert (drawn.n_images, drawn.n_texts) == (40, 80 if paired else 40)
    assert sentence == (
        f"Drawn at random: 40 of {pair.n_images} images, and {drawn.n_texts} of {pair.n_texts} "
        "texts."
    )
    for name, row in zip(drawn.image_ids, drawn.images, strict=True):
        np.testing.assert_array_equal(row, pair.images[list(pair.image_ids).index(name)])
    if paired:
        for caption, owner in zip(drawn.captions, drawn.image_index, strict=True):
            assert caption.split()[1] == drawn.image_ids[owner][6:-4]
    # Rows without names are called by their number in the file.
    for kept, ids, whole in (
        (bare.images, bare.image_ids, pair.images),
        (bare.texts, bare.text_ids, pair.texts),
    ):
        np.testing.assert_array_equal(kept, whole[[int(name.split()[1]) for name in ids]])


def test_equal_seeds_give_equal_reports_and_others_do_not() -> None:
    pair, before = pair_with_everything(), pair_with_everything()
    first, second, other = (render_json(quick_report(pair, random_state=s)) for s in (0, 0, 1))
    assert first == second
    np.testing.assert_array_equal(pair.images, before.images)
    np.testing.assert_array_equal(pair.texts, before.texts)
    assert first != other.replace('"random_state": 1', '"random_state": 0')
