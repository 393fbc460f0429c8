"""Figures of matplotlib as pieces of a web page, in the colours of the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fillgap.report.data import ProjectedPair, Projection, Similarities, Subspaces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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


def draw(
    name: str, what: str, paint: Callable[[Figure], None], *, size: tuple[float, float]
) -> str:
    """Return a figure as an inline SVG element.

    Parameters
    ----------
    name : str
        Letters, digits and hyphens: no other figure of the page has this name.
    what : str
        What is seen, for those who cannot see it.
    paint : callable
        Draws into an empty figure.
    size : tuple of float
        Width and height in inches; the page scales it.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    text = StringIO()
    with matplotlib.style.context([_STYLE, {"svg.hashsalt": name}], after_reset=True):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        figure.savefig(text, format="svg", dpi=200, metadata={"Date": None})
    return _inline(text.getvalue(), name, what)


def _inline(document: str, name: str, what: str) -> str:
    """Return the element of an SVG document, with identifiers of its own and nothing to fetch."""
    from html import escape

    body = document[document.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]*)"', body)
    box = "" if view is None else view[1]
    body = re.sub(
        r"<svg[^>]*>",
        f'<svg role="img" aria-label="{escape(what)}" viewBox="{box}">',
        body,
        count=1,
    )
    body = body.replace("xlink:href", "href")
    wanted = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", body))
    body = re.sub(
        r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in wanted else "", body
    )
    body = re.sub(r"(url\(|href=\")#", rf"\g<1>#{name}-", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", body).strip()


WIDE: Final = (4.6, 2.7)
SQUARE: Final = (4.6, 4.1)
#: Shares of variance below this are rounding, or too small to see.
LEAST_SHARE: Final = 1e-6


def scatters(projection: Projection) -> list[str]:
    """Return a panel for each representation, with the points as one small picture."""
    return [
        draw(
            f"{projection.name.lower()}-{number}",
            f"{projection.name} of {pair.label} embeddings: {_how_far(pair)}.",
            partial(_scatter, pair),
            size=SQUARE,
        )
        for number, pair in enumerate(projection.pairs)
    ]


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


def _how_far(pair: ProjectedPair) -> str:
    """Say in words how far the clouds are apart, against their size."""
    distance = np.linalg.norm(pair.images.mean(axis=0) - pair.texts.mean(axis=0))
    sizes = [np.sqrt(points.var(axis=0).sum()) for points in (pair.images, pair.texts)]
    ratio = distance / max(float(np.mean(sizes)), 1e-12)
    return f"the centres of images and texts are {ratio:.1f} times the spread of one cloud apart"


def histograms(similarities: Sequence[Similarities]) -> list[str]:
    """Return a panel for each representation: pairs against all combinations."""
    highest = max((max(s.pairs.max(), s.combinations.max()) for s in similarities), default=1)
    return [
        draw(
            f"similarities-{number}",
            f"Cosines of {found.label} embeddings: pairs {found.pairs_mean:.2f} on average, all "
            f"combinations {found.combinations_mean:.2f}.",
            partial(_histogram, found, highest),
            size=WIDE,
        )
        for number, found in enumerate(similarities)
    ]


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


def spectra(found: Sequence[Subspaces]) -> list[str]:
    """Return a panel for each representation: the share of variance of each principal axis."""
    return [
        draw(
            f"spectrum-{number}",
            f"Spectra of {some.label} embeddings: the first axis holds "
            f"{some.images_spectrum[0]:.0%} of the variance of images and "
            f"{some.texts_spectrum[0]:.0%} of that of texts.",
            partial(_spectrum, some),
            size=WIDE,
        )
        for number, some in enumerate(found)
    ]


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
    _grid(axes)


def angles(found: Sequence[Subspaces]) -> list[str]:
    """Return a panel for each representation: principal angles beside those of chance."""
    return [
        draw(
            f"angles-{number}",
            f"Principal angles of {some.label} embeddings, from {some.angles[0]:.0f} to "
            f"{some.angles[-1]:.0f} degrees; of random subspaces from {some.random_mean[0]:.0f} "
            f"to {some.random_mean[-1]:.0f}.",
            partial(_angles, some),
            size=WIDE,
        )
        for number, some in enumerate(found)
    ]


def _angles(found: Subspaces, figure: Figure) -> None:
    axes = figure.subplots()
    order = np.arange(1, len(found.angles) + 1)
    axes.fill_between(order, found.random_low, found.random_high, color=ALL, alpha=0.35, lw=0)
    axes.plot(order, found.random_mean, color=ALL, linestyle=(0, (4, 2)), linewidth=1.2)
    axes.plot(order, found.angles, color=INK)
    axes.set(xlabel="principal angle", ylabel="degrees", ylim=(0, 92), yticks=[0, 30, 60, 90])
    axes.set_xlim(1, max(2, len(order)))
    _grid(axes)


def _grid(axes: Axes) -> None:
    axes.grid(axis="y")
    axes.set_axisbelow(True)
