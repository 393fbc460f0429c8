"""Figure 3 and the scatter plots of table 1 of "Fill the Gap", as SVG text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from math import isinf
from typing import Any, Final, TypeAlias

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fillgap.errors import InputError, unit_rows
from fillgap.papers.experiment.rows import ExperimentResults, draw_rows
from fillgap.papers.fill_the_gap.tables import COLUMNS, TABLES, PaperCell, paper_cells, remarks

#: From unit rows and a seed to two columns.
Projection: TypeAlias = Callable[[NDArray[np.float64], int], NDArray[np.float64]]

_INK, _FAINT, _PAIRS, _ALL = "#26292f", "#d9dce1", "#0072b2", "#d55e00"
#: Rows of each modality that are drawn at most.
_POINTS: Final = 500


def distances_svg(results: ExperimentResults) -> str:
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
        axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        axes.set_title(data.name, loc="right", fontsize=10, color=_INK)
    return _svg(figure, "d", "Figure 3: mean cosine distance of pairs and of all combinations")


def scatter_svg(
    results: ExperimentResults, projections: Mapping[str, Projection]
) -> Iterator[tuple[str, str]]:
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
            halves = points[: len(sides[0])], points[len(sides[0]) :]
            title = f"{data.name}, {way}"
            yield title, _scatter(halves, way, title, f"s{number}{way[:2]}")


def _components(rows: NDArray[np.float64], _random_state: int) -> NDArray[np.float64]:
    centred = rows - rows.mean(axis=0)
    return np.asarray(centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T)


def _scatter(halves: Sequence[NDArray[np.float64]], way: str, title: str, name: str) -> str:
    figure, (axes,) = _figure(1, 3.4)
    looks = (("images", _PAIRS, "o"), ("texts", _ALL, "D"))
    for rows, (label, colour, mark) in zip(halves, looks, strict=True):
        axes.plot(*rows.T, mark, color=colour, label=label, markersize=3, alpha=0.6)
    axes.set(xlabel=f"{way}: 1", ylabel="2", aspect="equal")
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return _svg(figure, name, title)


def _figure(n_panels: int, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, height * n_panels), layout="constrained")
    panels = figure.subplots(n_panels, 1, squeeze=False).ravel()
    for axes in panels:
        axes.tick_params(colors=_INK, labelsize=9, length=3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, panels


def _svg(figure: Any, name: str, title: str) -> str:
    """Return the figure as an element whose identifiers are its own; equal figures, equal text."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": f"fillgap-{name}"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Title": title})
    svg = text.getvalue()
    svg = re.sub(r"<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg ", '<svg role="img" ', 1)


def cells_as_csv(results: ExperimentResults) -> str:
    """Return every cell beside the printed one as CSV; infinity is written inf."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["table", "data", "measure", "representation", "found", "printed", "difference", "reason"]
    )
    for cell in paper_cells(results):
        numbers = (cell.found, cell.printed, cell.difference)
        shown = ["" if value is None else repr(value) for value in numbers]
        writer.writerow(
            [cell.table, cell.data, cell.label, cell.representation, *shown, cell.reason or ""]
        )
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
    from jinja2 import Environment, StrictUndefined

    source = files("fillgap.papers").joinpath("templates", "fill_the_gap.html.j2")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    cells = paper_cells(results)
    reasons = dict.fromkeys(
        (cell.representation, cell.reason) for cell in cells if cell.reason is not None
    )
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        remarks=remarks(results),
        notes=results.notes(),
        reasons=list(reasons),
        tables=[(n, title, COLUMNS[n], _rows(n, cells)) for n, (title, _) in TABLES.items()],
        distances=_drawn(distances_svg(results)),
        scatters=[(text, _drawn(svg)) for text, svg in scatter_svg(results, projections or {})],
    )


def _rows(table: int, cells: tuple[PaperCell, ...]) -> list[tuple[str, str, list[PaperCell]]]:
    """Return (data, label, cells) of each line of a table."""
    lines: dict[tuple[str, str], list[PaperCell]] = {}
    for cell in cells:
        if cell.table == table:
            lines.setdefault((cell.data, cell.label), []).append(cell)
    return [(data, label, of) for (data, label), of in lines.items()]


def _drawn(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704  (drawn by us: text in it is escaped by matplotlib)


def _number(value: Any) -> str:
    if value is None:
        return ""
    if isinf(value):
        return "∞"
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.0f}"
