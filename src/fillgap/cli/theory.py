"""fillgap theory: the theorems on the gap, simulated, sampled and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fillgap.cli.options import AsJson, Overwrite, Quiet, Seed
from fillgap.cli.output import number, print_json, print_table, progress_bar, say

__all__ = ["theory"]


def theory(
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Also write the figures, as HTML."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smaller batches and fewer steps; the same checks.")
    ] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check the theorems of "Decipher the Modality Gap" by simulation and sampling.

    Exit code 3 if a check does not hold.
    """
    from fillgap._files import check_target
    from fillgap.experiments.theory_demo import run_theory_demo, write_theory_page

    if out is not None:
        check_target(out, overwrite=overwrite)
    with progress_bar(quiet=quiet) as progress:
        demo = run_theory_demo(quick=quick, random_state=seed, progress=progress)
        if out is not None:
            write_theory_page(demo, out)
    if as_json:
        checks = [
            {"section": section.title, **vars(check)}
            for section in demo.sections
            for check in section.checks
        ]
        print_json({"holds": demo.holds, "quick": quick, "seed": seed, "checks": checks})
    else:
        for section in demo.sections:
            rows = [
                [
                    check.name,
                    number(check.value, 4),
                    f"{check.relation} {number(check.expected, 4)} ± {check.tolerance:.2g}",
                    "holds" if check.holds else "DOES NOT HOLD",
                ]
                for check in section.checks
            ]
            print_table([section.title, "found", "expected", ""], rows)
        failed = sum(not check.holds for check in demo.checks)
        say(f"{len(demo.checks)} checks, {failed} of them do not hold.")
        if out is not None:
            say(f"Figures: {out}")
    if not demo.holds:
        raise typer.Exit(3)
