"""Builds a report: what is measured and compared, which aligner is shown, and on which rows."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.base import clone

from fillgap import __version__
from fillgap.aligners.base import Aligner, SumAligner
from fillgap.aligners.methods import METHODS, make_aligner, method_name
from fillgap.errors import InputError, check_random_state
from fillgap.evaluation.compare import Comparison, compare
from fillgap.evaluation.splits import held_out_splits
from fillgap.io.names import SUFFIXES, split_key
from fillgap.io.tables import TABLE_SUFFIXES
from fillgap.metrics.summary import measure
from fillgap.metrics.verdict import Measurements
from fillgap.pair import EmbeddingPair, fingerprint
from fillgap.report.data import RAW, Projection, ReportData, ShownAligner, Similarities, Usage
from fillgap.report.panels import (
    ask,
    check_thumbnails,
    compare_similarities,
    compare_subspaces,
    draw_pair,
    project,
    project_more,
)
from fillgap.runtime import Progress, silent

#: Query rows of each modality that measures rest on at most.
MAX_QUERIES: Final = 5000
#: Splits of a comparison, and of one that should be quick.
FULL_SPLITS: Final = 5
QUICK_SPLITS: Final = 2
#: What is shown where nothing can be compared: it is fitted without pairs, in closed form.
WITHOUT_PAIRS: Final = "balanced"
#: What stands for the files where they are not known.
UNNAMED: Final = ("IMAGES.npy", "TEXTS.npy")
FITTED: Final = "aligner.safetensors"


@dataclass(frozen=True)
class Files:
    """The names of the files behind a report, for the lines that use the aligner.

    Attributes
    ----------
    images, texts : str
        As on the command line ("file.npz:images").
    image_index, aligner : str or None
        Where there are such files.
    fingerprint : str or None
        Of the images and texts, for whether an aligner was fitted to them.
    """

    images: str
    texts: str
    image_index: str | None = None
    aligner: str | None = None
    fingerprint: str | None = None


def build_report(
    pair: EmbeddingPair,
    *,
    aligner: Aligner | None = None,
    comparison: Comparison | None = None,
    quick: bool = False,
    files: Files | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> ReportData:
    """Measure a pair, compare methods on it, and collect all that a report shows.

    Parameters
    ----------
    pair : EmbeddingPair
        Of more than 10 000 images some are drawn, with their texts; the report says so.
    aligner : Aligner, optional
        What to show beside the raw embeddings. One that is fitted is taken as it is, unless it was
        fitted to these rows; one that is not is fitted to half of the images, and shown on the
        others. Left out, it is the one that the comparison recommends.
    comparison : Comparison, optional
        Of the same pair. Left out, it is computed, unless there are no pairs or the embeddings
        have a fault that must be mended first.
    quick : bool
        Compare only methods that sums can fit, on two splits, and draw principal components only.
    files : Files, optional
        For the lines that use the aligner.
    random_state : int
        Seed of everything that is drawn.
    progress : callable, optional
        Called as progress(done, total, what).

    Returns
    -------
    ReportData

    Raises
    ------
    InputError
        If the given aligner cannot be used with these embeddings, or the thumbnails are no
        pictures.
    """
    if pair.thumbnails is not None:
        check_thumbnails(pair.thumbnails)
    rows, sampling = draw_pair(pair, random_state=random_state)
    seeded: dict[str, Any] = {"random_state": random_state, "progress": progress or silent}
    measured = measure(rows, max_queries=MAX_QUERIES, confidence=False, **seeded)
    report = ReportData(measured, __version__, random_state, sampling)
    if measured.verdict.seen is None:
        nothing = "Rows that cannot be measured leave nothing more to show."
        return replace(report, left_out={"all": nothing})
    left_out: dict[str, str] = {}
    trial, why = None, "Shown as asked."
    # A given aligner comes before the long comparison, so that what is wrong with it is said soon.
    if aligner is not None:
        trial = _try(aligner, rows, files, random_state)
    if comparison is None:
        comparison = _compare(rows, measured, aligner, left_out, quick=quick, **seeded)
    if aligner is None and measured.verdict.kind != "fault":
        chosen, why = _choose(comparison)
        try:
            trial = _try(chosen, rows, None, random_state)
        except InputError as error:
            left_out["measures"] = f"No aligner is shown: {error}"
    views = {RAW: rows}
    if trial is not None:
        shown, raw, aligned, sentence = trial
        name, parameters = method_name(shown), _changed_parameters(shown)
        views = {RAW: raw, name: aligned}
        before, after = (
            measure(view, max_queries=MAX_QUERIES, **seeded) for view in views.values()
        )
        usage = explain(
            name,
            parameters,
            needs_pairs=shown.needs_pairs,
            sources=None if files is None else (files.images, files.texts),
            image_index=None if files is None else files.image_index,
            aligner_file=None if files is None or aligner is None else files.aligner,
        )
        said = ShownAligner(name, parameters, f"{why} {sentence}", before, after)
        report = replace(report, shown=said, usage=usage)
    try:
        subspaces = tuple(
            compare_subspaces(label, view, random_state=random_state)
            for label, view in (views | {RAW: rows}).items()
        )
    except InputError as error:  # all rows of a side are equal
        subspaces, left_out["subspaces"] = (), str(error)
    projections, missing, similarities = _pictures(views, left_out, quick=quick, **seeded)
    return replace(
        report,
        comparison=comparison,
        subspaces=subspaces,
        projections=projections,
        missing_projections=missing,
        similarities=similarities,
        queries=ask(views, random_state=random_state),
        left_out=left_out,
    )


def _compare(
    pair: EmbeddingPair,
    measured: Measurements,
    given: Aligner | None,
    left_out: dict[str, str],
    *,
    quick: bool,
    **seeded: Any,
) -> Comparison | None:
    """Return a comparison of methods and of the given aligner, or say why there is none."""
    if not pair.is_paired:
        left_out["comparison"] = (
            "Without pairs no method can be judged. Say which text belongs to which image "
            "(--image-index, image_index), if that is known."
        )
        return None
    if measured.verdict.kind == "fault":
        left_out["comparison"] = "Methods are not compared: the fault must be mended first."
        return None
    methods = {
        name: make_aligner(name)
        for name, cls in METHODS.items()
        if not quick or issubclass(cls, SumAligner)
    }
    if given is not None:
        methods[method_name(given) + " (as shown)" * bool(_changed_parameters(given))] = given
    try:
        return compare(pair, methods, n_splits=QUICK_SPLITS if quick else FULL_SPLITS, **seeded)
    except InputError as error:
        left_out["comparison"] = f"Methods are not compared: {error}"
        return None


def _pictures(
    views: Mapping[str, EmbeddingPair],
    left_out: dict[str, str],
    *,
    quick: bool,
    random_state: int,
    progress: Progress,
) -> tuple[tuple[Projection, ...], str | None, tuple[Similarities, ...]]:
    """Return the projections of each representation, which are missing, and the similarities."""
    missing = None
    projections: tuple[Projection, ...] = (project(views, random_state=random_state),)
    if not quick:
        more, missing = project_more(views, random_state=random_state, progress=progress)
        projections += more
    if views[RAW].is_paired:
        return projections, missing, compare_similarities(views, random_state=random_state)
    left_out["similarities"] = "Without pairs there is nothing to tell from the rest."
    return projections, missing, ()


def _choose(comparison: Comparison | None) -> tuple[Aligner, str]:
    """Return the aligner to show where none is given, and why this one."""
    if comparison is None:
        return make_aligner(WITHOUT_PAIRS), (
            f"No method could be compared here; {WITHOUT_PAIRS} is shown, which needs no pairs."
        )
    advice = comparison.recommendation
    if advice.method in METHODS:
        return make_aligner(str(advice.method)), f"{advice.method} is shown, as recommended."
    best = next((name for name in advice.passed_over if name in METHODS), WITHOUT_PAIRS)
    return make_aligner(best), (
        f"No method is recommended; {best} is shown, which scored highest, for what it would do."
    )


def _try(
    aligner: Aligner, pair: EmbeddingPair, files: Files | None, random_state: int
) -> tuple[Aligner, EmbeddingPair, EmbeddingPair, str]:
    """Return a fitted aligner, rows that it was not fitted to, these aligned, and a sentence.

    One that is fitted is taken as it is, unless it was fitted to these rows; one that is not is
    fitted to one part of `pair`, and shown on the other.
    """
    before = ""
    if hasattr(aligner, "n_features_in_"):
        if aligner.n_features_in_ != pair.n_features:
            raise InputError(
                f"embeddings must be of dimension {aligner.n_features_in_}, as in the fit of the "
                f"aligner, got {pair.n_features}. Use embeddings of the model that it was fitted "
                "to."
            )
        known = getattr(aligner, "metadata_", {}).get("data_hash")
        here = {fingerprint(pair.images, pair.texts)}
        if aligner.needs_pairs and pair.is_paired:
            here.add(fingerprint(*pair.matched()))
        if files is not None and files.fingerprint:
            here.add(files.fingerprint)
        if known not in here:
            n, m = aligner.n_samples_
            doubt = "and nothing says to which: if to those here, what follows flatters it."
            doubt = "not to those here." if known else doubt
            sentence = f"It was fitted before, to {n} images and {m} texts, {doubt}"
            return aligner, pair, _aligned(aligner, pair), sentence
        before = "The file was fitted to these very rows, so the method is fitted again here. "
    train, test = _halves(pair, random_state)
    fitted = clone(aligner)
    fitted.fit(*(train.matched() if fitted.needs_pairs else (train.images, train.texts)))
    sentence = (
        f"{before}It was fitted to {train.n_images} images and {train.n_texts} texts, and is shown "
        f"on {test.n_images} and {test.n_texts} others."
    )
    return fitted, test, _aligned(fitted, test), " ".join((sentence, *fitted.notes_))


def _halves(pair: EmbeddingPair, random_state: int) -> tuple[EmbeddingPair, EmbeddingPair]:
    if pair.is_paired:
        split = next(held_out_splits(pair, n_splits=1, random_state=random_state))
        train, test = (pair.take_images(np.sort(rows)) for rows in split)
        return train, test
    rng = check_random_state(random_state)
    orders = [rng.permutation(n) for n in (pair.n_images, pair.n_texts)]
    first = [np.sort(order[: len(order) // 2]) for order in orders]
    second = [np.sort(order[len(order) // 2 :]) for order in orders]
    return pair.take(*first), pair.take(*second)


def _aligned(aligner: Aligner, pair: EmbeddingPair) -> EmbeddingPair:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return pair.with_vectors(*aligner.transform_pair(pair.images, pair.texts))


def _changed_parameters(aligner: Aligner) -> dict[str, Any]:
    """Return the parameters that are not the defaults of the method."""
    defaults: Mapping[str, Any] = type(aligner)().get_params()
    return {
        name: value
        for name, value in aligner.get_params().items()
        if repr(value) != repr(defaults[name])
    }


def explain(
    method: str,
    parameters: Mapping[str, Any],
    *,
    needs_pairs: bool,
    sources: Sequence[str] | None = None,
    image_index: str | None = None,
    aligner_file: str | None = None,
) -> Usage:
    """Return how to fit an aligner and apply it, or how to apply one that is fitted.

    `sources` are images and texts as on the command line ("file.npz:images").
    """
    images, texts = sources or UNNAMED
    index = image_index if needs_pairs else None
    given = f", image_index={index!r}" if index else ""
    pair = f"pair = load_pair({images!r}, {texts!r}{given})"
    if aligner_file:
        commands, names = [], "load_aligner, load_pair"
        lines = [pair, f"aligner = load_aligner({aligner_file!r})"]
    else:
        words = ["fillgap", "fit", method, images, texts]
        for name, value in parameters.items():
            words += ["--set", f"{name}={value}"]
        words += ["--image-index", index] if index else []
        commands = [shlex.join([*words, "-o", FITTED])]
        names = "load_pair, make_aligner, save_aligner"
        settings = [repr(method), *(f"{name}={value!r}" for name, value in parameters.items())]
        rows = "*pair.matched()" if needs_pairs else "pair.images, pair.texts"
        fit = f"aligner = make_aligner({', '.join(settings)}).fit({rows})"
        lines = [pair, fit, f"save_aligner(aligner, {FITTED!r})"]
    commands += _apply_commands(aligner_file or FITTED, images, texts)
    lines.append("images, texts = aligner.transform_pair(pair.images, pair.texts)")
    return Usage(tuple(commands), (f"from fillgap import {names}", "", *lines))


def _apply_commands(file: str, images: str, texts: str) -> list[str]:
    """Return a command for each side; of a table with both, the second continues the first."""
    (image_path, _), (text_path, text_key) = split_key(images), split_key(texts)
    one_file = image_path == text_path and image_path.suffix in SUFFIXES
    one_table = one_file and text_key and image_path.suffix in TABLE_SUFFIXES
    image_out = _new_name(image_path, "images", "_images" if one_file else "")
    text_out = _new_name(text_path, "texts", "_texts" if one_file and not one_table else "")
    if one_table:
        texts = f"{image_out}:{text_key}"
    return [
        shlex.join(["fillgap", "apply", file, source, "--modality", modality, "-o", out])
        for source, modality, out in ((images, "image", image_out), (texts, "text", text_out))
    ]


def _new_name(path: Path, side: str, extra: str) -> str:
    """Return a new name beside a file or a folder; a pattern of shards becomes a folder."""
    if set("*?[") & set(path.name):
        return str(path.with_name(f"{side}_aligned"))
    return str(path.with_name(f"{path.stem}{extra}_aligned{path.suffix}"))
