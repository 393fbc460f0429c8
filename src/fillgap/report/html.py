"""What each method gains and what it costs, with intervals."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fillgap.evaluation.compare import Comparison
from fillgap.evaluation.statistics import Estimate
from fillgap.report.data import ReportData, Similarities, Subspaces
from fillgap.report.panels import N_DRAWS
from fillgap.report.svg import (
    ALL,
    IMAGES,
    INK,
    LINE,
    MUTED,
    PAIRS,
    TEXTS,
    angles,
    draw,
    histograms,
    scatters,
    spectra,
)
from fillgap.report.tables import (
    OBJECTIVES,
    measure_families,
    measure_notes,
    method_rows,
    number,
    percent,
    ranked,
    score_columns,
)

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

WIDTH: Final = 4.6
#: Letters of a name that is written out.
LONGEST: Final = 26
#: Inches of a method, and of what is around all of them.
ROW, MARGIN = 0.235, 0.55


def forests(found: Comparison) -> list[str]:
    """Return a panel of gains and one of costs; none where no method could run."""
    methods = [name for name in ranked(found) if found.results[name].changes]
    if not methods:
        return []
    objective = found.recommendation.objective
    size = (WIDTH, MARGIN + ROW * len(methods))
    panels = (
        ("gain", objective, "Gain", None),
        ("cost", "recall_at_1", "Change of recall@1", -found.max_loss),
    )
    return [
        draw(
            name,
            f"{what} of each method against raw, with 95 % intervals; the table has the numbers.",
            partial(_forest, found, methods, measure, limit),
            size=size,
        )
        for name, measure, what, limit in panels
    ]


def _short(name: str) -> str:
    """Return a name that leaves room for the figure: that of a method with parameters is long."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _forest(
    found: Comparison, methods: list[str], measure: str, limit: float | None, figure: Figure
) -> None:
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=0.8)
    if limit is not None:
        axes.axvline(limit, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    for place, name in enumerate(methods):
        change: Estimate = found.results[name].changes[measure]["mean"]
        chosen = name == found.recommendation.method
        colour = PAIRS if chosen else ALL
        axes.plot([change.low, change.high], [place, place], color=colour, linewidth=2)
        axes.plot(change.value, place, "o", color=colour, markersize=6 if chosen else 4.5)
    axes.set(
        yticks=range(len(methods)),
        yticklabels=map(_short, methods),
        ylim=(len(methods) - 0.4, -0.6),
    )
    for label, name in zip(axes.get_yticklabels(), methods, strict=True):
        label.set_color(INK)
        label.set_fontweight("bold" if name == found.recommendation.method else "normal")
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=LINE)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=5)


#: Families of measures that are open at first.
N_OPEN: Final = 2

_TEMPLATES: Final = Path(__file__).with_name("templates")
_COLOURS: Final = {"images": IMAGES, "texts": TEXTS, "pairs": PAIRS, "all": ALL}
_DIRECTIONS: Final = (
    {"key": "text_to_image", "query": "Text", "own": "text", "other": "image"},
    {"key": "image_to_text", "query": "Image", "own": "image", "other": "text"},
)
_REASONS: Final = ("all", "comparison", "measures", "similarities", "subspaces")


class Panel(NamedTuple):
    """A figure with its title and a few words."""

    title: str
    words: str
    svg: Any


def render_html(data: ReportData) -> str:
    """Return a report as an HTML document.

    Parameters
    ----------
    data : ReportData
        From `build_report`. Names and captions in it are text, whatever they contain.
    """
    context = {
        "data": data,
        "sections": _sections(data),
        "left_out": {reason: data.left_out.get(reason, "") for reason in _REASONS},
        "families": measure_families(*_before_and_after(data)),
        "notes": measure_notes(_before_and_after(data)[0]),
        "n_open": N_OPEN,
        "n_draws": N_DRAWS,
        "colours": _COLOURS,
        "directions": _DIRECTIONS,
        "style": _trusted((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        **_drawn(data),
        **_compared(data),
    }
    return _environment().get_template("report.html.j2").render(context)


def _before_and_after(data: ReportData) -> tuple[Any, Any]:
    return (data.measured, None) if data.shown is None else (data.shown.before, data.shown.after)


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


def _drawn(data: ReportData) -> dict[str, Any]:
    """Return the panels of all figures."""
    return {
        "projections": [
            (
                some.name,
                _panels([(p.label, "") for p in some.pairs], scatters(some)),
            )
            for some in data.projections
        ],
        "similarities": _panels(
            [(some.label, _apart(some)) for some in data.similarities],
            histograms(data.similarities),
        ),
        "spectra": _panels(
            [(some.label, _rows(some)) for some in data.subspaces],
            spectra(data.subspaces),
        ),
        "angles": _panels(
            [(some.label, _rows(some)) for some in data.subspaces], angles(data.subspaces)
        ),
    }


def _compared(data: ReportData) -> dict[str, Any]:
    """Return what is shown of the comparison."""
    found = data.comparison
    if found is None:
        return {}
    titles = [
        (f"Gain in {OBJECTIVES[found.recommendation.objective]}", "against raw"),
        (
            "Cost in recall@1 alone",
            f"against raw; the dashed line is the limit, −{found.max_loss:g}",
        ),
    ]
    return {
        "columns": tuple(score_columns(found).values()),
        "methods": method_rows(found),
        "forests": _panels(titles, forests(found)),
        "remarks": [
            (name, note) for name, result in found.results.items() for note in result.notes
        ],
    }


def _apart(some: Similarities) -> str:
    return (
        f"pairs {number(some.pairs_mean, 2)}, all {number(some.combinations_mean, 2)} on average; "
        f"a pair exceeds {percent(some.better)} of all"
    )


def _rows(some: Subspaces) -> str:
    return f"{some.n_images:,} images, {some.n_texts:,} texts"


def _against_chance(some: Subspaces) -> str:
    return f"{some.angles.mean():.0f}° on average, {some.random_mean.mean():.0f}° by chance"


def _panels(titles: Sequence[tuple[str, str]], drawn: Sequence[str]) -> list[Panel]:
    return [
        Panel(title, words, _trusted(svg))
        for (title, words), svg in zip(titles, drawn, strict=bool(drawn))
    ]


def _trusted(text: str) -> Any:
    """Mark what we wrote ourselves as markup; everything else is escaped."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["number"] = number
    environment.filters["count"] = lambda value: f"{value:,}"
    environment.filters["picture"] = lambda png: "data:image/png;base64," + b64encode(png).decode()
    return environment
