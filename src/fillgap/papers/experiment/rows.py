"""The rows that an experiment judges, and the other ones that it fits on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

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
    """Pairs to judge on, other pairs to fit on, and what tells them from all others.

    Attributes
    ----------
    judged : EmbeddingPair
        One text for each image.
    separate : EmbeddingPair or None
        None where no rows are left.
    fingerprint : str
        SHA-256 of every number of both.
    """

    judged: EmbeddingPair
    separate: EmbeddingPair | None
    fingerprint: str

    @property
    def n_separate(self) -> int:
        """Number of pairs to fit on."""
        return 0 if self.separate is None else self.separate.n_images


@lru_cache(maxsize=1)  # the representations of one data set follow one another
def draw_rows(data: EmbeddingData, n_judged: int, n_separate: int, random_state: int) -> DrawnRows:
    """Load embeddings and draw the rows.

    Parameters
    ----------
    data : EmbeddingData
        What to load; the scenes of the package have separate rows of their own.
    n_judged, n_separate : int
        How many; data with fewer rows are divided in this proportion.
    random_state : int
        Seed.

    Raises
    ------
    InputError
        If the embeddings cannot be read, are unpaired, or are too few.
    """
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
    judged = _take(whole, judged_rows)
    separate = _take(whole if other is None else other, spare) if len(spare) >= FEWEST else None
    return DrawnRows(judged, separate, _fingerprint(judged, separate))


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


def _take(pair: EmbeddingPair, rows: Any) -> EmbeddingPair:
    """Return these pairs in the order of the file."""
    return pair.take_images(np.sort(rows))


def _fingerprint(*pairs: EmbeddingPair | None) -> str:
    digest = hashlib.sha256()
    for side in (s for pair in pairs if pair for s in (pair.images, pair.texts)):
        digest.update(f"{side.shape} {side.dtype}".encode())
        for _, block in iter_blocks(side, "rows"):
            digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class ResultRow:
    """One number.

    Attributes
    ----------
    data, representation, method, parameters, fitted_on, measure, random_state
        Of the specification; `parameters` as JSON.
    path : str
        Of the embeddings, or the dataset that was embedded.
    encoder : str
        NAME@REVISION of the model behind the embeddings, "" where it is not known.
    fingerprint : str
        SHA-256 of the rows that were judged and fitted on.
    n_judged, n_separate, n_features : int
        Their sizes; 0 where the data could not be read.
    part : str
        "value", "image_to_text", "text_to_image" and what else a measure tells.
    value : float or None
        None where it could not be computed; a ratio may be infinite.
    reason : str or None
        Why not.
    note : str
        What the fit remarked, and what was left out.
    version : str
        Of this program.
    cell : str
        Key of the cell in the cache.
    """

    data: str
    path: str
    encoder: str
    fingerprint: str
    n_judged: int
    n_separate: int
    n_features: int
    representation: str
    method: str
    parameters: str
    fitted_on: str
    measure: str
    part: str
    value: float | None
    reason: str | None
    note: str
    random_state: int
    version: str
    cell: str


@dataclass(frozen=True)
class ExperimentResults:
    """All rows of an experiment.

    Attributes
    ----------
    experiment : Experiment
        What was computed.
    rows : tuple of ResultRow
        In the order of data, representations and measures.
    n_cached : int
        Cells that were there already.
    data : tuple of EmbeddingData
        What was judged: the data of the experiment, after its pictures were embedded.
    """

    experiment: Experiment
    rows: tuple[ResultRow, ...]
    n_cached: int = 0
    data: tuple[EmbeddingData, ...] = ()

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
        names = list(ResultRow.__dataclass_fields__)
        plain = [asdict(row) for row in self.rows]
        types = {"value": pa.float64(), "reason": pa.string()} | dict.fromkeys(
            ("n_judged", "n_separate", "n_features", "random_state"), pa.int64()
        )
        specification = json.dumps(self.experiment.to_dict(), ensure_ascii=False)
        columns = {
            name: pa.array([row[name] for row in plain], types.get(name, pa.string()))
            for name in names
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
