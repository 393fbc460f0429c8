"""The demonstration of the theory as one self-contained HTML page."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from markupsafe import Markup, escape

from fillgap.experiments.theory_demo_figures import chart_svg, sphere_svgs
from fillgap.experiments.theory_demo_results import Check, Section, TheoryDemo, format_number

__all__ = ["render_page"]


def render_page(demo: TheoryDemo) -> str:
    """Return the page as text.

    Parameters
    ----------
    demo : TheoryDemo
        What `run_theory_demo` returned.

    Returns
    -------
    str
        HTML with style and figures inside; it loads nothing.
    """
    from jinja2 import Environment, StrictUndefined

    source = files("fillgap.experiments").joinpath("templates", "theory.html.j2")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["statement"] = statement
    environment.filters["words"] = with_subscripts
    sections = [_drawn(section, f"s{i}") for i, section in enumerate(demo.sections)]
    template = environment.from_string(source.read_text(encoding="utf-8"))
    return template.render(demo=demo, sections=sections)


def _drawn(section: Section, name: str) -> tuple[Section, list[Any], list[Any]]:
    """Return a section with its charts and its spheres drawn; they are markup of our own."""
    charts = [
        (chart, Markup(chart_svg(chart, f"{name}c{k}")))  # noqa: S704
        for k, chart in enumerate(section.charts)
    ]
    spheres = [
        (sphere, [(step, Markup(svg)) for step, svg in sphere_svgs(sphere, f"{name}p{k}")])  # noqa: S704
        for k, sphere in enumerate(section.spheres)
    ]
    return section, charts, spheres


def with_subscripts(text: str) -> Markup:
    """Return text as markup in which what follows an underscore is lowered."""
    return Markup(re.sub(r"(?<=\w)_(\w+)", r"<sub>\1</sub>", str(escape(text))))  # noqa: S704


def statement(check: Check) -> str:
    """Return what a check compares, as one formula."""
    tolerance = f" ± {format_number(check.tolerance)}" if check.tolerance else ""
    expected = f"{format_number(check.expected)}{tolerance}"
    return f"{format_number(check.value)} {check.relation} {expected}"
