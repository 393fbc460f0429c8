"""The paper's three tables for one set of embeddings, each cell beside the printed one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fillgap.experiments.decipher_tables import printed_retrieval, printed_zero_shot

__all__ = ["METHODS", "PAPER_ENERGY", "Cell", "Decipher"]

#: What spans a subspace in the paper.
PAPER_ENERGY: Final = 0.99

#: The methods of the paper's tables, and beside them the rotation that it proves without trying
#: it, and the balanced aligner.
METHODS: Final = (
    "raw",
    "translation",
    "dimension-removal",
    "shared-space-projection",
    "hyperplane-rotation",
    "balanced",
)


@dataclass(frozen=True)
class Cell:
    """What was found, and what is printed for another model or other data.

    Attributes
    ----------
    found : float
        Degrees or percent.
    printed : float or None
        None where the paper has no such cell.
    """

    found: float
    printed: float | None

    @property
    def difference(self) -> float | None:
        """Found less printed."""
        return None if self.printed is None else self.found - self.printed

    def to_dict(self) -> dict[str, float | None]:
        """Return it as JSON can hold it."""
        return {"found": self.found, "printed": self.printed, "difference": self.difference}


@dataclass(frozen=True, eq=False)
class Decipher:
    """The three tables for one set of embeddings.

    Attributes
    ----------
    data : str
        Name of the data.
    n_images, n_texts, n_features : int
        Of the whole data.
    n_splits : int
        Held-out splits that values are averaged over; 0 where methods were judged on the rows that
        they were fitted to.
    energy : float
        Share of the energy that spans a subspace.
    zero_shot : mapping from method to mapping from measure to float
        `gap_angle` and `centroid_distance` between images and prompts, `top_1` and `top_5` in
        percent. Empty without prompts.
    retrieval : mapping from method to mapping from measure to float
        `gap_angle`, `centroid_distance`, and recall at 1, 5 and 10 in both directions in percent.
        Empty where images and texts are unpaired.
    choices : mapping from str to float
        What the rules chose: `n_shared` dimensions, `n_removed` dimensions, `amount` of the
        translation; averages over splits.
    failures : mapping from method to str
        Methods that cannot run on these data, with the reason.
    notes : tuple of str
        What fits remarked.
    """

    data: str
    n_images: int
    n_texts: int
    n_features: int
    n_splits: int
    energy: float
    zero_shot: Mapping[str, Mapping[str, float]]
    retrieval: Mapping[str, Mapping[str, float]]
    choices: Mapping[str, float]
    failures: Mapping[str, str]
    notes: tuple[str, ...]

    def zero_shot_cells(self, model: str, dataset: str) -> dict[str, dict[str, Cell]]:
        """Return tables 1 and 2, each cell beside the one printed for a model and a data set."""
        return _beside(self.zero_shot, printed_zero_shot(model, dataset))

    def retrieval_cells(self) -> dict[str, dict[str, Cell]]:
        """Return table 3, each cell beside the printed one."""
        return _beside(self.retrieval, printed_retrieval())

    def to_dict(self, model: str, dataset: str) -> dict[str, Any]:
        """Return everything as JSON can hold it, with the cells printed for a model and data."""
        tables = {
            "zero_shot": self.zero_shot_cells(model, dataset),
            "retrieval": self.retrieval_cells(),
        }
        plain = {
            name: {
                method: {measure: cell.to_dict() for measure, cell in row.items()}
                for method, row in table.items()
            }
            for name, table in tables.items()
        }
        return {**vars(self), **plain, "model": model, "dataset": dataset}


def _beside(
    found: Mapping[str, Mapping[str, float]], printed: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Cell]]:
    return {
        method: {
            measure: Cell(value, printed.get(method, {}).get(measure))
            for measure, value in row.items()
        }
        for method, row in found.items()
    }
