"""fillgap compare: judge methods on held-out rows, and recommend one or none."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fillgap.cli.comparison import print_comparison
from fillgap.cli.engine import (
    Address,
    Engine,
    SkipBadShards,
    Workers,
    engine_of,
    refuse_index,
)
from fillgap.cli.job import end, say_job
from fillgap.cli.options import AsJson, Device, ImageIndex, Images, MaxImages, Quiet, Seed, Texts
from fillgap.cli.output import print_json, progress_bar
from fillgap.cli.plan import DryRun, say_comparison_plan

if TYPE_CHECKING:
    from fillgap._progress import Progress
    from fillgap.cli.data import PairFrom
    from fillgap.distributed import JobReport
    from fillgap.evaluation import Comparison

__all__ = ["compare", "judge"]


def compare(
    images: Images,
    texts: Texts = None,
    *,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", metavar="METHOD", help="Only these; may be repeated."),
    ] = None,
    image_index: ImageIndex = None,
    n_splits: Annotated[int, typer.Option("--splits", min=1, help="Held-out splits.")] = 5,
    max_loss: Annotated[
        float,
        typer.Option("--max-loss", help="Largest loss of recall@1 that may be recommended."),
    ] = 0.02,
    quantise: Annotated[
        list[str] | None,
        typer.Option(
            "--quantise",
            metavar="KIND",
            help="float16, int8 or int8-dimension: say too what storing the aligned rows so costs "
            "(int8 with a scale for each row, or for each dimension); may be repeated.",
        ),
    ] = None,
    max_images: MaxImages = 100_000,
    device: Device = None,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    skip_bad_shards: SkipBadShards = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit every method on one part of the images, judge it on the rest, and recommend one or none.

    Images and texts must be paired: row i with row i, or by --image-index. Workers share the
    methods and splits; each reads the embeddings itself.
    """
    from fillgap.cli.data import PairFrom

    executor = engine_of(engine, workers, address, skip_bad_shards=skip_bad_shards, device=device)
    if skip_bad_shards:
        refuse_index(image_index)
    source = PairFrom(images, texts, image_index, max_images, seed, device)
    if dry_run:
        with executor or nullcontext():
            _say_plan(
                source, methods, n_splits, executor,
                skip_bad_shards=skip_bad_shards, as_json=as_json,
            )  # fmt: skip
        return
    with executor or nullcontext(), progress_bar(quiet=quiet) as progress:
        found, report = _judge(
            source, methods, executor, progress,
            skip_bad_shards=skip_bad_shards, n_splits=n_splits, max_loss=max_loss,
            quantise=quantise or (),
        )  # fmt: skip
    if as_json:
        job = {} if executor is None else {"job": {"skipped": report.skipped}}
        print_json(found.to_dict() | job)
    else:
        print_comparison(found)
        say_job(report)
    end(report)


def judge(images: str, texts: str, *, quiet: bool) -> Comparison:
    """Compare all methods on two files, with a bar on stderr."""
    from fillgap.cli.data import PairFrom

    with progress_bar(quiet=quiet) as progress:
        return _judge(PairFrom(images, texts, None, 100_000, 0), None, None, progress)[0]


def _judge(
    source: PairFrom,
    methods: list[str] | None,
    executor: Any,
    progress: Progress,
    *,
    skip_bad_shards: bool = False,
    **settings: Any,
) -> tuple[Comparison, JobReport]:
    """Compare, and say which shards were left out."""
    from fillgap.distributed import JobReport, find_bad_shards
    from fillgap.evaluation import compare as compare_pair

    if executor is None:
        found = compare_pair(
            source(), methods or None, random_state=source.seed, progress=progress, **settings
        )
        return found, JobReport()
    skipped: dict[str, str] = {}
    if skip_bad_shards:
        bad = find_bad_shards(source.images, source.texts, executor=executor, progress=progress)
        source, skipped = replace(source, bad=bad.names), bad.skipped
    found = compare_pair(
        replace(source, device=None)(),  # here nothing is fitted
        methods or None,
        executor=executor,
        source=source,
        random_state=source.seed,
        progress=progress,
        **settings,
    )
    return found, JobReport(skipped=skipped)


def _say_plan(
    source: PairFrom,
    methods: list[str] | None,
    n_splits: int,
    executor: Any,
    *,
    skip_bad_shards: bool,
    as_json: bool,
) -> None:
    """Say what would be done, as far as headers tell."""
    from fillgap.distributed import plan_reading
    from fillgap.evaluation import plan_compare

    reading, n_images = plan_reading(source.images, source.texts, skip_bad_shards=skip_bad_shards)
    if source.texts and not source.image_index and reading.n_rows != 2 * n_images:
        _check_paired(source.images, source.texts)
    most = n_images if source.max_images is None else source.max_images
    plan = plan_compare(min(n_images, most), methods or None, n_splits=n_splits)
    if executor is not None:  # each worker reads what this process reads
        judged = n_splits * (1 + plan["n_methods"])
        reading = replace(reading, passes=1 + min(executor.n_workers, judged))
    say_comparison_plan(plan, reading, as_json=as_json)


def _check_paired(images: str, texts: str) -> None:
    """Refuse sides of different sizes, unless a column says which image each text is of."""
    from fillgap._checks import InputError
    from fillgap.io import open_pair

    if not open_pair(images, texts)[2]["paired"]:
        raise InputError(
            "images and texts must be paired to be judged on held-out rows, got unpaired sets. "
            "Pass --image-index, or measure without it."
        )
