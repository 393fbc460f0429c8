"""A report as one web page: its text, and its figures in the colours of the page."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fillgap.evaluation.compare import Comparison
from fillgap.report.data import ProjectedPair, Projection, ReportData, Similarities, Subspaces
from fillgap.report.panels import N_DRAWS
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
    from matplotlib.figure import Figure

#: Of the modalities: told apart by colour-blind readers, and visible on white and on black.
IMAGES: Final = "#2f7fd0"
TEXTS: Final = "#d9730d"
#: Of pairs against all combinations.
PAIRS: Final = "#8b5fd0"
ALL: Final = "#8f959c"
#: Stand for colours that the page sets, so that figures are light or dark as the page is.
INK: Final = "#010203"
MUTED: Final = "#040506"
LINE: Final = "#070809"

_VARIABLES: Final = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"}

_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.edgecolor": LINE,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 1,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "text.parse_math": False,
    "savefig.transparent": True,
}


#: Width and height in inches; the page scales them.
WIDE: Final = (4.6, 2.7)
SQUARE: Final = (4.6, 4.1)
#: Inches of a method in a forest, and of what is around all of them.
ROW, MARGIN = 0.235, 0.55
#: Letters of a name that is written out.
LONGEST: Final = 26
#: Shares of variance below this are rounding, or too small to see.
LEAST_SHARE: Final = 1e-6


class Panel(NamedTuple):
    """A figure with its title and a few words."""

    title: str
    words: str
    svg: str


def draw(
    name: str, what: str, paint: Callable[[Figure], None], *, size: tuple[float, float]
) -> Markup:
    """Return what is painted into an empty figure as an inline SVG element.

    No other figure of the page has this name, of letters, digits and hyphens; `what` is for those
    who cannot see it.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    text = StringIO()
    with matplotlib.style.context([_STYLE, {"svg.hashsalt": name}], after_reset=True):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        figure.savefig(text, format="svg", dpi=200, metadata={"Date": None})
    document = text.getvalue()
    body = document[document.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]*)"', body)
    box = "" if view is None else view[1]
    start = f'<svg role="img" aria-label="{escape(what)}" viewBox="{box}">'
    body = re.sub(r"<svg[^>]*>", lambda _: start, body, count=1)
    body = body.replace("xlink:href", "href")
    # Identifiers of its own, and nothing to fetch.
    wanted = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", body))
    body = re.sub(
        r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in wanted else "", body
    )
    body = re.sub(r"(url\(|href=\")#", rf"\g<1>#{name}-", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    return Markup(re.sub(r"\n\s*", "\n", body).strip())  # noqa: S704  (escaped by matplotlib)


def scatters(projection: Projection) -> list[Panel]:
    """Return a panel for each representation, with the points as one small picture."""
    panels = []
    for place, pair in enumerate(projection.pairs):
        distance = np.linalg.norm(pair.images.mean(axis=0) - pair.texts.mean(axis=0))
        sizes = [np.sqrt(points.var(axis=0).sum()) for points in (pair.images, pair.texts)]
        ratio = distance / max(float(np.mean(sizes)), 1e-12)
        what = (
            f"{projection.name} of {pair.label} embeddings: the centres of images and texts are "
            f"{ratio:.1f} times the spread of one cloud apart."
        )
        name = f"{projection.name.lower()}-{place}"
        svg = draw(name, what, partial(_scatter, pair), size=SQUARE)
        panels.append(Panel(pair.label, "", svg))
    return panels


def _scatter(pair: ProjectedPair, figure: Figure) -> None:
    axes = figure.subplots()
    points = np.vstack([pair.images, pair.texts])
    colours = np.repeat([IMAGES, TEXTS], [len(pair.images), len(pair.texts)])
    order = np.random.default_rng(0).permutation(len(points))  # so that none lies on top
    x, y = points[order].T
    size = np.clip(6000 / len(points), 7, 20)
    axes.scatter(x, y, c=colours[order], s=size, alpha=0.75, linewidths=0, rasterized=True)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xticks=[], yticks=[], xlabel=pair.axes[0], ylabel=pair.axes[1])


def histograms(similarities: Sequence[Similarities]) -> list[Panel]:
    """Return a panel for each representation: pairs against all combinations."""
    highest = max((max(s.pairs.max(), s.combinations.max()) for s in similarities), default=1)
    panels = []
    for place, some in enumerate(similarities):
        what = (
            f"Cosines of {some.label} embeddings: pairs {some.pairs_mean:.2f} on average, all "
            f"combinations {some.combinations_mean:.2f}."
        )
        words = (
            f"pairs {number(some.pairs_mean, 2)}, all {number(some.combinations_mean, 2)} on "
            f"average; a pair exceeds {percent(some.better)} of all"
        )
        paint = partial(_histogram, some, highest)
        svg = draw(f"similarities-{place}", what, paint, size=WIDE)
        panels.append(Panel(some.label, words, svg))
    return panels


def _histogram(found: Similarities, highest: float, figure: Figure) -> None:
    axes = figure.subplots()
    axes.stairs(found.combinations, found.edges, fill=True, color=ALL, alpha=0.55)
    seen = np.where(found.pairs > 0, found.pairs, np.nan)
    axes.stairs(seen, found.edges, fill=True, color=PAIRS, alpha=0.25)
    axes.stairs(seen, found.edges, color=PAIRS, linewidth=1.4)
    axes.set(
        xlim=(found.edges[0], found.edges[-1]),
        ylim=(0, 1.05 * highest),
        yticks=[],
        xlabel="cosine",
        ylabel="share",
    )
    axes.spines["left"].set_visible(False)


def spectra_and_angles(found: Iterable[Subspaces]) -> tuple[list[Panel], list[Panel]]:
    """Return panels for each representation: shares of variance, and angles beside chance."""
    spectra, angles = [], []
    for place, some in enumerate(found):
        words = f"{some.n_images:,} images, {some.n_texts:,} texts"
        what = (
            f"Spectra of {some.label} embeddings: the first axis holds "
            f"{some.images_spectrum[0]:.0%} of the variance of images and "
            f"{some.texts_spectrum[0]:.0%} of that of texts."
        )
        svg = draw(f"spectrum-{place}", what, partial(_spectrum, some), size=WIDE)
        spectra.append(Panel(some.label, words, svg))
        what = (
            f"Principal angles of {some.label} embeddings, from {some.angles[0]:.0f} to "
            f"{some.angles[-1]:.0f} degrees; of random subspaces from {some.random_mean[0]:.0f} "
            f"to {some.random_mean[-1]:.0f}."
        )
        svg = draw(f"angles-{place}", what, partial(_angles, some), size=WIDE)
        angles.append(Panel(some.label, words, svg))
    return spectra, angles


def _spectrum(found: Subspaces, figure: Figure) -> None:
    from matplotlib.ticker import LogLocator

    axes = figure.subplots()
    for spectrum, colour in ((found.images_spectrum, IMAGES), (found.texts_spectrum, TEXTS)):
        seen = spectrum[spectrum > LEAST_SHARE]
        axes.plot(np.arange(1, len(seen) + 1), seen, color=colour)
    axes.set(yscale="log", xlabel="principal axis", ylabel="share of variance")
    axes.set_xlim(1, None)
    low, high = axes.get_ylim()
    steps = (1, 2, 5) if high < 50 * low else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _angles(found: Subspaces, figure: Figure) -> None:
    axes = figure.subplots()
    order = np.arange(1, len(found.angles) + 1)
    axes.fill_between(order, found.random_low, found.random_high, color=ALL, alpha=0.35, lw=0)
    axes.plot(order, found.random_mean, color=ALL, linestyle=(0, (4, 2)), linewidth=1.2)
    axes.plot(order, found.angles, color=INK)
    axes.set(xlabel="principal angle", ylabel="degrees", ylim=(0, 92), yticks=[0, 30, 60, 90])
    axes.set_xlim(1, max(2, len(order)))
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def forests(found: Comparison) -> list[Panel]:
    """Return a panel of gains and one of costs; none where no method could run."""
    methods = [name for name in ranked(found) if found.results[name].changes]
    if not methods:
        return []
    objective, limit = found.recommendation.objective, -found.max_loss
    words = f"against raw; the dashed line is the limit, −{found.max_loss:g}"
    figures = (
        ("gain", "Gain", objective, None, f"Gain in {OBJECTIVES[objective]}", "against raw"),
        ("cost", "Change of recall@1", "recall_at_1", limit, "Cost in recall@1 alone", words),
    )
    return [
        Panel(
            title,
            words,
            draw(
                name,
                f"{what} of each method against raw, with 95 % intervals; the table has the "
                "numbers.",
                partial(_forest, found, methods, measure, limit),
                size=(WIDE[0], MARGIN + ROW * len(methods)),
            ),
        )
        for name, what, measure, limit, title, words in figures
    ]


def _forest(
    found: Comparison, methods: list[str], measure: str, limit: float | None, figure: Figure
) -> None:
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=0.8)
    if limit is not None:
        axes.axvline(limit, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    for place, name in enumerate(methods):
        change = found.results[name].changes[measure]["mean"]
        chosen = name == found.recommendation.method
        colour = PAIRS if chosen else ALL
        axes.plot([change.low, change.high], [place, place], color=colour, linewidth=2)
        axes.plot(change.value, place, "o", color=colour, markersize=6 if chosen else 4.5)
    # That of a method with parameters is long, and would leave no room for the figure.
    short = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in methods]
    axes.set(yticks=range(len(methods)), yticklabels=short, ylim=(len(methods) - 0.4, -0.6))
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
