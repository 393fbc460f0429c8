"""Tables 2 to 6, figure 3 and the scatter plots of table 1 as one self-contained page, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from importlib.resources import files
from math import isinf
from typing import Any

from markupsafe import Markup

from fillgap.experiments.experiment_results import ExperimentResults
from fillgap.experiments.fill_the_gap import COLUMNS, PaperCell, paper_cells, remarks
from fillgap.experiments.fill_the_gap_figures import Projection, distances_svg, scatter_svg
from fillgap.experiments.fill_the_gap_tables import TABLES

__all__ = ["cells_as_csv", "render_page"]


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

    source = files("fillgap.experiments").joinpath("templates", "fill_the_gap.html.j2")
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
