"""Computing a report: everything once, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fillgap import __version__
from fillgap._checks import InputError
from fillgap._progress import Progress, silent
from fillgap.aligners import METHODS, Aligner, SumAligner, make_aligner, method_name
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation import Comparison, compare
from fillgap.metrics import Measurements, measure
from fillgap.report.choice import (
    Trial,
    changed_parameters,
    choose_aligner,
    fingerprints_of,
    try_aligner,
)
from fillgap.report.data import ReportData, ShownAligner, Subspaces, Usage
from fillgap.report.drawing import draw_pair
from fillgap.report.pictures import check_thumbnails
from fillgap.report.projections import project, project_more
from fillgap.report.queries import ask
from fillgap.report.similarities import compare_similarities
from fillgap.report.subspaces import compare_subspaces
from fillgap.report.usage import explain

__all__ = ["Files", "build_report"]

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
