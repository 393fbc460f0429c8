"""fillgap measure and report: how large the gap is, in words or on one page."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from fillgap.cli import options as opt
from fillgap.cli.inputs import read_npy, read_pair
from fillgap.cli.output import (
    end_job,
    interval,
    print_json,
    print_table,
    progress_bar,
    refuse,
    say,
    say_plan,
)

if TYPE_CHECKING:
    from fillgap.metrics.verdict import Measurements


def measure(
    images: opt.Images,
    texts: opt.Texts = None,
    *,
    image_index: opt.ImageIndex = None,
    captions: opt.Captions = None,
    unpaired: opt.Unpaired = False,
    max_images: opt.MaxImages = 100_000,
    seed: opt.Seed = 0,
    device: opt.Device = None,
    engine: opt.Engine = None,
    workers: opt.Workers = None,
    address: opt.Address = None,
    skip_bad_shards: opt.SkipBadShards = False,
    dry_run: opt.DryRun = False,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Measure the modality gap, and say in words what it means for a mixed search.

    Workers read all rows: sums are exact, and a sample of queries is asked against all of them.
    """
    executor = opt.engine_of(engine, workers, address, skip_bad_shards, device)
    paired = False if unpaired else None
    spread: dict[str, Any] = {"executor": executor, "skip_bad_shards": skip_bad_shards}
    if dry_run:
        from fillgap.distributed.job_plan import plan_measure

        with executor or nullcontext():
            plan = plan_measure(images, texts, paired=paired, **spread)
        say_plan(plan, as_json=as_json)
        return
    if executor is None:
        from fillgap.metrics.summary import measure as measure_pair

        how: dict[str, Any] = {"image_index": image_index, "captions": captions}
        how |= {"unpaired": unpaired, "max_images": max_images, "seed": seed, "device": device}
        pair = read_pair(images, texts, **how)
        with progress_bar(quiet=quiet) as progress:
            found, job = measure_pair(pair, random_state=seed, progress=progress), None
        _check_measured(found)
    else:
        from fillgap.distributed.measure_job import measure_shards

        with executor, progress_bar(quiet=quiet) as progress:
            spread |= {"device": device, "progress": progress}
            found, job = measure_shards(images, texts, paired=paired, random_state=seed, **spread)
    if as_json:
        print_json(found.to_dict() | ({} if job is None else {"job": job.to_dict()}))
    else:
        print_measurements(found)
    end_job(job, said=as_json)


def _check_measured(found: Measurements) -> None:
    if not found.values:  # NaN or zero rows: nothing could be measured
        refuse(found.findings[0].message)


def print_measurements(found: Measurements) -> None:
    """Print the verdict first, then what it rests on."""
    from fillgap.metrics.table import MEASURES

    say(found.verdict.text)
    for finding in found.findings:
        say(f"{'Fault' if finding.is_fault else 'Note'}: {finding.message}")
    sizes = f"{found.n_images} images, {found.n_texts} texts, {found.n_features} dimensions"
    say(f"\n{found.name}: {sizes}")
    families: dict[str, list[list[str]]] = {}
    for entry in MEASURES.values():
        for key, _ in entry.variants():
            if key in found.values:
                parts = found.values[key]
                sides = ("image_to_text", "text_to_image", "images", "texts")
                cells = [interval(parts[side]) for side in sides if side in parts]
                if len(cells) == 2:
                    cells.insert(0, "")
                else:
                    cells = [interval(next(iter(parts.values()))), "", ""]
                families.setdefault(entry.family, []).append([f"  {key}", *cells])
    rows = [row for family, below in families.items() for row in ([family], *below)]
    if rows:
        print_table(["measure", "value", "images", "texts"], rows)
    for name, note in found.notes.items():
        say(f"{name}: {note}")
    for name, reason in found.skipped.items():
        say(f"{name} n/a: {reason}")


def report(
    images: opt.Images,
    texts: opt.Texts = None,
    *,
    out: Annotated[
        Path, Option("--out", "-o", metavar="OUT", help="Where to: OUT.html, OUT.md or OUT.json.")
    ],
    aligner: Annotated[
        Path | None, Option(metavar="FILE", help="Show this one, which fit wrote.")
    ] = None,
    method: Annotated[
        str | None, Option("--method", "-m", metavar="METHOD", help="Show this one, not the best.")
    ] = None,
    image_index: opt.ImageIndex = None,
    captions: opt.Captions = None,
    thumbnails: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Small pictures for examples: uint8 .npy of shape (n, height, width[, 3]).",
        ),
    ] = None,
    unpaired: opt.Unpaired = False,
    quick: Annotated[
        bool, Option("--quick", help="Compare only what sums can fit, on two splits; PCA alone.")
    ] = False,
    max_images: opt.MaxImages = 100_000,
    seed: opt.Seed = 0,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write one page that needs no network: verdict, advice, measures, pictures, comparison.

    What is shown of an aligner are rows that it was not fitted to.
    """
    from fillgap.aligners.methods import load_aligner, make_aligner
    from fillgap.io.shards import open_sides
    from fillgap.pair import fingerprint
    from fillgap.report.build import Files, build_report
    from fillgap.report.markdown import check_report_target, to_plain, write_report

    inputs = [path for path in (captions, image_index, aligner, thumbnails) if path is not None]
    check_report_target(out, inputs=inputs, overwrite=overwrite)
    if aligner is not None and method is not None:
        refuse(
            f"an aligner must be given by --aligner or by --method, got {aligner} and {method}. "
            "Leave one of them out."
        )
    chosen = None if method is None else make_aligner(method)
    chosen = chosen if aligner is None else load_aligner(aligner)
    belonging: dict[str, Any] = {"image_index": image_index, "captions": captions}
    # Pictures are in the order of all rows, so that none of these may be left out.
    most = None if thumbnails else max_images
    pair = read_pair(images, texts, unpaired=unpaired, max_images=most, seed=seed, **belonging)
    if thumbnails is not None:
        pair = replace(pair, thumbnails=read_npy(thumbnails, "pictures", mmap_mode="r"))
    sides = open_sides(images, texts)
    names = sides[0].name, sides[1].name, image_index, None if aligner is None else str(aligner)
    files = Files(*names, fingerprint=fingerprint(*sides))
    with progress_bar(quiet=quiet) as progress:
        seeded: dict[str, Any] = {"random_state": seed, "progress": progress}
        found = build_report(pair, aligner=chosen, quick=quick, files=files, **seeded)
    _check_measured(found.measured)
    write_report(found, out, inputs=inputs, overwrite=overwrite)
    if as_json:
        print_json({"written": str(out), **to_plain(found)})
        return
    say(found.measured.verdict.text)
    if found.comparison is not None:
        say(found.comparison.recommendation.sentence)
    say(f"Report: {out}")
