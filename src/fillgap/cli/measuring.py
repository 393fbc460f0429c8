"""fillgap measure: how large the gap is, and whether it is one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fillgap.cli.options import (
    Address,
    AsJson,
    Captions,
    Device,
    Engine,
    ImageIndex,
    Images,
    MaxImages,
    Overwrite,
    Quiet,
    Seed,
    SkipBadShards,
    Texts,
    Unpaired,
    Workers,
    engine_of,
)
from fillgap.cli.output import (
    DryRun,
    end,
    number,
    print_json,
    print_table,
    progress_bar,
    say,
    say_job,
    say_plan,
)

if TYPE_CHECKING:
    from fillgap.aligners.base import Aligner
    from fillgap.metrics.verdict import Measurements, Value
    from fillgap.report.build import Files

_COLUMNS = ("image_to_text", "text_to_image", "images", "texts")


def measure(
    images: Images,
    texts: Texts = None,
    *,
    image_index: ImageIndex = None,
    captions: Captions = None,
    unpaired: Unpaired = False,
    max_images: MaxImages = 100_000,
    seed: Seed = 0,
    device: Device = None,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    skip_bad_shards: SkipBadShards = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure the modality gap, and say in words what it means for a mixed search.

    Workers read all rows: sums are exact, and a sample of queries is asked against all of them.
    """
    executor = engine_of(engine, workers, address, skip_bad_shards=skip_bad_shards, device=device)
    paired = False if unpaired else None
    if dry_run:
        from fillgap.distributed.job_plan import plan_measure

        with executor or nullcontext():
            plan = plan_measure(
                images, texts, executor=executor, paired=paired, skip_bad_shards=skip_bad_shards
            )
        say_plan(plan, as_json=as_json)
        return
    if executor is not None:
        from fillgap.distributed.measure_job import measure_shards

        with executor, progress_bar(quiet=quiet) as progress:
            found, report = measure_shards(
                images,
                texts,
                executor=executor,
                paired=paired,
                random_state=seed,
                skip_bad_shards=skip_bad_shards,
                device=device,
                progress=progress,
            )
        if as_json:
            print_json(found.to_dict() | {"job": report.to_dict()})
        else:
            print_measurements(found)
            say_job(report)
        end(report)
        return
    from fillgap.cli.inputs import read_pair
    from fillgap.errors import InputError
    from fillgap.metrics.summary import measure as measure_pair

    pair = read_pair(
        images,
        texts,
        image_index=image_index,
        captions=captions,
        unpaired=unpaired,
        max_images=max_images,
        seed=seed,
        device=device,
    )
    with progress_bar(quiet=quiet) as progress:
        found = measure_pair(pair, random_state=seed, progress=progress)
    if not found.values:  # NaN or zero rows: nothing could be measured
        raise InputError(found.findings[0].message)
    if as_json:
        print_json(found.to_dict())
    else:
        print_measurements(found)


def print_measurements(found: Measurements) -> None:
    """Print the verdict first, then what it rests on."""
    say(found.verdict.text)
    for finding in found.findings:
        say(f"{'Fault' if finding.is_fault else 'Note'}: {finding.message}")
    say()
    sizes = f"{found.n_images} images, {found.n_texts} texts, {found.n_features} dimensions"
    say(f"{found.name}: {sizes}")
    rows: list[list[str]] = []
    for family, names in _by_family(found).items():
        rows.append([family])
        rows += [[f"  {name}", *_cells(found.values[name])] for name in names]
    if rows:
        print_table(["measure", "value", "images", "texts"], rows)
    for name, note in found.notes.items():
        say(f"{name}: {note}")
    for name, reason in found.skipped.items():
        say(f"{name} n/a: {reason}")


def _by_family(found: Measurements) -> dict[str, list[str]]:
    """Return the measured names by family, in the order of the table of measures."""
    from fillgap.metrics.table import MEASURES

    families: dict[str, list[str]] = {}
    for entry in MEASURES.values():
        for key, _ in entry.variants():
            if key in found.values:
                families.setdefault(entry.family, []).append(key)
    return families


def _cells(parts: Mapping[str, Value]) -> list[str]:
    """Return one value for both sides, or a value for each of them, with intervals."""
    sided = [parts[name] for name in _COLUMNS if name in parts]
    if len(sided) == 2:
        return ["", *(_with_interval(value) for value in sided)]
    return [_with_interval(next(iter(parts.values()))), "", ""]


def _with_interval(value: Value) -> str:
    if value.low is None or value.high is None:
        return number(value.value)
    return f"{number(value.value)} [{number(value.low)}, {number(value.high)}]"


def report(
    images: Images,
    texts: Texts = None,
    *,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="OUT", help="Where to: OUT.html, OUT.md or OUT.json."),
    ],
    aligner: Annotated[
        Path | None,
        typer.Option("--aligner", metavar="FILE", help="Show this one, which fit wrote."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", metavar="METHOD", help="Show this one, not the best."),
    ] = None,
    image_index: ImageIndex = None,
    captions: Captions = None,
    thumbnails: Annotated[
        Path | None,
        typer.Option(
            "--thumbnails",
            metavar="FILE",
            help="Small pictures for examples: uint8 .npy of shape (n, height, width[, 3]).",
        ),
    ] = None,
    unpaired: Unpaired = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Compare only what sums can fit, on two splits; PCA alone."),
    ] = False,
    max_images: MaxImages = 100_000,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write one page that needs no network: verdict, advice, measures, pictures, comparison.

    What is shown of an aligner are rows that it was not fitted to.
    """
    from dataclasses import replace

    from fillgap.cli.inputs import read_pair
    from fillgap.errors import InputError
    from fillgap.report.build import build_report
    from fillgap.report.markdown import check_report_target, to_plain, write_report

    inputs = [path for path in (captions, image_index, aligner, thumbnails) if path is not None]
    check_report_target(out, inputs=inputs, overwrite=overwrite)
    chosen = _aligner(aligner, method)
    pair = read_pair(
        images,
        texts,
        image_index=image_index,
        captions=captions,
        unpaired=unpaired,
        # Pictures are in the order of all rows, so that none of these may be left out.
        max_images=None if thumbnails else max_images,
        seed=seed,
    )
    if thumbnails is not None:
        pair = replace(pair, thumbnails=_pictures(thumbnails))
    with progress_bar(quiet=quiet) as progress:
        found = build_report(
            pair,
            aligner=chosen,
            quick=quick,
            files=_files(images, texts, image_index, aligner),
            random_state=seed,
            progress=progress,
        )
    if not found.measured.values:  # NaN or zero rows: nothing could be measured
        raise InputError(found.measured.findings[0].message)
    write_report(found, out, inputs=inputs, overwrite=overwrite)
    if as_json:
        print_json({"written": str(out), **to_plain(found)})
        return
    say(found.measured.verdict.text)
    if found.comparison is not None:
        say(found.comparison.recommendation.sentence)
    say(f"Report: {out}")


def _aligner(file: Path | None, method: str | None) -> Aligner | None:
    """Return the aligner that is asked for, or None."""
    from fillgap.aligners.methods import load_aligner, make_aligner
    from fillgap.errors import InputError

    if file is not None and method is not None:
        raise InputError(
            f"an aligner must be given by --aligner or by --method, got {file} and {method}. "
            "Leave one of them out."
        )
    if method is not None:
        return make_aligner(method)
    return None if file is None else load_aligner(file)


def _pictures(path: Path) -> Any:
    """Return the pictures of a .npy file, not yet read."""
    import numpy as np

    from fillgap.errors import InputError
    from fillgap.files import missing_path

    if not path.is_file():
        raise missing_path(path)
    from fillgap.io.names import reading

    with reading(str(path), "an .npy file of pictures"):
        pictures = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(pictures, np.ndarray):
        raise InputError(
            f"{path} must be one array of pictures, got an archive. Write it with numpy.save."
        )
    return pictures


def _files(images: str, texts: str | None, image_index: str | None, aligner: Path | None) -> Files:
    """Return the names of the files with their arrays, and what tells them from others."""
    from fillgap.io.shards import open_sides
    from fillgap.pair import fingerprint
    from fillgap.report.build import Files

    sides = open_sides(images, texts)
    return Files(
        sides[0].name,
        sides[1].name,
        image_index,
        None if aligner is None else str(aligner),
        fingerprint(*sides),
    )
