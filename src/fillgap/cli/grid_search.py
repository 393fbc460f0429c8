"""fillgap grid-search: try parameters of one method on held-out rows."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from fillgap.cli.options import (
    AsJson,
    ImageIndex,
    Images,
    MaxImages,
    Parameters,
    Quiet,
    Seed,
    Texts,
)
from fillgap.cli.output import number, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from fillgap.evaluation import GridSearch

__all__ = ["grid_search"]


def grid_search(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="See fillgap methods.")],
    images: Images,
    texts: Texts = None,
    *,
    grid: Annotated[
        list[str],
        typer.Option(
            "--grid",
            metavar="NAME=VALUE,VALUE",
            help="Values to try of a parameter, for example --grid eta=10,100; may be repeated.",
        ),
    ],
    parameters: Parameters = None,
    measure: Annotated[
        str, typer.Option("--measure", metavar="NAME", help="What decides, larger is better.")
    ] = "mixed_recall_at_10",
    image_index: ImageIndex = None,
    n_splits: Annotated[int, typer.Option("--splits", min=1, help="Held-out splits.")] = 5,
    max_images: MaxImages = 100_000,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit METHOD with every combination of parameters on one part of the images, judge on the rest.

    Images and texts must be paired: row i with row i, or by --image-index.
    """
    from fillgap.aligners import make_aligner
    from fillgap.cli.data import parse_grid, parse_parameters, read_pair
    from fillgap.evaluation import grid_search as search

    aligner, values = make_aligner(method, **parse_parameters(parameters)), parse_grid(grid)
    pair = read_pair(
        images,
        texts,
        image_index=image_index,
        captions=None,
        unpaired=False,
        max_images=max_images,
        seed=seed,
    )
    with progress_bar(quiet=quiet) as progress:
        found = search(
            pair,
            aligner,
            values,
            measure=measure,
            n_splits=n_splits,
            random_state=seed,
            progress=progress,
        )
    best = found.best  # refuses where no combination can be fitted
    if as_json:
        print_json({**found.to_dict(), "best": best.parameters})
    else:
        chosen = {**parse_parameters(parameters), **best.parameters}
        settings = [f"--set {shlex.quote(f'{name}={value}')}" for name, value in chosen.items()]
        sides = shlex.join([images] if texts is None else [images, texts])
        print_search(found, f"fillgap fit {method} {sides} {' '.join(settings)} --out ALIGNER")


def print_search(found: GridSearch, command: str) -> None:
    """Print every combination, best first, and how to fit the best one."""
    names = list(found.best.parameters)
    directions = {"mean": "mean", "image_to_text": "images", "text_to_image": "texts"}
    say(f"{found.method}: {found.measure} of held-out queries, best first.")
    print_table(
        [*names, *directions.values()],
        [
            [str(point.parameters[name]) for name in names]
            + [number(point.values.get(direction)) for direction in directions]
            for point in found.points
        ],
    )
    say("images, texts: by the modality of the query. The best of many is optimistic: compare it")
    say("with other methods on rows that are not among these.")
    for point in found.points:
        said = [f"cannot be fitted: {point.failure}"] if point.failure else point.notes
        for remark in said:
            say(f"{point.label}: {remark}")
    say(f"To fit the best one: {command}")
