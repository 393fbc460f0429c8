"""The cells that "Fill the Gap" (arXiv:2505.03703) prints in its tables 2 to 6.

Infinite ratios stand where the paper's text places them. Of table 4 the SPEC cells are missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf
from pathlib import Path
from typing import Any, Final, TypeAlias

from fillgap.errors import InputError
from fillgap.files import missing_path
from fillgap.papers.experiment.rows import ExperimentResults
from fillgap.papers.experiment.specification import (
    BUNDLED,
    RECOMMENDED,
    EmbeddingData,
    EncoderModel,
    Experiment,
    PictureData,
    Representation,
)

Triples: TypeAlias = Mapping[str, tuple[tuple[float, ...], ...]]

#: The combinations of data and model, as the paper calls them.
PAPER_ROWS: Final = tuple(
    f"{data} {model}" for data in ("COCO", "CC") for model in ("CLIP", "SigLIP", "LLM2CLIP")
)

_FIVE: Final = ("ORIG", "OT", "SPEC20", "SPEC60", "SPEC120")
_RECALLS: Final = tuple(
    (f"recall@{k}", f"mixed_recall_at_{k}", "image_to_text") for k in (5, 10, 20)
)

#: From the number of a table to its title, and (label, measure, part) of each of its numbers.
TABLES: Final[dict[int, tuple[str, tuple[tuple[str, str, str], ...]]]] = {
    2: ("Nearest neighbours", (("ITR", "itr", "value"), ("TIR", "tir", "value"))),
    3: ("Mean rank of the other modality", (("IMR", "imr", "value"), ("TMR", "tmr", "value"))),
    4: ("Fréchet distance", (
        ("FID, as given", "frechet_distance_as_given", "value"),
        ("FID, unit rows", "frechet_distance", "value"),
    )),
    5: ("Recall in the mixed pool, image queries", _RECALLS),
    6: ("Recall in the mixed pool after PCA, image queries", _RECALLS),
}  # fmt: skip

_TABLE_2: Final[Triples] = {
    "COCO CLIP": ((inf, 415.66), (10.73, 3.53), (1.88, 2.31), (2.52, 3.74), (2.28, 3.53)),
    "COCO SigLIP": ((inf, inf), (14, 2.85), (1.3, 2), (1, 2.5), (1.1, 2.98)),
    "COCO LLM2CLIP": ((832.33, 207.33), (12.15, 2.93), (1.17, 1.48), (0.82, 1.58), (0.85, 1.55)),
    "CC CLIP": ((inf, 2499), (6.76, 72.52), (2, 2.66), (2.25, 2), (1.94, 1.55)),
    "CC SigLIP": ((inf, inf), (9.41, 118), (1.95, 2), (1.78, 1.16), (1.58, 0.84)),
    "CC LLM2CLIP": ((21.93, 29.86), (21.72, 38.68), (1, 1.59), (0.57, 0.74), (0.46, 0.56)),
}
_TABLE_3: Final[Triples] = {
    "COCO CLIP": ((732, 2474), (3, 8), (4, 3), (5, 4), (5, 4)),
    "COCO SigLIP": ((1061, 2500), (3, 11), (4, 3), (4, 2), (5, 2)),
    "COCO LLM2CLIP": ((133, 96), (3, 8), (3, 2), (3, 2), (3, 2)),
    "CC CLIP": ((1820, 1976), (106, 8), (4, 3), (3, 4), (3, 4)),
    "CC SigLIP": ((1028, 2498), (93, 37), (3, 4), (2, 4), (2, 4)),
    "CC LLM2CLIP": ((31, 32), (40, 20), (3, 2), (2, 2), (2, 2)),
}
_TABLE_4: Final[Triples] = {
    "COCO CLIP": ((287.1,), (35.41,)),
    "COCO SigLIP": ((1.39,), (0.15,)),
    "COCO LLM2CLIP": ((0.72,), (0.34,)),
    "CC CLIP": ((280.86,), (92.15,)),
    "CC SigLIP": ((1.35,), (0.36,)),
    "CC LLM2CLIP": ((0.57,), (0.78,)),
}
_TABLE_5: Final[Triples] = {
    "COCO CLIP": ((0, 0, 0), (0.09, 0.15, 0.26), (0.38, 0.52, 0.68), (0.45, 0.6, 0.74)),
    "COCO SigLIP": ((0, 0, 0), (0.04, 0.09, 0.18), (0.55, 0.68, 0.79), (0.58, 0.7, 0.81)),
    "COCO LLM2CLIP": (
        (0.01, 0.03, 0.08), (0.17, 0.29, 0.46), (0.63, 0.74, 0.85), (0.67, 0.79, 0.87),
    ),
    "CC CLIP": ((0, 0, 0), (0.1, 0.18, 0.25), (0.44, 0.56, 0.68), (0.56, 0.68, 0.78)),
    "CC SigLIP": ((0, 0, 0), (0.14, 0.2, 0.3), (0.53, 0.64, 0.74), (0.6, 0.7, 0.8)),
    "CC LLM2CLIP": (
        (0.2, 0.38, 0.58), (0.16, 0.3, 0.48), (0.81, 0.89, 0.94), (0.91, 0.96, 0.98),
    ),
}  # fmt: skip
_NOTHING: Final = ((0.0,) * 3,) * 3
_TABLE_6: Final[Triples] = {
    **dict.fromkeys(PAPER_ROWS, _NOTHING),
    "COCO LLM2CLIP": (*_NOTHING[:2], (0.01, 0.02, 0.06)),
    "CC LLM2CLIP": ((0.01, 0.02, 0.03), (0.05, 0.1, 0.17), (0.14, 0.25, 0.38)),
}
_PRINTED: Final[Mapping[int, tuple[tuple[str, ...], Triples]]] = {
    2: (_FIVE, _TABLE_2),
    3: (_FIVE, _TABLE_3),
    4: (("ORIG", "OT"), _TABLE_4),
    5: (("ORIG", "OT", "SPEC60", "SPEC120"), _TABLE_5),
    6: (("PCA20", "PCA60", "PCA120"), _TABLE_6),
}


def printed(table: int, row: str, representation: str, measure: str) -> float | None:
    """Return a printed number, or None where the paper has none.

    Parameters
    ----------
    table : int
        2 to 6.
    row : str
        One of `PAPER_ROWS`.
    representation : str
        For example "SPEC60".
    measure : str
        As in `TABLES`.
    """
    columns, cells = _PRINTED[table]
    measures = [item[1] for item in TABLES[table][1]]
    if representation not in columns or measure not in measures or row not in cells:
        return None
    numbers = cells[row][columns.index(representation)]
    place = measures.index(measure)
    return float(numbers[place]) if place < len(numbers) else None


def paper_row(name: str) -> str | None:
    """Return the row of the paper that data of this name are of, or None.

    Examples
    --------
    >>> paper_row("coco-siglip"), paper_row("cc/llm2clip"), paper_row("mine")
    ('COCO SigLIP', 'CC LLM2CLIP', None)
    """
    plain = name.lower()
    data = "COCO" if "coco" in plain else "CC" if "cc" in plain or "conceptual" in plain else None
    models = ("LLM2CLIP", "SigLIP", "CLIP")
    model = next((model for model in models if model.lower() in plain), None)
    return f"{data} {model}" if data and model else None


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
