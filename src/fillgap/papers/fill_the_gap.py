"""Tables 2 to 6 and figure 3 of "Fill the Gap" (arXiv:2505.03703), printed and reproduced.

Infinite ratios stand where the paper's text places them. Of table 4 the SPEC cells are missing.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fillgap.errors import InputError, unit_rows
from fillgap.files import missing_path
from fillgap.papers.experiment.rows import ExperimentResults, draw_rows
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
#: From unit rows and a seed to two columns.
Projection: TypeAlias = Callable[[NDArray[np.float64], int], NDArray[np.float64]]

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
    """Return a number of a table (2 to 6) in a row of `PAPER_ROWS`; None where there is none."""
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
    """A number beside the printed one."""

    table: int
    data: str
    label: str
    measure: str
    representation: str
    found: float | None
    printed: float | None  # of the paper's row that the data are of
    reason: str | None  # why nothing was found

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

    def projected(names: tuple[str, ...], method: str) -> list[Representation]:
        sizes = {name: int(name.removeprefix("SPEC").removeprefix("PCA")) for name in names}
        return [Representation(n, method, {"n_components": k}, "judged") for n, k in sizes.items()]

    transport = {"eta": eta, "alpha": alpha, "extension": "nearest"}
    ways = [
        Representation("ORIG"),
        Representation("OT", "laplace-transport", transport),
        *projected(_SPEC, "spectral"),
        Representation(_HELD_OUT, "spectral", {"n_components": 60}),
        Representation(RECOMMENDED, RECOMMENDED),
        *projected(_PCA, "pca-projection"),
    ]
    measures = dict.fromkeys(m for _, items in TABLES.values() for _, m, _ in items)
    return Experiment(
        "fill-the-gap", tuple(data or (EmbeddingData("digit scenes", BUNDLED),)), tuple(ways),
        (*measures, "pair_cosine_distance", "cross_cosine_distance"),
        n_judged, n_separate, random_state, tuple(encoders),
    )  # fmt: skip


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
    ot = next((dict(w.parameters) for w in experiment.representations if w.name == "OT"), {})
    lines.append(
        "SPEC and PCA are fitted to the pairs that are judged, as in the paper; OT "
        f"(η = {ot.get('eta', 1):g}, α = {ot.get('alpha', 0.5):g}), SPEC60 held out and "
        "recommended to the others. FID as given: of the vectors at the length that they come in; "
        "methods map unit rows, so after them it is of what they return."
    )
    return tuple(lines)


def cells_as_csv(results: ExperimentResults) -> str:
    """Return every cell beside the printed one as CSV; infinity is written inf."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = "table data measure representation found printed difference reason"
    writer.writerow(header.split())
    for cell in paper_cells(results):
        numbers = (cell.found, cell.printed, cell.difference)
        shown = ["" if value is None else repr(value) for value in numbers]
        place = cell.table, cell.data, cell.label, cell.representation
        writer.writerow([*place, *shown, cell.reason or ""])
    return text.getvalue()


def render_page(
    results: ExperimentResults, projections: Mapping[str, Projection] | None = None
) -> str:
    """Return the page as text; it loads nothing and runs nothing.

    Parameters
    ----------
    results : ExperimentResults
        Of `fill_the_gap`.
    projections : mapping from str to callable, optional
        What else than principal components the embeddings are drawn by: functions of unit rows and
        a seed that return two columns, by their names.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fillgap.papers"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    cells = paper_cells(results)
    reasons = dict.fromkeys(
        (cell.representation, cell.reason) for cell in cells if cell.reason is not None
    )
    lines: dict[int, dict[tuple[str, str], list[PaperCell]]] = {table: {} for table in TABLES}
    for cell in cells:
        lines[cell.table].setdefault((cell.data, cell.label), []).append(cell)
    return environment.get_template("fill_the_gap.html.j2").render(
        remarks=remarks(results),
        notes=results.notes(),
        reasons=list(reasons),
        tables=[
            (n, title, COLUMNS[n], [(*key, of) for key, of in lines[n].items()])
            for n, (title, _) in TABLES.items()
        ],
        distances=_distances_svg(results),
        scatters=list(_scatter_svgs(results, projections or {})),
    )


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinf(value):
        return "∞"
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.0f}"


_INK, _FAINT, _PAIRS, _ALL = "#26292f", "#d9dce1", "#0072b2", "#d55e00"
_LEGEND: Final[dict[str, Any]] = {
    "frameon": False, "fontsize": 9, "loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2,
}  # fmt: skip
#: Rows of each modality that are drawn at most.
_POINTS: Final = 500


def _distances_svg(results: ExperimentResults) -> Markup:
    """Return figure 3: mean cosine distance of pairs, and of all combinations."""
    experiment = results.experiment
    figure, panels = _figure(len(results.data), 0.32 * len(experiment.representations) + 1.0)
    names = [way.name for way in experiment.representations]
    for axes, data in zip(panels, results.data, strict=True):
        for measure, label, colour, mark in (
            ("pair_cosine_distance", "pairs", _PAIRS, "o"),
            ("cross_cosine_distance", "all combinations", _ALL, "D"),
        ):
            values = [results.value(data.name, name, measure) for name in names]
            there = [(v, i) for i, v in enumerate(values) if v is not None]
            if there:
                axes.plot(*zip(*there, strict=True), mark, color=colour, label=label, markersize=6)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color=_FAINT, linewidth=0.6)
        axes.set_xlabel("mean cosine distance", color=_INK)
        axes.legend(**_LEGEND)
        axes.set_title(data.name, loc="right", fontsize=10, color=_INK)
    return _svg(figure, "d", "Figure 3: mean cosine distance of pairs and of all combinations")


def _scatter_svgs(
    results: ExperimentResults, projections: Mapping[str, Projection]
) -> Iterator[tuple[str, Markup]]:
    """Yield (caption, figure) of both modalities in two dimensions: principal components first."""
    experiment = results.experiment
    sizes = experiment.n_judged, experiment.n_separate, experiment.random_state
    ways = {"principal components": _components, **projections}
    for number, data in enumerate(results.data):
        try:
            judged = draw_rows(data, *sizes).judged
        except InputError:  # its cells say why
            continue
        step = -(-judged.n_images // _POINTS)
        sides = [
            unit_rows(np.asarray(rows[::step], dtype=np.float64), "rows")
            for rows in (judged.images, judged.texts)
        ]
        for way, project in ways.items():
            points = project(np.vstack(sides), experiment.random_state)
            figure, (axes,) = _figure(1, 3.4)
            for rows, label, colour, mark in (
                (points[: len(sides[0])], "images", _PAIRS, "o"),
                (points[len(sides[0]) :], "texts", _ALL, "D"),
            ):
                axes.plot(*rows.T, mark, color=colour, label=label, markersize=3, alpha=0.6)
            axes.set(xlabel=f"{way}: 1", ylabel="2", aspect="equal")
            axes.legend(**_LEGEND)
            title = f"{data.name}, {way}"
            yield title, _svg(figure, f"s{number}{way[:2]}", title)


def _components(rows: NDArray[np.float64], _random_state: int) -> NDArray[np.float64]:
    centred = rows - rows.mean(axis=0)
    return np.asarray(centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T)


def _figure(n_panels: int, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, height * n_panels), layout="constrained")
    panels = figure.subplots(n_panels, 1, squeeze=False).ravel()
    for axes in panels:
        axes.tick_params(colors=_INK, labelsize=9, length=3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _svg(figure: Any, name: str, title: str) -> Markup:
    """Return the figure as an element whose identifiers are its own; equal figures, equal text."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": f"fillgap-{name}"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Title": title})
    svg = text.getvalue()
    svg = re.sub(r"<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    # Drawn by us: text in it is escaped by matplotlib.
    return Markup(svg.replace("<svg ", '<svg role="img" ', 1))  # noqa: S704
