"""What an experiment found: one row for each number, with all that it depends on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fillgap._files import atomic_file, check_target
from fillgap.experiments.specification import EmbeddingData, Experiment

__all__ = ["ExperimentResults", "ResultRow"]


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
