"""What each method gains and what it costs, with intervals."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from fillgap.evaluation import Comparison, Estimate
from fillgap.report.svg import ALL, INK, LINE, MUTED, PAIRS, draw
from fillgap.report.tables import ranked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["forests"]

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
