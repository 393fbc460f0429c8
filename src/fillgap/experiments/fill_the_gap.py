"""Tables 2 to 6 and figure 3 of "Fill the Gap" (arXiv:2505.03703) as one experiment.

SPEC and PCA are fitted to the points that are judged, as in the paper; optimal transport is learnt
on other pairs. Beside them stand SPEC60 fitted on those other pairs, and the aligner of this
project that `compare` recommends there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from typing import Any, Final

from fillgap._checks import InputError
from fillgap._files import missing_path
from fillgap.experiments.experiment_results import ExperimentResults
from fillgap.experiments.fill_the_gap_tables import TABLES, paper_row, printed
from fillgap.experiments.specification import (
    BUNDLED,
    RECOMMENDED,
    EmbeddingData,
    EncoderModel,
    Experiment,
    PictureData,
    Representation,
)

__all__ = ["COLUMNS", "PaperCell", "fill_the_gap", "find_embeddings", "paper_cells", "remarks"]

_SPEC: Final = ("SPEC20", "SPEC60", "SPEC120")
_PCA: Final = ("PCA20", "PCA60", "PCA120")
_HELD_OUT: Final = "SPEC60 held out"
_SUFFIXES: Final = (".npz", ".safetensors", ".parquet", ".arrow")

#: The representations of each table.
COLUMNS: Final[dict[int, tuple[str, ...]]] = {
    **dict.fromkeys((2, 3, 4, 5), ("ORIG", "OT", *_SPEC, _HELD_OUT, RECOMMENDED)),
    6: _PCA,
}


@dataclass(frozen=True)
class PaperCell:
    """A number beside the printed one.

    Attributes
    ----------
    table : int
    data, label, measure, representation : str
    found : float or None
    printed : float or None
        Of the paper's row that the data are of; None where it has no such cell.
    reason : str or None
        Why nothing was found.
    """

    table: int
    data: str
    label: str
    measure: str
    representation: str
    found: float | None
    printed: float | None
    reason: str | None

    @property
    def difference(self) -> float | None:
        """Found less printed: 0 where both are infinite, None where one is."""
        if self.found is None or self.printed is None:
            return None
        if isinf(self.found) or isinf(self.printed):
            return 0.0 if self.found == self.printed else None
        return self.found - self.printed


def fill_the_gap(
    data: Sequence[EmbeddingData | PictureData] | None = None,
    *,
    encoders: Sequence[EncoderModel] = (),
    n_judged: int = 2500,
    n_separate: int = 5000,
    eta: float = 1.0,
    alpha: float = 0.5,
    random_state: int = 0,
) -> Experiment:
    """Return the experiment of the paper.

    Parameters
    ----------
    data : sequence of EmbeddingData or PictureData, optional
        Left out, the scenes that come with the package.
    encoders : sequence of EncoderModel
        What embeds pictures, where there are any.
    n_judged, n_separate : int
        Pairs to judge on, and pairs to learn a transport from.
    eta, alpha : float
        Of `LaplaceTransport`; the paper took them from a grid that it does not print.
    random_state : int
        Seed.
    """
    transport = {"eta": eta, "alpha": alpha, "extension": "nearest"}
    ways = [
        Representation("ORIG"),
        Representation("OT", "laplace-transport", transport),
        *(
            Representation(name, "spectral", {"n_components": int(name[4:])}, "judged")
            for name in _SPEC
        ),
        Representation(_HELD_OUT, "spectral", {"n_components": 60}),
        Representation(RECOMMENDED, RECOMMENDED),
        *(
            Representation(name, "pca-projection", {"n_components": int(name[3:])}, "judged")
            for name in _PCA
        ),
    ]
    measures = dict.fromkeys(m for _, items in TABLES.values() for _, m, _ in items)
    return Experiment(
        name="fill-the-gap",
        data=tuple(data or (EmbeddingData("digit scenes", BUNDLED),)),
        representations=tuple(ways),
        measures=(*measures, "pair_cosine_distance", "cross_cosine_distance"),
        n_judged=n_judged,
        n_separate=n_separate,
        random_state=random_state,
        encoders=tuple(encoders),
    )


def find_embeddings(folder: str | Path) -> tuple[EmbeddingData, ...]:
    """Return the embeddings below a folder: one set, or a subfolder or file for each.

    A set is a folder of clip-retrieval (img_emb, text_emb), a file that holds both sides, or a
    folder with two sets named `pairs` and `transport`: to judge on, and to learn from.

    Raises
    ------
    InputError
        If there is no such folder, or nothing in it.
    """
    root = Path(folder)
    if not root.exists():
        raise missing_path(root)
    found = tuple(_sets(root, root, depth=2))
    if not found:
        raise InputError(
            f"{root} must hold embeddings (img_emb and text_emb, or {', '.join(_SUFFIXES)}), got "
            "none. Write them there with fillgap embed."
        )
    return found


def _sets(root: Path, place: Path, depth: int) -> Iterator[EmbeddingData]:
    inside = place.relative_to(root)
    name = " ".join((*inside.parts[:-1], inside.stem)) if inside.parts else root.stem
    if (place / "img_emb").is_dir() or (place.is_file() and place.suffix.lower() in _SUFFIXES):
        yield EmbeddingData(name, str(place))
    elif (place / "pairs").is_dir() and (place / "transport").is_dir():
        yield EmbeddingData(name, str(place / "pairs"), separate=str(place / "transport"))
    elif place.is_dir() and depth:
        for child in sorted(place.iterdir()):
            yield from _sets(root, child, depth - 1)


def paper_cells(results: ExperimentResults) -> tuple[PaperCell, ...]:
    """Return every cell of tables 2 to 6, beside the printed one.

    Data that are none of the paper's are shown beside its COCO CLIP.
    """
    cells = []
    for table, (_, measures) in TABLES.items():
        for data in results.data:
            row = paper_row(data.name) or "COCO CLIP"
            for label, measure, part in measures:
                for way in COLUMNS[table]:
                    found = results.find(data.name, way, measure, part)
                    cells.append(
                        PaperCell(
                            table, data.name, label, measure, way,
                            None if found is None else found.value,
                            printed(table, row, way, measure),
                            "not computed" if found is None else found.reason,
                        )
                    )  # fmt: skip
    return tuple(cells)


def remarks(results: ExperimentResults) -> tuple[str, ...]:
    """Return on what the tables rest, and what to keep in mind with them."""
    experiment = results.experiment
    lines = []
    if any(data.path == BUNDLED for data in results.data):
        lines.append(
            "No embeddings were named: these are the bundled scenes of handwritten digits. Their "
            "effective rank is near 30, so SPEC20 is the spectral column to look at: SPEC60 and "
            "SPEC120 add noise there."
        )
    for data in results.data:
        row = next(row for row in results.rows if row.data == data.name)
        whose = paper_row(data.name)
        beside = f"of {whose}" if whose else "of other data (COCO CLIP): compare the pattern"
        lines.append(
            f"{data.name}: {row.n_judged} pairs judged, {row.n_separate} others to learn from, "
            f"{row.n_features} dimensions. Printed cells are {beside}."
        )
    ot: dict[str, Any] = next(
        (dict(w.parameters) for w in experiment.representations if w.name == "OT"), {}
    )
    lines.append(
        "SPEC and PCA are fitted to the pairs that are judged, as in the paper; OT "
        f"(η = {ot.get('eta', 1):g}, α = {ot.get('alpha', 0.5):g}), SPEC60 held out and "
        "recommended to the others. FID as given: of the vectors at the length that they come in; "
        "methods map unit rows, so after them it is of what they return."
    )
    return tuple(lines)
