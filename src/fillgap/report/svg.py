"""Figures of matplotlib as pieces of a web page, in the colours of the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ALL", "IMAGES", "INK", "LINE", "MUTED", "PAIRS", "TEXTS", "draw"]

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
