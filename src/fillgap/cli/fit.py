"""fillgap fit: fit one aligner to all rows of two sets."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fillgap.cli.engine import Address, Engine, SkipBadShards, Workers, engine_of, refuse_index
from fillgap.cli.job import end, say_job
from fillgap.cli.options import (
    AsJson,
    Device,
    ImageIndex,
    Images,
    Out,
    Overwrite,
    Parameters,
    Quiet,
    Texts,
)
from fillgap.cli.output import print_json, progress_bar, say
from fillgap.cli.plan import DryRun, say_plan

if TYPE_CHECKING:
    from fillgap.aligners import Aligner
    from fillgap.distributed import JobReport

__all__ = ["fit"]


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
    from fillgap._checks import InputError
    from fillgap._files import check_target
    from fillgap.aligners import make_aligner
    from fillgap.cli.data import parse_parameters
    from fillgap.io._names import split_key

    aligner = make_aligner(method, **parse_parameters(parameters))
    given = (images, texts, image_index)
    inputs = [split_key(word)[0] for word in given if word is not None]
    check_target(out, inputs=inputs, overwrite=overwrite)
    if out.is_dir():
        raise InputError(f"{out} must be a file, got a folder. Name the new file in it.")
    executor = engine_of(engine, workers, address, skip_bad_shards=skip_bad_shards, device=device)
    if dry_run:
        from fillgap.distributed import plan_fit

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
            from fillgap.distributed import fit_shards

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
        from fillgap.cli.data import read_pair

        return read_pair(
            images, texts, image_index=image_index, captions=None, unpaired=False
        ).matched()
    from fillgap.io import open_sides

    return open_sides(images, texts)


def _on_device(sides: tuple[Any, Any], name: str | None) -> tuple[Any, Any]:
    """Return both sides as tensors of a device, block by block where they are streams."""
    if name is None:
        return sides
    from fillgap._device import OnDevice, choose_device, to_device

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

    from fillgap.aligners import Provenance, save_aligner
    from fillgap.rows import fingerprint

    provenance = Provenance(
        model=model,
        data_hash=fingerprint(*sides) if report is None else None,
        created=datetime.now(UTC).date().isoformat(),
        skipped_shards={} if report is None else report.skipped,
    )
    save_aligner(aligner, out, provenance=provenance, overwrite=overwrite)


def _description(aligner: Aligner, out: Any) -> dict[str, Any]:
    from fillgap.aligners import method_name

    return {
        "method": method_name(aligner),
        "parameters": aligner.get_params(),
        "n_features": aligner.n_features_in_,
        "n_samples": aligner.n_samples_,
        "notes": aligner.notes_,
        "out": str(out),
    }
