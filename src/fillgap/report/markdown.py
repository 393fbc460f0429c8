"""A report as Markdown or JSON, and as a file of any format."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from fillgap.errors import InputError
from fillgap.evaluation.compare import Comparison
from fillgap.files import atomic_file, check_target
from fillgap.report.data import Query, ReportData
from fillgap.report.html import render_html
from fillgap.report.tables import (
    Cell,
    measure_families,
    measure_notes,
    method_rows,
    number,
    percent,
    score_columns,
)

#: Characters that begin or end something within a line of Markdown, or of the HTML in it.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$])")


def render_markdown(data: ReportData) -> str:
    """Return a report as Markdown with tables, without its pictures.

    Parameters
    ----------
    data : ReportData
        From `build_report`. Names and captions in it are text, whatever they contain.
    """
    measured = data.measured
    sizes = f"{measured.n_images:,} images, {measured.n_texts:,} texts"
    lines = [
        f"# {plain(measured.name)}",
        "",
        f"{sizes}, {measured.n_features:,} dimensions. {data.sampling or ''}".rstrip(),
        "",
        f"## Verdict: {measured.verdict.kind}",
        "",
        plain(measured.verdict.text),
        "",
        *(f"- {plain(found.message)}" for found in measured.findings if not found.is_fault),
        "",
        *_recommendation(data),
        *_measures(data),
        *_pictures(data),
        *_comparison(data.comparison),
        *_neighbours(data.queries),
    ]
    if data.usage is not None and data.shown is not None:
        lines += [f"## How to use {data.shown.name}", ""]
        lines += ["```sh", *data.usage.commands, "```", ""]
        lines += ["```python", *data.usage.python, "```", ""]
    lines += [f"Written by fillgap {data.version} with seed {data.random_state}.", ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def plain(text: str) -> str:
    """Return text on one line, with nothing that Markdown would take for markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _recommendation(data: ReportData) -> Iterator[str]:
    yield from ("## Recommendation", "")
    if data.comparison is not None:
        advice = data.comparison.recommendation
        yield from (plain(advice.sentence), "")
        for name, reason in advice.passed_over.items():
            yield f"- Not {plain(name)}: {plain(reason)}."
    yield from map(plain, data.left_out.values())
    yield ""
    if data.shown is not None:
        seen = data.shown.after.verdict.seen
        yield plain(data.shown.sentence)
        if seen is not None:
            yield (
                f"With it a text query sees {percent(seen.text_to_image)} images in its first "
                f"{data.shown.after.verdict.k}, and an image query {percent(seen.image_to_text)} "
                "texts."
            )
    yield ""


def _measures(data: ReportData) -> Iterator[str]:
    before, after, titles = data.measured, None, ["raw"]
    if data.shown is not None:
        before, after = data.shown.before, data.shown.after
        titles.append(data.shown.name)
    if not before.values:
        return
    yield from ("## Measures", "")
    for family, groups in measure_families(before, after).items():
        rows = []
        for group in groups:
            direction = group.direction and f"({group.direction})"
            for row in group.rows:
                name = " ".join(word for word in (group.title, row.part, direction) if word)
                cells = (row.before, row.after)[: len(titles)]
                rows.append([name, *(_words(cell) for cell in cells)])
        yield from _table([family, *titles], rows)
    yield from (f"- {title}: {plain(note)}" for title, note in measure_notes(before))
    yield ""


def _pictures(data: ReportData) -> Iterator[str]:
    """Yield what the pictures of the other formats show, in words."""
    yield from ("## Similarities and subspaces", "") if data.projections else ()
    for some in data.similarities:
        yield (
            f"- {some.label}: the cosine of a pair is {number(some.pairs_mean, 2)} on average, of "
            f"all combinations {number(some.combinations_mean, 2)}; a pair exceeds "
            f"{percent(some.better)} of all."
        )
    yield from (f"- {some.label}: {some.sentence}" for some in data.subspaces)
    yield ""


def _comparison(found: Comparison | None) -> Iterator[str]:
    if found is None:
        return
    yield from ("## Comparison of methods", "")
    yield f"Splits: {found.n_splits}; {found.n_fit} images fitted on, {found.n_test} judged."
    yield ""
    titles = ["method", *score_columns(found).values(), "mixing", "conservation", "exposure@10"]
    rows = [
        [
            f"**{plain(row.name)}**" if row.chosen else plain(row.name),
            *(_words(cell) for cell in row.scores),
            number(row.mixing, 2),
            number(row.conservation, 2),
            ", ".join(row.exposures),
        ]
        for row in method_rows(found)
    ]
    yield from _table(titles, rows)
    for name, why in found.failures.items():
        yield f"- {plain(name)} could not run: {plain(why)}"
    yield ""


def _neighbours(queries: Iterable[Query]) -> Iterator[str]:
    for place, query in enumerate(queries):
        yield from ("## Nearest neighbours", "") if place == 0 else ()
        yield from (f"**{query.item.modality}**: {plain(query.item.words)}", "")
        columns = []
        for hits in query.hits.values():
            words = [f"{hit.item.modality}: {plain(hit.item.words)}" for hit in hits]
            own = [" (its own)" * hit.is_own for hit in hits]
            columns.append(list(map("".join, zip(words, own, strict=True))))
        yield from _table(list(query.hits), list(zip(*columns, strict=True)))


def _words(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return f"{cell.text} ({cell.interval})" if cell.interval else cell.text


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def render_json(data: ReportData) -> str:
    """Return a report as a JSON document, without its pictures.

    NaN and infinity are null.
    """
    return json.dumps(to_plain(data), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def to_plain(value: Any) -> Any:
    """Return lists, dicts, text, numbers and None that say the same."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    elif is_dataclass(value):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    elif isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
