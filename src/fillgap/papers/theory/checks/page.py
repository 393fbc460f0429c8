"""The demonstration of the theory: every section run, and drawn on one HTML page.

In its figures text stays text, and every colour is a placeholder that the page maps to a CSS
variable, so that one file serves light and dark screens.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from fillgap.errors import check_integer
from fillgap.files import atomic_file, check_target
from fillgap.papers.theory.checks.results import (
    Chart,
    Check,
    Curve,
    Effort,
    Section,
    Sphere,
    TheoryDemo,
    format_number,
)
from fillgap.papers.theory.checks.subspaces import corollary_section, pair_section, subspace_section
from fillgap.papers.theory.checks.theorems import cone_section, lemma_section, unconstrained_section
from fillgap.papers.theory.hyperplanes import HyperplanePair
from fillgap.runtime import Progress, silent

_INK, _FAINT = "#010203", "#040506"  # text and axes; grid
_TONES = ("#110001", "#110002", "#110003", "#110004", "#110005", "#110006")
_VARIABLES = {_INK: "ink", _FAINT: "faint"} | {tone: f"c{i}" for i, tone in enumerate(_TONES)}
_DASHES = {"line": "-", "dashed": "--", "dotted": ":", "points": ""}


_SECTIONS: tuple[tuple[str, Callable[[Effort], Section]], ...] = (
    ("theorem 1, no constraint", unconstrained_section),
    ("theorem 2, cones", cone_section),
    ("theorem 3, hyperplanes", subspace_section),
    ("corollaries, rotation and projection", corollary_section),
    ("theorems S5 and 4, pairs", pair_section),
    ("lemmas 12 and 15", lemma_section),
)


def run_theory_demo(
    *, quick: bool = False, random_state: int = 0, progress: Progress | None = None
) -> TheoryDemo:
    """Simulate, sample and compute everything that the page shows.

    Parameters
    ----------
    quick : bool
        Take smaller batches, fewer steps and fewer draws; the checks are the same.
    random_state : int
        Seed; equal seeds give equal arrays and figures on one machine.
    progress : callable, optional
        Called as progress(done, total, what), once a section.

    Returns
    -------
    TheoryDemo
        `holds` says whether every check holds, `checks` lists them.

    Raises
    ------
    InputError
        If `random_state` is negative.
    """
    report = progress or silent
    effort = Effort.of(quick=quick, seed=check_integer(random_state, "random_state", low=0))
    sections = []
    for done, (what, build) in enumerate(_SECTIONS):
        report(done, len(_SECTIONS), what)
        sections.append(build(effort))
    report(len(_SECTIONS), len(_SECTIONS), "done")
    return TheoryDemo(tuple(sections), quick, effort.seed)


def write_theory_page(demo: TheoryDemo, path: str | Path) -> None:
    """Write the demonstration as one HTML file that needs nothing from the network.

    A file that is there is replaced only when the page is complete.
    """
    check_target(path, overwrite=True)  # before the seconds that drawing takes
    page = render_page(demo)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_page(demo: TheoryDemo) -> str:
    """Return the page as HTML with style and figures inside; it loads nothing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fillgap.papers"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["statement"] = statement
    environment.filters["words"] = with_subscripts
    sections = []
    for i, section in enumerate(demo.sections):
        charts = [
            (chart, Markup(chart_svg(chart, f"s{i}c{k}")))  # noqa: S704  (markup of our own)
            for k, chart in enumerate(section.charts)
        ]
        spheres = [
            (sphere, [(step, Markup(svg)) for step, svg in sphere_svgs(sphere, f"s{i}p{k}")])  # noqa: S704
            for k, sphere in enumerate(section.spheres)
        ]
        sections.append((section, charts, spheres))
    return environment.get_template("theory.html.j2").render(demo=demo, sections=sections)


def with_subscripts(text: str) -> Markup:
    """Return text as markup in which what follows an underscore is lowered."""
    return Markup(re.sub(r"(?<=\w)_(\w+)", r"<sub>\1</sub>", str(escape(text))))  # noqa: S704


def statement(check: Check) -> str:
    """Return what a check compares, as one formula."""
    tolerance = f" ± {format_number(check.tolerance)}" if check.tolerance else ""
    expected = f"{format_number(check.expected)}{tolerance}"
    return f"{format_number(check.value)} {check.relation} {expected}"


def chart_svg(chart: Chart, name: str) -> str:
    """Return one chart as an SVG element; `name` is unique on the page."""
    figure, axes = _new_figure(4.1, 3.0, layout="constrained")
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axes.set_xscale("log" if chart.log_x else "linear")
    axes.set_yscale("log" if chart.log_y else "linear")
    for curve in chart.curves:
        _draw(axes, curve)
    axes.tick_params(colors=_INK, labelsize=9.5, length=3)
    axes.tick_params(which="minor", length=0)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=_INK, linewidth=0.7)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=_INK, fontsize=9.8)
    longest = max(len(curve.label) for curve in chart.curves)
    figure.legend(
        loc="outside upper left", ncols=3 if longest < 14 else 2, frameon=False, fontsize=9.5,
        labelcolor=_INK, handlelength=1.8, columnspacing=1.2, borderpad=0, labelspacing=0.3,
    )  # fmt: skip
    return _svg(figure, name, chart.title)


def _draw(axes: Any, curve: Curve) -> None:
    tone = _TONES[curve.tone % len(_TONES)]
    label = curve.label or "_unnamed"
    if curve.style != "points":
        axes.plot(curve.x, curve.y, _DASHES[curve.style], color=tone, label=label, linewidth=1.6)
    elif curve.error is None:
        axes.plot(curve.x, curve.y, "o", color=tone, label=label, markersize=3.6)
    else:
        axes.errorbar(
            curve.x, curve.y, curve.error, fmt="o", color=tone, label=label,
            markersize=4, linewidth=1.2, capsize=2.5,
        )  # fmt: skip


def sphere_svgs(sphere: Sphere, name: str) -> list[tuple[int, str]]:
    """Return (step, SVG element) for each frame, seen from one side in parallel projection."""
    drawn = []
    for frame in sphere.frames:
        figure, axes = _new_figure(1.75, 1.75)
        axes.set(xlim=(-1.04, 1.04), ylim=(-1.04, 1.04), position=(0, 0, 1, 1))
        axes.axis("off")
        _outline(axes, frame.phi)
        for points, tone, marker, size in ((frame.X, 0, "o", 3.4), (frame.Y, 1, "D", 2.7)):
            flat, depth = _project(points, frame.phi)
            for mask, alpha in ((depth < 0, 0.3), (depth >= 0, 0.9)):
                axes.plot(
                    *flat[mask].T, marker, color=_TONES[tone], alpha=alpha, markersize=size,
                    markeredgewidth=0, clip_on=False,
                )  # fmt: skip
        text = _svg(figure, f"{name}-{frame.step}", f"{sphere.title}, step {frame.step}")
        drawn.append((frame.step, text))
    return drawn


def _outline(axes: Any, phi: float) -> None:
    """Draw the sphere, and where the two planes cut it and meet."""
    angle = np.linspace(0, 2 * np.pi, 73)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    axes.plot(*circle.T, color=_FAINT, linewidth=1.2, clip_on=False)
    if not phi:
        return
    planes = HyperplanePair(3, phi)
    for basis, tone in ((planes.basis_x, 0), (planes.basis_y, 1)):
        flat, _ = _project(circle @ basis.T, phi)
        axes.plot(*flat.T, color=_TONES[tone], linewidth=0.7, alpha=0.5)
    ends, _ = _project(np.array([[-1.0, 0, 0], [1.0, 0, 0]]), phi)
    axes.plot(*ends.T, color=_INK, linewidth=0.9, alpha=0.7)


def _project(
    points: NDArray[np.float64], phi: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two coordinates and the depth, seen from where the clouds are in front."""
    turn, nod = np.radians((55.0, -24.0) if phi else (35.0, 48.0))
    side = np.array([np.cos(turn), np.sin(turn), 0.0])
    depth = np.array([-np.sin(turn) * np.cos(nod), np.cos(turn) * np.cos(nod), np.sin(nod)])
    up = np.cross(side, depth)
    return points @ np.column_stack([side, up]), points @ depth


def _new_figure(width: float, height: float, layout: Any = None) -> tuple[Any, Any]:
    """Return a figure that no global state of matplotlib knows of, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    return figure, figure.add_subplot()


def _svg(figure: Any, name: str, title: str) -> str:
    """Return the figure as an SVG element whose colours are CSS variables."""
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "path.simplify": True}):
        figure.savefig(stream, format="svg", transparent=True)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL
    )
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)  # repeated in every figure, never used
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    lowered = r'<tspan dy="2" font-size="80%">\1</tspan><tspan dy="-2">\2</tspan>'
    text = re.sub(
        r">[^<>]*_[^<>]*<",
        lambda match: re.sub(r"(?<=\w)_(\w+)([^_<]*)", lowered, match.group()),
        text,
    )
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
