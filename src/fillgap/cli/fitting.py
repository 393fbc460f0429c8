"""fillgap fit: fit one aligner to all rows of two sets."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fillgap.cli.options import (
    Address,
    AsJson,
    Device,
    Engine,
    ImageIndex,
    Images,
    Out,
    Overwrite,
    Parameters,
    Quiet,
    SkipBadShards,
    Texts,
    Workers,
    engine_of,
    refuse_index,
)
from fillgap.cli.output import (
    DryRun,
    end,
    print_json,
    print_table,
    progress_bar,
    say,
    say_job,
    say_plan,
)

if TYPE_CHECKING:
    from fillgap.aligners.base import Aligner
    from fillgap.distributed.fit_job import JobReport


def fit(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="See fillgap methods.")],
    images: Images,
    texts: Texts = None,
    *,
    out: Out,
    parameters: Parameters = None,
    image_index: ImageIndex = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="The model behind the embeddings, kept."),
    ] = None,
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
    """Fit METHOD to all rows, and write the aligner to one safetensors file.

    Rows are read in blocks and never held, except by methods that need them all at once. Judge a
    method with fillgap compare first: this command tests nothing.
    """
    from fillgap.aligners.methods import make_aligner
    from fillgap.cli.inputs import parse_parameters
    from fillgap.errors import InputError
    from fillgap.files import check_target
    from fillgap.io.names import split_key

    aligner = make_aligner(method, **parse_parameters(parameters))
    given = (images, texts, image_index)
    inputs = [split_key(word)[0] for word in given if word is not None]
    check_target(out, inputs=inputs, overwrite=overwrite)
    if out.is_dir():
        raise InputError(f"{out} must be a file, got a folder. Name the new file in it.")
    executor = engine_of(engine, workers, address, skip_bad_shards=skip_bad_shards, device=device)
    if dry_run:
        from fillgap.distributed.job_plan import plan_fit

        with executor or nullcontext():
            plan = plan_fit(
                aligner, images, texts, executor=executor, skip_bad_shards=skip_bad_shards
            )
        say_plan(plan, out, as_json=as_json)
        return
    report: JobReport | None = None
    with progress_bar(quiet=quiet) as progress:
        if executor is None:
            sides = _sides(aligner, images, texts, image_index)
            aligner.fit(*_on_device(sides, device), progress=progress)
        else:
            from fillgap.distributed.fit_job import fit_shards

            refuse_index(image_index)
            sides = images, texts
            with executor:
                report = fit_shards(
                    aligner,
                    images,
                    texts,
                    executor=executor,
                    skip_bad_shards=skip_bad_shards,
                    device=device,
                    progress=progress,
                )
    _save(aligner, out, model, sides, report, overwrite=overwrite)
    if as_json:
        job = {} if report is None else {"job": report.to_dict()}
        print_json(_description(aligner, out) | job)
    else:
        n, m = aligner.n_samples_
        size = f"{n} images and {m} texts in {aligner.n_features_in_} dimensions"
        say(f"{method} fitted to {size}: {out}")
        for note in aligner.notes_:
            say(f"Note: {note}")
        if report is not None:
            say_job(report)
    if report is not None:
        end(report)


def _sides(
    aligner: Aligner, images: str, texts: str | None, image_index: str | None
) -> tuple[Any, Any]:
    """Return what to fit on: streams where sums suffice, pairs row by row where they are needed."""
    if aligner.needs_pairs:
        from fillgap.cli.inputs import read_pair

        return read_pair(
            images, texts, image_index=image_index, captions=None, unpaired=False
        ).matched()
    from fillgap.io.shards import open_sides

    return open_sides(images, texts)


def _on_device(sides: tuple[Any, Any], name: str | None) -> tuple[Any, Any]:
    """Return both sides as tensors of a device, block by block where they are streams."""
    if name is None:
        return sides
    from fillgap.runtime import OnDevice, choose_device, to_device

    device = choose_device(name)
    images, texts = (
        OnDevice(side, device) if hasattr(side, "iter_blocks") else to_device(side, device)
        for side in sides
    )
    return images, texts


def _save(
    aligner: Aligner,
    out: Any,
    model: str | None,
    sides: tuple[Any, Any],
    report: JobReport | None,
    *,
    overwrite: bool,
) -> None:
    from datetime import UTC, datetime

    from fillgap.aligners.methods import Provenance, save_aligner
    from fillgap.pair import fingerprint

    provenance = Provenance(
        model=model,
        data_hash=fingerprint(*sides) if report is None else None,
        created=datetime.now(UTC).date().isoformat(),
        skipped_shards={} if report is None else report.skipped,
    )
    save_aligner(aligner, out, provenance=provenance, overwrite=overwrite)


def _description(aligner: Aligner, out: Any) -> dict[str, Any]:
    from fillgap.aligners.methods import method_name

    return {
        "method": method_name(aligner),
        "parameters": aligner.get_params(),
        "n_features": aligner.n_features_in_,
        "n_samples": aligner.n_samples_,
        "notes": aligner.notes_,
        "out": str(out),
    }


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

    One file gives the file OUT; several give a folder OUT with the same names. Tables keep
    their other columns. Sides that look exchanged are refused. With workers OUT is a folder, and
    shards that an earlier run finished are kept.
    """
    from fillgap.aligners.methods import load_aligner
    from fillgap.distributed.apply_job import block_function
    from fillgap.io.writing import transform_files

    executor = engine_of(engine, workers, address, skip_bad_shards=skip_bad_shards, device=device)
    if dry_run:
        from fillgap.distributed.job_plan import plan_apply

        with executor or nullcontext():
            plan = plan_apply(aligner, files, out, modality=modality)
        say_plan(plan, out, as_json=as_json)
        return
    if executor is not None:
        from fillgap.distributed.apply_job import apply_shards

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
    from fillgap.errors import InputError
    from fillgap.io.names import guess_modality
    from fillgap.io.shards import open_rows

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

    from fillgap.errors import unit_rows

    if rows.shape[1] != fitted.n_features_in_ or rows.shape[0] < 2:
        return None
    mean = unit_rows(rows, "embeddings").mean(axis=0)
    distances = [float(np.linalg.norm(mean - known)) for known in (fitted.mean_x_, fitted.mean_y_)]
    gap = float(np.linalg.norm(fitted.mean_x_ - fitted.mean_y_))
    # A sample mean strays; only a clear difference, of half the gap, is evidence.
    if abs(distances[0] - distances[1]) < 0.5 * gap or gap < 0.1:
        return None
    return "image" if distances[0] < distances[1] else "text"


def methods(*, as_json: AsJson = False) -> None:
    """List the methods with what they need and their parameters."""
    from inspect import getdoc

    from fillgap.aligners.methods import METHODS

    rows = []
    for name, cls in METHODS.items():
        summary = (getdoc(cls) or "").partition("\n")[0]
        rows.append(
            {
                "method": name,
                "class": cls.__name__,
                "summary": summary,
                "needs_pairs": cls.needs_pairs,
                "linear": cls.linear,
                "passes": cls.passes,
                "parameters": cls().get_params(),
            }
        )
    if as_json:
        print_json(rows)
        return
    needs = {True: "pairs", False: ""}
    print_table(
        ["method", "what it does", "needs", "parameters"],
        [
            [
                row["method"],
                row["summary"],
                needs[row["needs_pairs"]],
                ", ".join(key for key in row["parameters"] if key != "normalize"),
            ]
            for row in rows
        ],
    )
