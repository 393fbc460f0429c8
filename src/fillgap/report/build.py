"""Which aligner a report shows, and the rows that it is judged on."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Container, Mapping, Sequence
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
from fillgap.metrics.summary import measure
from fillgap.metrics.verdict import Measurements
from fillgap.pair import EmbeddingPair, fingerprint
from fillgap.report.data import ReportData, ShownAligner, Subspaces, Usage
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

#: What is shown where nothing can be compared: it is fitted without pairs, in closed form.
WITHOUT_PAIRS = "balanced"


@dataclass(frozen=True, eq=False)
class Trial:
    """An aligner, and rows that it was not fitted to, as they were and aligned.

    Attributes
    ----------
    aligner : Aligner
        Fitted.
    raw, aligned : EmbeddingPair
        The same rows.
    sentence : str
        What it was fitted to, and what it is shown on.
    """

    aligner: Aligner
    raw: EmbeddingPair
    aligned: EmbeddingPair
    sentence: str


def choose_aligner(comparison: Comparison | None) -> tuple[Aligner, str]:
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


def try_aligner(
    aligner: Aligner, pair: EmbeddingPair, fingerprints: Container[str], *, random_state: int
) -> Trial:
    """Return what an aligner does to rows that it was not fitted to.

    Parameters
    ----------
    aligner : Aligner
        One that is fitted is taken as it is, unless it was fitted to these rows; one that is not
        is fitted to one part of `pair`, and shown on the other.
    pair : EmbeddingPair
        The rows of the report.
    fingerprints : container of str
        Of these rows, as a file of an aligner that was fitted to them names them.
    random_state : int
        Seed of the split.
    """
    if not hasattr(aligner, "n_features_in_"):
        return _fit_half(aligner, pair, "", random_state)
    if aligner.n_features_in_ != pair.n_features:
        raise InputError(
            f"embeddings must be of dimension {aligner.n_features_in_}, as in the fit of the "
            f"aligner, got {pair.n_features}. Use embeddings of the model that it was fitted to."
        )
    known = getattr(aligner, "metadata_", {}).get("data_hash")
    if known in fingerprints:
        before = "The file was fitted to these very rows, so the method is fitted again here. "
        return _fit_half(aligner, pair, before, random_state)
    n, m = aligner.n_samples_
    doubt = (
        "not to those here."
        if known
        else "and nothing says to which: if to those here, what follows flatters it."
    )
    return _trial(aligner, pair, f"It was fitted before, to {n} images and {m} texts, {doubt}")


def fingerprints_of(pair: EmbeddingPair, aligner: Aligner) -> set[str]:
    """Return the fingerprints that a fit of this aligner to these rows may have kept."""
    found = {fingerprint(pair.images, pair.texts)}
    if aligner.needs_pairs and pair.is_paired:
        found.add(fingerprint(*pair.matched()))
    return found


def changed_parameters(aligner: Aligner) -> dict[str, Any]:
    """Return the parameters that are not the defaults of the method."""
    defaults: Mapping[str, Any] = type(aligner)().get_params()
    return {
        name: value
        for name, value in aligner.get_params().items()
        if repr(value) != repr(defaults[name])
    }


def _fit_half(aligner: Aligner, pair: EmbeddingPair, before: str, random_state: int) -> Trial:
    """Fit to one part of the images with their texts, and align the other."""
    train, test = _halves(pair, random_state)
    fitted = clone(aligner)
    fitted.fit(*(train.matched() if fitted.needs_pairs else (train.images, train.texts)))
    sentence = (
        f"{before}It was fitted to {train.n_images} images and {train.n_texts} texts, and is shown "
        f"on {test.n_images} and {test.n_texts} others."
    )
    return _trial(fitted, test, " ".join((sentence, *fitted.notes_)))


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


def _trial(aligner: Aligner, pair: EmbeddingPair, sentence: str) -> Trial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        images, texts = aligner.transform_pair(pair.images, pair.texts)
    return Trial(aligner, pair, pair.with_vectors(images, texts), sentence)


#: What stands for the files where they are not known.
UNNAMED = ("IMAGES.npy", "TEXTS.npy")
FITTED = "aligner.safetensors"


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

    Parameters
    ----------
    method : str
        Its name on the command line.
    parameters : mapping
        Those to set.
    needs_pairs : bool
        Whether it is fitted to pairs.
    sources : sequence of two str, optional
        Images and texts, as on the command line ("file.npz:images").
    image_index : str, optional
        The file that says which image each text belongs to.
    aligner_file : str, optional
        The file of a fitted aligner.
    """
    images, texts = sources or UNNAMED
    index = image_index if needs_pairs else None
    file = aligner_file or FITTED
    if aligner_file:
        commands, names = [], "load_aligner, load_pair"
        got = [f"aligner = load_aligner({file!r})"]
    else:
        commands = [_fit_command(method, parameters, images, texts, index)]
        names = "load_pair, make_aligner, save_aligner"
        got = _fit_lines(method, parameters, needs_pairs=needs_pairs)
    given = f", image_index={index!r}" if index else ""
    python = [
        f"from fillgap import {names}",
        "",
        f"pair = load_pair({images!r}, {texts!r}{given})",
        *got,
        "images, texts = aligner.transform_pair(pair.images, pair.texts)",
    ]
    return Usage((*commands, *_apply_commands(file, images, texts)), tuple(python))


def _fit_command(
    method: str, parameters: Mapping[str, Any], images: str, texts: str, index: str | None
) -> str:
    words = ["fillgap", "fit", method, images, texts]
    for name, value in parameters.items():
        words += ["--set", f"{name}={value}"]
    words += ["--image-index", index] if index else []
    return shlex.join([*words, "-o", FITTED])


def _fit_lines(method: str, parameters: Mapping[str, Any], *, needs_pairs: bool) -> list[str]:
    arguments = ", ".join(
        [repr(method), *(f"{name}={value!r}" for name, value in parameters.items())]
    )
    rows = "*pair.matched()" if needs_pairs else "pair.images, pair.texts"
    return [
        f"aligner = make_aligner({arguments}).fit({rows})",
        f"save_aligner(aligner, {FITTED!r})",
    ]


def _apply_commands(file: str, images: str, texts: str) -> list[str]:
    """Return a command for each side; where one file holds both, the second continues the first."""
    (image_path, _), (text_path, text_key) = split_key(images), split_key(texts)
    both = image_path == text_path and image_path.suffix in SUFFIXES
    image_out = _aligned(image_path, "images", "_images" if both else "")
    text_out = _aligned(text_path, "texts", "")
    if both and text_key:
        texts = f"{image_out}:{text_key}"
    return [
        shlex.join(["fillgap", "apply", file, source, "--modality", modality, "-o", out])
        for source, modality, out in ((images, "image", image_out), (texts, "text", text_out))
    ]


def _aligned(path: Path, side: str, extra: str) -> str:
    """Return a new name beside a file or a folder; a pattern of shards becomes a folder."""
    if set("*?[") & set(path.name):
        return str(path.with_name(f"{side}_aligned"))
    return str(path.with_name(f"{path.stem}{extra}_aligned{path.suffix}"))


#: What is called the embeddings as they are.
RAW: Final = "raw"
#: Query rows of each modality that measures rest on at most.
MAX_QUERIES: Final = 5000
#: Splits of a comparison, and of one that should be quick.
FULL_SPLITS: Final = 5
QUICK_SPLITS: Final = 2


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
    work = _Work(rows, quick, random_state, progress or silent)
    measured = work.measure(rows, confidence=False)
    start = ReportData(measured, __version__, random_state, sampling)
    if measured.verdict.seen is None:
        work.left_out["all"] = "Rows that cannot be measured leave nothing more to show."
        return replace(start, left_out=work.left_out)
    # A given aligner comes before the long comparison, so that what is wrong with it is said soon.
    trial = None
    if aligner is not None:
        known = fingerprints_of(pair, aligner)
        if files is not None and files.fingerprint:
            known.add(files.fingerprint)
        trial = try_aligner(aligner, rows, known, random_state=random_state)
    faulty = measured.verdict.kind == "fault"
    comparison = comparison or work.compare(aligner, faulty=faulty)
    why = "Shown as asked."
    if aligner is None and not faulty:
        trial, why = work.choose(comparison)
    views = {RAW: rows}
    if trial is not None:
        views = {RAW: trial.raw, method_name(trial.aligner): trial.aligned}
        start = replace(
            start,
            shown=work.shown(trial, why),
            usage=_usage(trial.aligner, files, fitted=aligner is not None),
        )
    return replace(
        start,
        comparison=comparison,
        subspaces=work.subspaces(views | {RAW: rows}),
        left_out=work.left_out,
        **work.pictures(views),
    )


class _Work:
    """The parts of a report, what they have in common, and why some are left out."""

    def __init__(
        self, pair: EmbeddingPair, quick: bool, random_state: int, progress: Progress
    ) -> None:
        self.pair, self.quick = pair, quick
        self.random_state, self.progress = random_state, progress
        self.left_out: dict[str, str] = {}

    def measure(self, pair: EmbeddingPair, *, confidence: bool = True) -> Measurements:
        """Return the measures of a representation."""
        return measure(
            pair,
            max_queries=MAX_QUERIES,
            confidence=confidence,
            random_state=self.random_state,
            progress=self.progress,
        )

    def compare(self, given: Aligner | None, *, faulty: bool) -> Comparison | None:
        """Return a comparison of methods, and of the given aligner."""
        if not self.pair.is_paired:
            reason = (
                "Without pairs no method can be judged. Say which text belongs to which image "
                "(--image-index, image_index), if that is known."
            )
        elif faulty:
            reason = "Methods are not compared: the fault must be mended first."
        else:
            try:
                return compare(
                    self.pair,
                    self._methods(given),
                    n_splits=QUICK_SPLITS if self.quick else FULL_SPLITS,
                    random_state=self.random_state,
                    progress=self.progress,
                )
            except InputError as error:
                reason = f"Methods are not compared: {error}"
        self.left_out["comparison"] = reason
        return None

    def _methods(self, given: Aligner | None) -> dict[str, Aligner]:
        methods = {
            name: make_aligner(name)
            for name, cls in METHODS.items()
            if not self.quick or issubclass(cls, SumAligner)
        }
        if given is not None:
            changed = " (as shown)" if changed_parameters(given) else ""
            methods[method_name(given) + changed] = given
        return methods

    def choose(self, comparison: Comparison | None) -> tuple[Trial | None, str]:
        """Return an aligner that was tried, and why this one."""
        aligner, why = choose_aligner(comparison)
        try:
            return try_aligner(aligner, self.pair, (), random_state=self.random_state), why
        except InputError as error:
            self.left_out["measures"] = f"No aligner is shown: {error}"
            return None, ""

    def shown(self, trial: Trial, why: str) -> ShownAligner:
        """Return the aligner with the measures before and after."""
        return ShownAligner(
            name=method_name(trial.aligner),
            parameters=changed_parameters(trial.aligner),
            sentence=f"{why} {trial.sentence}",
            before=self.measure(trial.raw),
            after=self.measure(trial.aligned),
        )

    def pictures(self, views: Mapping[str, EmbeddingPair]) -> dict[str, Any]:
        """Return what is drawn of the same rows in each representation."""
        seed = self.random_state
        found: dict[str, Any] = {
            "projections": (project(views, random_state=seed),),
            "queries": ask(views, random_state=seed),
        }
        if not self.quick:
            more, missing = project_more(views, random_state=seed, progress=self.progress)
            found["projections"] += more
            found["missing_projections"] = missing
        if self.pair.is_paired:
            found["similarities"] = compare_similarities(views, random_state=seed)
        else:
            self.left_out["similarities"] = "Without pairs there is nothing to tell from the rest."
        return found

    def subspaces(self, views: Mapping[str, EmbeddingPair]) -> tuple[Subspaces, ...]:
        """Return those of each representation, unless all rows of a side are equal."""
        try:
            return tuple(
                compare_subspaces(label, rows, random_state=self.random_state)
                for label, rows in views.items()
            )
        except InputError as error:
            self.left_out["subspaces"] = str(error)
            return ()


def _usage(aligner: Aligner, files: Files | None, *, fitted: bool) -> Usage:
    """Return the lines that use an aligner: those of its file, where it has one."""
    return explain(
        method_name(aligner),
        changed_parameters(aligner),
        needs_pairs=aligner.needs_pairs,
        sources=None if files is None else (files.images, files.texts),
        image_index=None if files is None else files.image_index,
        aligner_file=None if files is None or not fitted else files.aligner,
    )
