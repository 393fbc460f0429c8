"""The cells of an experiment, a measure of one representation of some data; and their cache."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fillgap import __version__
from fillgap.aligners.base import Aligner
from fillgap.aligners.methods import make_aligner
from fillgap.errors import CANNOT_RUN, InputError
from fillgap.evaluation.compare import compare
from fillgap.files import atomic_file
from fillgap.metrics.scan import scan_pool
from fillgap.metrics.summary import Sources
from fillgap.pair import EmbeddingPair
from fillgap.papers.experiment.rows import DrawnRows
from fillgap.papers.experiment.specification import (
    AS_GIVEN,
    RECOMMENDED,
    Representation,
    find_measure,
)

#: Raised when the same specification gives other numbers than before within a version.
_REVISION: Final = 1
#: Methods whose number of components must be below every size of the data.
_BY_COMPONENTS = ("spectral", "pca-projection")
#: What this project recommends where it can.
_OWN = ("balanced", "refined")


@dataclass(frozen=True)
class Cell:
    """What a measure found, or why it could not be computed."""

    values: Mapping[str, float]  # "value", or a number for each direction; may be infinite
    reason: str | None = None
    note: str = ""  # what the fit remarked


def compute_cells(
    rows: DrawnRows, representation: Representation, measures: Sequence[str], random_state: int
) -> dict[str, Cell]:
    """Map the judged rows once, and return the cell of each measure."""
    try:
        unit, given, note = _mapped(rows, representation, random_state, AS_GIVEN in measures)
    except CANNOT_RUN as error:
        return {name: Cell({}, str(error)) for name in measures}
    sources = Sources(
        unit, lambda pair: scan_pool(pair, n_neighbors=100, n_own=10, max_queries=None)
    )
    cells = {}
    for name in measures:
        measure, parameters = find_measure(name)
        source = given if name == AS_GIVEN else getattr(sources, measure.reads)
        try:
            cells[name] = Cell(_parts(measure.function(source, **parameters)), None, note)
        except CANNOT_RUN as error:
            cells[name] = Cell({}, str(error))
    return cells


def _mapped(
    rows: DrawnRows, representation: Representation, random_state: int, as_given: bool
) -> tuple[EmbeddingPair, EmbeddingPair, str]:
    """Return the judged rows at unit length, as they come, and what the fit remarked."""
    judged = rows.judged
    if representation.method is None:
        return judged, judged, ""
    fitted = judged if representation.fitted_on == "judged" else rows.separate
    if fitted is None:
        raise InputError(
            f"{representation.name} must be fitted on other rows than those judged, got none "
            "besides them. Use more data."
        )
    note = ""
    if representation.method == RECOMMENDED:
        aligner, note = _recommended(fitted, random_state)
    else:
        aligner = make_aligner(representation.method, **dict(representation.parameters))
    k = 0
    if representation.method in _BY_COMPONENTS:
        k = aligner.get_params()["n_components"]
        fewest = min(fitted.n_images, fitted.n_texts, fitted.n_features)
        if k >= fewest:
            raise InputError(
                f"k = {k} must be less than min(n, m, d) = {fewest} "
                f"({fitted.n_images} images, {fitted.n_texts} texts, {fitted.n_features} "
                "dimensions). Use fewer components."
            )
    aligner.fit(fitted.images, fitted.texts)
    if k and aligner.map_x_.matrix is not None and aligner.map_x_.matrix.shape[1] < k:
        raise InputError(  # with fewer components it is another method
            f"k = {k} must be at most the {aligner.map_x_.matrix.shape[1]} components that these "
            "data have. Use fewer components."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        unit = given = judged.with_vectors(*aligner.transform_pair(judged.images, judged.texts))
        if as_given:
            aligner.normalize = False
            given = judged.with_vectors(*aligner.transform_pair(judged.images, judged.texts))
    return unit, given, " ".join([note, *aligner.notes_]).strip()


def _recommended(fitted: EmbeddingPair, random_state: int) -> tuple[Aligner, str]:
    """Return the method that is recommended on the rows to fit on; balanced where none is."""
    compared = compare(fitted, _OWN, n_splits=2, n_resamples=100, random_state=random_state)
    method = compared.recommendation.method
    if method is None:
        return make_aligner("balanced"), "balanced, though compare recommends neither method."
    return make_aligner(method), f"{method}, which compare recommends on the separate rows."


def _parts(result: Any) -> dict[str, float]:
    """Return the numbers of a result by name."""
    if not is_dataclass(result):
        return {"value": float(result)}
    names = ["value"] if hasattr(result, "value") else []
    names += [item.name for item in fields(result) if item.name != "value"]
    numbers = {name: getattr(result, name) for name in names}
    return {k: float(v) for k, v in numbers.items() if isinstance(v, (int, float, np.number))}


def default_cache() -> Path:
    """Return the folder that $FILLGAP_CACHE names, or one in the user's folder of caches."""
    if named := os.environ.get("FILLGAP_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fillgap" / "cells"


def cell_key(depends: Mapping[str, Any]) -> str:
    """Return the hash of what a cell depends on, the version of this program included."""
    whole = {**depends, "version": __version__, "revision": _REVISION}
    text = json.dumps(whole, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class CellCache:
    """A folder of cells, one small JSON file each; None keeps nothing."""

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)

    def get(self, key: str) -> Cell | None:
        """Return a cell, or None where it is not there or damaged."""
        if self._folder is None:
            return None
        try:
            found = json.loads(self._path(key).read_text(encoding="utf-8"))
            values = {part: float(value) for part, value in found["values"].items()}
            return Cell(values, found["reason"], found["note"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def put(self, key: str, cell: Cell) -> None:
        """Keep a cell; the folder is made with the first."""
        if self._folder is None:
            return
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the cache {self._folder} must be a folder that can be written, got "
                f"{os.strerror(error.errno or 0)!r}. Choose another."
            ) from error
        # Python reads "inf" back as a number; JSON itself has no infinity.
        values = {part: repr(value) for part, value in cell.values.items()}
        document = {"values": values, "reason": cell.reason, "note": cell.note}
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")

    def _path(self, key: str) -> Path:
        return (self._folder or Path()) / key[:2] / f"{key}.json"
