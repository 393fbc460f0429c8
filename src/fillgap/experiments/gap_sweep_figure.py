"""A sweep of the gap as one figure: every measure against the gap angle."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fillgap._checks import InputError
from fillgap._files import atomic_file, check_target
from fillgap.experiments.gap_sweep_results import LABELS, GapSweep, SweepPoint

__all__ = ["check_figure", "draw_sweep", "write_sweep_figure"]

_INK, _FAINT = "#26292f", "#d9dce1"
#: Colours that colour-blind readers tell apart (Okabe and Ito), and marks that differ too.
_SERIES: Final = {
    "image_to_text": ("image queries", "#0072b2", "o"),
    "text_to_image": ("text queries", "#d55e00", "s"),
    "mean": ("", "#26292f", "o"),
}
_FAIR: Final = {"exposure_at_10": 1.0}


def check_figure(path: str | Path, *, overwrite: bool) -> Path:
    """Return `path` if a figure may be written there; parameters as for `check_target`.

    Raises
    ------
    InputError
        If the name does not end in .svg, exists already, or its folder does not exist.
    """
    if Path(path).suffix.lower() != ".svg":
        raise InputError(
            f"the figure must be a file that ends in .svg, got {path}. "
            "Write SVG, and convert it where another format is needed."
        )
    return check_target(path, overwrite=overwrite)


def write_sweep_figure(sweep: GapSweep, path: str | Path) -> None:
    """Write the figure as SVG: one panel a measure, Δθ from opened on the left to beyond.

    Bands are the intervals of the estimates. Equal sweeps give equal files.

    Parameters
    ----------
    sweep : GapSweep
        What `sweep_gap` returned.
    path : str or path
        File to write; it is replaced only when the figure is complete.

    Raises
    ------
    InputError
        If it does not end in .svg, its folder does not exist, or it cannot be written.
    """
    from matplotlib import rc_context

    check_figure(path, overwrite=True)  # before the second that drawing takes
    figure = draw_sweep(sweep)
    plain = rc_context({"svg.fonttype": "none", "svg.hashsalt": "fillgap"})
    with atomic_file(path) as temporary, plain:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Title": _title(sweep)})


def draw_sweep(sweep: GapSweep) -> Any:
    """Return the figure; no global state of matplotlib knows of it."""
    from matplotlib.figure import Figure

    measures = [name for name in sweep.measures if name != "gap_angle"]
    rows = (len(measures) + 2) // 3
    figure = Figure(figsize=(10.5, 3.0 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, 3, sharex=True, squeeze=False).ravel()
    for axes, measure in zip(panels, measures, strict=False):
        _draw_panel(axes, sweep, measure)
    for axes in panels[len(measures) :]:
        axes.axis("off")
    for axes in panels[max(len(measures) - 3, 0) : len(measures)]:
        axes.set_xlabel("Δθ, degrees (below 0: over-corrected)", color=_INK, fontsize=9.5)
        axes.tick_params(labelbottom=True)
    panels[0].invert_xaxis()
    figure.suptitle(_title(sweep), color=_INK, fontsize=11, x=0.01, ha="left")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=9.5,
        labelcolor=_INK,
    )  # fmt: skip
    return figure


def _title(sweep: GapSweep) -> str:
    tested = f"{sweep.n_test} held-out images in each of {sweep.n_splits} splits"
    return f"{sweep.data}: the gap opened, closed (dashed line) and over-corrected; {tested}"


def _draw_panel(axes: Any, sweep: GapSweep, measure: str) -> None:
    """Draw one measure over Δθ, in both directions where it has them."""
    points = sorted(sweep.points, key=_angle)
    angles = [_angle(point) for point in points]
    directions = [name for name in points[0].estimates[measure] if name != "mean"] or ["mean"]
    for direction in directions:
        label, colour, mark = _SERIES[direction]
        items = [point.estimates[measure][direction] for point in points]
        low, high = [item.low for item in items], [item.high for item in items]
        axes.fill_between(angles, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(
            angles, [item.value for item in items], color=colour, marker=mark, markersize=3.4,
            linewidth=1.4, label=label or "_unnamed",
        )  # fmt: skip
    if measure in _FAIR:
        axes.axhline(_FAIR[measure], color=_INK, linewidth=0.8, linestyle=":")
    axes.axvline(0, color=_INK, linewidth=0.8, linestyle="--")
    axes.axvline(
        _angle(sweep.raw), color="#009e73", linewidth=1.2, label="the gap as it is (λ = 0)"
    )
    axes.set_title(LABELS[measure], loc="left", color=_INK, fontsize=10)
    axes.tick_params(colors=_INK, labelsize=9, length=3)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=_INK, linewidth=0.7)


def _angle(point: SweepPoint) -> float:
    return point.mean("gap_angle").value
