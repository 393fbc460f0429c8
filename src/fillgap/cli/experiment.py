"""fillgap experiment: data × representations × measures from a TOML file."""

from __future__ import annotations

from typing import Annotated

import typer

from fillgap.cli.fill_the_gap import Cache, Workers
from fillgap.cli.options import AsJson, Out, Overwrite, Quiet
from fillgap.cli.output import print_json, progress_bar, say

__all__ = ["experiment"]


def experiment(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="The TOML file.")],
    *,
    out: Out,
    cache: Cache = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run the experiment of SPEC, and write its rows to one Parquet file.

    A run that was stopped goes on from the cells that were computed.
    """
    from fillgap._files import check_target
    from fillgap.experiments.cell_cache import default_cache
    from fillgap.experiments.experiment_run import run_experiment
    from fillgap.experiments.specification_file import read_experiment

    check_target(out, inputs=[spec], overwrite=overwrite)
    described = read_experiment(spec)
    with progress_bar(quiet=quiet) as progress:
        found = run_experiment(
            described, cache=cache or default_cache(), n_workers=workers, progress=progress
        )
    found.save(out, overwrite=overwrite)
    reasons = dict.fromkeys(
        f"{row.data}, {row.representation}, {row.measure}: {row.reason}"
        for row in found.rows
        if row.reason
    )
    if as_json:
        print_json({"out": str(out), "rows": [vars(row) for row in found.rows]})
        return
    say(f"{described.name}: {len(found.rows)} rows, {found.n_cached} cells known before: {out}")
    for line in reasons:
        say(f"n/a, {line}")
