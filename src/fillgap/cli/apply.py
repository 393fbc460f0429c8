"""fillgap apply: write aligned copies of embedding files."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fillgap.cli.engine import Address, Engine, SkipBadShards, Workers, engine_of
from fillgap.cli.job import end, say_job
from fillgap.cli.options import AsJson, Device, Out, Overwrite, Quiet
from fillgap.cli.output import print_json, progress_bar, say
from fillgap.cli.plan import DryRun, say_plan

if TYPE_CHECKING:
    from fillgap.aligners import Aligner

__all__ = ["apply"]


def apply(
    aligner: Annotated[Path, typer.Argument(metavar="ALIGNER", help="The file that fit wrote.")],
    files: Annotated[list[str], typer.Argument(metavar="FILES...", help="Embeddings to align.")],
    *,
    modality: Annotated[
        Literal["image", "text"], typer.Option("--modality", help="What the FILES are.")
    ],
    out: Out,
    device: Device = None,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    skip_bad_shards: SkipBadShards = False,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Align FILES block by block, and write them in the same format and type.

    One file gives the file OUT; several give a folder OUT with the same names. Other columns and
    arrays of a file are kept. Sides that look exchanged are refused. With workers OUT is a folder,
    and shards that an earlier run finished are kept.
    """
    from fillgap.aligners import load_aligner
    from fillgap.distributed.apply import block_function
    from fillgap.io import transform_files

    executor = engine_of(engine, workers, address, skip_bad_shards=skip_bad_shards, device=device)
    if dry_run:
        from fillgap.distributed import plan_apply

        with executor or nullcontext():
            plan = plan_apply(aligner, files, out, modality=modality)
        say_plan(plan, out, as_json=as_json)
        return
    if executor is not None:
        from fillgap.distributed import apply_shards

        with executor, progress_bar(quiet=quiet) as progress:
            report = apply_shards(
                aligner,
                files,
                out,
                modality=modality,
                executor=executor,
                skip_bad_shards=skip_bad_shards,
                overwrite=overwrite,
                device=device,
                progress=progress,
            )
        if as_json:
            print_json(report.to_dict())
        else:
            say_job(report)
        end(report)
        return
    fitted = load_aligner(aligner)
    for file in files:
        _check_side(fitted, file, modality)
    what = "images" if modality == "image" else "texts"
    with warnings.catch_warnings(record=True) as caught, progress_bar(quiet=quiet) as progress:
        warnings.simplefilter("once", UserWarning)
        written = transform_files(
            files,
            out,
            block_function(fitted, what, device),
            modality=modality,
            overwrite=overwrite,
            progress=progress,
        )
    notes = sorted({str(warning.message) for warning in caught})
    if as_json:
        print_json({"written": [str(path) for path in written], "notes": notes})
        return
    for path in written:
        say(str(path))
    for note in notes:
        say(f"Note: {note}")


def _check_side(fitted: Aligner, file: str, modality: Literal["image", "text"]) -> None:
    """Refuse a file that is evidently of the other modality, by its name or by its mean."""
    from fillgap._checks import InputError
    from fillgap.io import guess_modality, open_rows

    named = guess_modality(file)
    source = open_rows(file, modality=modality)
    evident = _nearer_mean(fitted, next(iter(source.iter_blocks(2048))))
    if named not in {None, modality} and evident != modality:
        reason = "its name says"
    elif evident not in {None, modality} and named != modality:
        reason = "its mean embedding says"
    else:
        return
    other = "image" if modality == "text" else "text"
    raise InputError(
        f"{file} must hold {modality} embeddings, got what {reason} are {other} embeddings. "
        f"Pass --modality {other}, or rename the file if it is right."
    )


def _nearer_mean(fitted: Aligner, rows: Any) -> str | None:
    """Return the modality whose fitted mean is clearly nearer to the mean of these rows."""
    import numpy as np

    from fillgap._checks import unit_rows

    if rows.shape[1] != fitted.n_features_in_ or rows.shape[0] < 2:
        return None
    mean = unit_rows(rows, "embeddings").mean(axis=0)
    distances = [float(np.linalg.norm(mean - known)) for known in (fitted.mean_x_, fitted.mean_y_)]
    gap = float(np.linalg.norm(fitted.mean_x_ - fitted.mean_y_))
    # A sample mean strays; only a clear difference, of half the gap, is evidence.
    if abs(distances[0] - distances[1]) < 0.5 * gap or gap < 0.1:
        return None
    return "image" if distances[0] < distances[1] else "text"
