"""The rows that an experiment judges and fits on, and the rows of its results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fillgap.datasets.scenes import load_digit_scenes
from fillgap.errors import InputError, check_random_state
from fillgap.files import atomic_file, check_target
from fillgap.io.pairs import load_pair
from fillgap.metrics.summary import first_texts
from fillgap.pair import EmbeddingPair, iter_blocks
from fillgap.papers.experiment.specification import BUNDLED, EmbeddingData, Experiment

FEWEST = 4  # pairs that anything can be judged or fitted on


@dataclass(frozen=True, eq=False)
class DrawnRows:
    """Pairs to judge on, other pairs to fit on, and what tells them from all others."""

    judged: EmbeddingPair  # one text for each image
    separate: EmbeddingPair | None
    fingerprint: str  # SHA-256 of every number of both

    @property
    def n_separate(self) -> int:
        """Number of pairs to fit on."""
        return 0 if self.separate is None else self.separate.n_images


@lru_cache(maxsize=1)  # the representations of one data set follow one another
def draw_rows(data: EmbeddingData, n_judged: int, n_separate: int, random_state: int) -> DrawnRows:
    """Load embeddings and draw the rows; too few are divided in the proportion asked for."""
    rng = check_random_state(random_state)
    other: EmbeddingPair | None
    if data.path == BUNDLED:
        whole, other = load_digit_scenes(), load_digit_scenes("fitting")
    else:
        whole = load_pair(data.path, data.texts)
        other = None if data.separate is None else load_pair(data.separate)
    whole = _one_text_each(whole)
    rows = rng.permutation(whole.n_images)
    if other is not None:
        other = _one_text_each(other)
        judged_rows, spare = rows[:n_judged], rng.permutation(other.n_images)[:n_separate]
    else:
        here, others = divide(whole.n_images, n_judged, n_separate)
        judged_rows, spare = rows[:here], rows[here : here + others]
    if len(judged_rows) < FEWEST:
        raise InputError(
            f"{data.path} must hold enough pairs to judge on, got {whole.n_images} images. "
            "Use at least a dozen."
        )
    judged, separate = whole.take_images(np.sort(judged_rows)), None  # in the order of the file
    if len(spare) >= FEWEST:
        separate = (whole if other is None else other).take_images(np.sort(spare))
    digest = hashlib.sha256()
    for side in (s for pair in (judged, separate) if pair for s in (pair.images, pair.texts)):
        digest.update(f"{side.shape} {side.dtype}".encode())
        for _, block in iter_blocks(side, "rows"):
            digest.update(np.ascontiguousarray(block).tobytes())
    return DrawnRows(judged, separate, digest.hexdigest())


def divide(n_rows: int, n_judged: int, n_separate: int) -> tuple[int, int]:
    """Return how many rows to judge on and to fit on: as asked, or fewer in the same proportion."""
    share = min(1.0, n_rows / (n_judged + n_separate))
    judged = n_judged if share == 1 else round(share * n_judged)
    return judged, min(n_separate, n_rows - judged)


def _one_text_each(pair: EmbeddingPair) -> EmbeddingPair:
    if not pair.is_paired:
        raise InputError(
            f"{pair.name} must be pairs, got {pair.n_images} images and {pair.n_texts} texts. "
            "Keep the image_index with the embeddings."
        )
    return pair if pair.one_to_one else first_texts(pair)


@dataclass(frozen=True)
class ResultRow:
    """One number, with everything that it depends on: a row of the Parquet file."""

    data: str
    path: str  # of the embeddings, or the dataset that was embedded
    encoder: str  # NAME@REVISION of the model behind the embeddings, "" where it is not known
    fingerprint: str  # SHA-256 of the rows that were judged and fitted on
    n_judged: int  # this and the next two are 0 where the data could not be read
    n_separate: int
    n_features: int
    representation: str
    method: str
    parameters: str  # JSON
    fitted_on: str
    measure: str
    part: str  # "value", "image_to_text", "text_to_image" and what else a measure tells
    value: float | None  # None where it could not be computed; a ratio may be infinite
    reason: str | None  # why not
    note: str  # what the fit remarked, and what was left out
    random_state: int
    version: str  # of this program
    cell: str  # key in the cache


@dataclass(frozen=True)
class ExperimentResults:
    """All rows of an experiment, in the order of data, representations and measures."""

    experiment: Experiment
    rows: tuple[ResultRow, ...]
    n_cached: int = 0  # cells that were there already
    data: tuple[EmbeddingData, ...] = ()  # of the experiment, after its pictures were embedded

    def find(
        self, data: str, representation: str, measure: str, part: str = "value"
    ) -> ResultRow | None:
        """Return the row of a number, or of the reason why it is missing."""
        for row in self.rows:
            if (row.data, row.representation, row.measure) == (data, representation, measure) and (
                row.part == part or row.value is None
            ):
                return row
        return None

    def value(
        self, data: str, representation: str, measure: str, part: str = "value"
    ) -> float | None:
        """Return a number, or None where there is none."""
        row = self.find(data, representation, measure, part)
        return None if row is None else row.value

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the rows as one Parquet file; its metadata hold the whole specification.

        Raises
        ------
        InputError
            If the target exists or cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        target = check_target(path, overwrite=overwrite)
        plain = [vars(row) for row in self.rows]
        types = {"value": pa.float64(), "reason": pa.string()} | dict.fromkeys(
            ("n_judged", "n_separate", "n_features", "random_state"), pa.int64()
        )
        specification = json.dumps(self.experiment.to_dict(), ensure_ascii=False)
        columns = {
            name: pa.array([row[name] for row in plain], types.get(name, pa.string()))
            for name in ResultRow.__dataclass_fields__
        }
        columns = {
            "experiment": pa.array([self.experiment.name] * len(plain)),
            "specification": pa.array([specification] * len(plain)).dictionary_encode(),
            **columns,
        }
        with atomic_file(target) as temporary:
            pq.write_table(pa.table(columns), temporary)
        return target

    def notes(self) -> Sequence[str]:
        """Return what fits remarked, once each, with the data and the representation."""
        lines = [f"{r.data}, {r.representation}: {r.note}" for r in self.rows if r.note]
        return tuple(dict.fromkeys(lines))
