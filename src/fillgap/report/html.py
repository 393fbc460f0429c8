"""A report as one HTML page that needs nothing from outside."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fillgap.report.data import ReportData
from fillgap.report.panels import N_DRAWS
from fillgap.report.svg import (
    ALL,
    IMAGES,
    PAIRS,
    TEXTS,
    forests,
    histograms,
    scatters,
    spectra_and_angles,
)
from fillgap.report.tables import (
    measure_families,
    measure_notes,
    method_rows,
    number,
    percent,
    score_columns,
)

#: Families of measures that are open at first.
N_OPEN: Final = 2

_TEMPLATES: Final = Path(__file__).with_name("templates")
_COLOURS: Final = {"images": IMAGES, "texts": TEXTS, "pairs": PAIRS, "all": ALL}
_DIRECTIONS: Final = (
    {"key": "text_to_image", "query": "Text", "own": "text", "other": "image"},
    {"key": "image_to_text", "query": "Image", "own": "image", "other": "text"},
)
_REASONS: Final = ("all", "comparison", "measures", "similarities", "subspaces")


def render_html(data: ReportData) -> str:
    """Return a report as an HTML document.

    Parameters
    ----------
    data : ReportData
        From `build_report`. Names and captions in it are text, whatever they contain.
    """
    before, after, found = data.measured, None, data.comparison
    if data.shown is not None:
        before, after = data.shown.before, data.shown.after
    spectra, angles = spectra_and_angles(data.subspaces)
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    compared: dict[str, Any] = {}
    if found is not None:
        notes = [(name, note) for name, result in found.results.items() for note in result.notes]
        compared = {
            "columns": tuple(score_columns(found).values()),
            "methods": method_rows(found),
            "forests": forests(found),
            "remarks": notes,
        }
    template = _environment().get_template("report.html.j2")
    return template.render(
        data=data,
        sections=_sections(data),
        left_out={reason: data.left_out.get(reason, "") for reason in _REASONS},
        families=measure_families(before, after),
        notes=measure_notes(before),
        n_open=N_OPEN,
        n_draws=N_DRAWS,
        colours=_COLOURS,
        directions=_DIRECTIONS,
        style=Markup(style),  # noqa: S704  (our own file)
        projections=[(some.name, scatters(some)) for some in data.projections],
        similarities=histograms(data.similarities),
        spectra=spectra,
        angles=angles,
        **compared,
    )


def _sections(data: ReportData) -> list[tuple[str, str]]:
    """Return the anchors and the short titles of the sections that there are."""
    every = (
        ("verdict", "Verdict", True),
        ("recommendation", "Recommendation", not data.left_out.get("all")),
        ("measures", "Measures", data.measured.values),
        ("scatter", "Scatter plots", data.projections),
        ("similarities", "Similarities", data.projections),
        ("subspaces", "Subspaces", data.projections),
        ("comparison", "Comparison", data.comparison),
        ("neighbours", "Neighbours", data.queries),
        ("use", "How to use it", data.usage),
    )
    return [(anchor, title) for anchor, title, there in every if there]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "number": number,
        "count": lambda value: f"{value:,}",
        "picture": lambda png: "data:image/png;base64," + b64encode(png).decode(),
    }
    return environment
