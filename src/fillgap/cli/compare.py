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
from fillgap.cli.job import Summary, end, say_counted
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
    summary: Summary = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit every method on one part of the images, judge it on the rest, and recommend one or none.

    Images and texts must be paired: row i with row i, or by --image-index. Workers share the
    methods and splits; each reads the embeddings itself.
    """
    from fillgap.cli.data import PairFrom

    executor = engine_of(
        engine, workers, address, skip_bad_shards=skip_bad_shards, summary=summary, device=device
    )
    if skip_bad_shards:
        refuse_index(image_index)
    source = PairFrom(images, texts, image_index, max_images, seed, device)
    settings: dict[str, Any] = {"n_splits": n_splits, "quantise": quantise or ()}
    if dry_run:
        _say_plan(
            source, methods, executor,
            skip_bad_shards=skip_bad_shards, as_json=as_json, quiet=quiet, **settings,
        )  # fmt: skip
        return
    with executor or nullcontext(), progress_bar(quiet=quiet) as progress:
        found, report = _judge(
            source, methods, executor, progress,
            skip_bad_shards=skip_bad_shards, max_loss=max_loss, **settings,
        )  # fmt: skip
    if as_json:
        job = {} if executor is None else {"job": report.to_dict()}
        print_json(found.to_dict() | job)
    else:
        print_comparison(found)
        say_counted(report, "fits", summary=summary)
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
    """Compare, and say what workers did and which shards were left out."""
    from fillgap.distributed import JobReport, Watched, find_bad_shards
    from fillgap.evaluation import compare as compare_pair

    if executor is None:
        found = compare_pair(
            source(), methods or None, random_state=source.seed or 0, progress=progress, **settings
        )
        return found, JobReport()
    skipped: dict[str, str] = {}
    if skip_bad_shards:
        bad = find_bad_shards(source.images, source.texts, executor=executor, progress=progress)
        source, skipped = replace(source, bad=bad.names), bad.skipped
    watched = Watched(executor, "fits", lambda cell: int(cell.aligner is not None))
    found = compare_pair(
        replace(source, device=None)(),  # here nothing is fitted
        methods or None,
        executor=watched,
        source=source,
        random_state=source.seed or 0,
        progress=progress,
        **settings,
    )
    return found, replace(watched.report, skipped=skipped)


def _say_plan(
    source: PairFrom,
    methods: list[str] | None,
    executor: Any,
    *,
    skip_bad_shards: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Say what would be done, from a trial on the first images."""
    from time import perf_counter

    from fillgap.distributed import plan_reading
    from fillgap.evaluation import TRIAL_IMAGES, plan_compare

    reading, n_images = plan_reading(source.images, source.texts, skip_bad_shards=skip_bad_shards)
    most = n_images if source.max_images is None else source.max_images
    few = replace(
        source, max_images=min(TRIAL_IMAGES, most), seed=None, bad=frozenset(reading.skipped)
    )
    started = perf_counter()
    pair = (few if executor is None else replace(few, device=None))()
    seconds = (perf_counter() - started) * reading.n_rows / (pair.n_images + pair.n_texts)
    with executor or nullcontext(), progress_bar(quiet=quiet) as progress:
        plan = plan_compare(
            pair,
            methods or None,
            n_images=min(n_images, most),
            executor=executor,
            n_workers=executor.n_workers if executor else 1,
            source=few if executor else None,
            random_state=source.seed or 0,
            progress=progress,
            **settings,
        )
    if executor is not None:  # each worker reads what this process reads
        seconds, reading = 2 * seconds, replace(reading, passes=1 + plan.n_workers)
    say_comparison_plan(plan, reading, seconds_to_read=seconds, as_json=as_json)
