"""fillgap reproduce fill-the-gap: tables 2 to 6 and figure 3 of that paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from fillgap.cli.options import AsJson, Overwrite, Quiet, Seed
from fillgap.cli.output import number, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from fillgap.experiments.fill_the_gap import PaperCell

__all__ = ["Cache", "Workers", "fill_the_gap"]

Cache: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        help="Where computed cells are kept: $FILLGAP_CACHE or the user's cache by default.",
        show_default=False,
    ),
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Processes; as many as memory holds by default.",
        show_default=False,
    ),
]  # fmt: skip


def fill_the_gap(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="Embeddings, or a folder of them: one subfolder or file for each data and model.",
            show_default=False,
        ),
    ] = None,
    datasets: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            metavar="DATASET",
            help="Images with captions to embed, as for fillgap embed; may be repeated.",
            show_default=False,
        ),
    ] = None,
    encoders: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            metavar="MODEL",
            help="What embeds them, as for fillgap embed; may be repeated.",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write every cell as CSV.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write tables and figures as one page."),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option("--results", metavar="FILE", help="Also write all rows as Parquet."),
    ] = None,
    n_judged: Annotated[int, typer.Option("--pairs", min=4, help="Pairs to judge on.")] = 2500,
    n_separate: Annotated[
        int, typer.Option("--transport", min=0, help="Other pairs, to learn from.")
    ] = 5000,
    eta: Annotated[float, typer.Option("--eta", help="η of the transport.")] = 1.0,
    alpha: Annotated[float, typer.Option("--alpha", help="α of the transport.")] = 0.5,
    umap: Annotated[
        bool, typer.Option("--umap", help="Draw UMAP on the page too: pip install 'fillgap[viz]'.")
    ] = False,
    cache: Cache = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fill tables 2 to 6 and figure 3 of "Fill the Gap" (arXiv:2505.03703).

    Without --data and --dataset it runs on the bundled scenes. Embeddings of datasets and cells are
    kept as they are computed: a run that was stopped goes on.
    """
    from fillgap._files import check_target
    from fillgap.experiments import fill_the_gap as paper
    from fillgap.experiments.cell_cache import default_cache
    from fillgap.experiments.experiment_run import run_experiment
    from fillgap.experiments.fill_the_gap_page import cells_as_csv, render_page
    from fillgap.experiments.specification import EncoderModel, PictureData, default_name
    from fillgap.report.manifolds import umap_points

    for target in (csv, html, results):
        if target is not None:
            check_target(target, overwrite=overwrite)
    if umap:
        from fillgap._checks import require

        require("umap", "viz", "UMAP")
    found_data = [] if data is None else paper.find_embeddings(data)
    pictures = [PictureData(default_name(spec), spec) for spec in datasets or []]
    experiment = paper.fill_the_gap(
        (*found_data, *pictures) or None,
        encoders=[EncoderModel(default_name(spec), spec) for spec in encoders or []],
        n_judged=n_judged, n_separate=n_separate, eta=eta, alpha=alpha, random_state=seed,
    )  # fmt: skip
    with progress_bar(quiet=quiet) as progress:
        found = run_experiment(
            experiment, cache=cache or default_cache(), n_workers=workers, progress=progress
        )
    cells, lines = paper.paper_cells(found), paper.remarks(found)
    if results is not None:
        found.save(results, overwrite=overwrite)
    if csv is not None:
        _write(csv, cells_as_csv(found))
    if html is not None:
        _write(html, render_page(found, {"UMAP": umap_points} if umap else {}))
    if as_json:
        print_json({"remarks": lines, "notes": found.notes(), "cells": [_plain(c) for c in cells]})
        return
    for line in lines:
        say(line)
    for table in dict.fromkeys(cell.table for cell in cells):
        _print(table, [cell for cell in cells if cell.table == table])
    for reason in dict.fromkeys(f"n/a, {c.representation}: {c.reason}" for c in cells if c.reason):
        say(reason)
    for note in found.notes():
        say(f"Note: {note}")


def _write(target: Path, content: str) -> None:
    from fillgap._files import atomic_file

    with atomic_file(target) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _plain(cell: PaperCell) -> dict[str, Any]:
    return {**vars(cell), "difference": cell.difference}


def _print(table: int, cells: list[PaperCell]) -> None:
    """Print a table: for each data and number what was found, what is printed, the difference."""
    from fillgap.experiments.fill_the_gap import COLUMNS
    from fillgap.experiments.fill_the_gap_tables import TABLES

    say()
    say(f"Table {table}: {TABLES[table][0]}")
    rows: list[Sequence[str]] = []
    for data, label in dict.fromkeys((cell.data, cell.label) for cell in cells):
        of = [cell for cell in cells if (cell.data, cell.label) == (data, label)]
        rows.append([f"{data}: {label}"])
        rows.append(["  found", *(number(cell.found, 2) for cell in of)])
        for what in ("printed", "difference"):
            values = [getattr(cell, what) for cell in of]
            if any(value is not None for value in values):
                rows.append([f"  {what}", *("" if v is None else number(v, 2) for v in values)])
    print_table(["", *COLUMNS[table]], rows)
