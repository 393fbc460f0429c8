"""Writing a report in the format that its name asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from fillgap._checks import InputError
from fillgap._files import atomic_file, check_target
from fillgap.report.data import ReportData
from fillgap.report.html import render_html
from fillgap.report.markdown import render_markdown
from fillgap.report.plain import render_json

__all__ = ["check_report_target", "write_report"]

RENDERERS: Final[dict[str, Callable[[ReportData], str]]] = {
    ".html": render_html,
    ".htm": render_html,
    ".md": render_markdown,
    ".json": render_json,
}


def write_report(
    data: ReportData,
    path: str | Path,
    *,
    inputs: Iterable[str | Path] = (),
    overwrite: bool = False,
) -> Path:
    """Write a report; the file appears whole or not at all.

    Parameters
    ----------
    data : ReportData
        From `build_report`.
    path : str or path
        Ends in .html, .md or .json.
    inputs : iterable of str or path
        Files that are never overwritten.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    InputError
        If the path ends in none of these, exists, or cannot be written.
    """
    target = check_report_target(path, inputs=inputs, overwrite=overwrite)
    text = RENDERERS[target.suffix.lower()](data)
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def check_report_target(
    path: str | Path, *, inputs: Iterable[str | Path] = (), overwrite: bool = False
) -> Path:
    """Return the path if a report may be written there: to be asked before the long part."""
    target = Path(path)
    if target.suffix.lower() not in RENDERERS:
        raise InputError(
            f"{target} must end in one of {', '.join(RENDERERS)}, got {target.suffix!r}. "
            "The ending chooses the format."
        )
    return check_target(target, inputs=inputs, overwrite=overwrite)
