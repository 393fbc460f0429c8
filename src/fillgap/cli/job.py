"""What is said before a long job (--dry-run) and after it (--summary)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from fillgap.cli.output import duration, print_json, print_table, say

if TYPE_CHECKING:
    from fillgap.distributed import JobPlan, JobReport

__all__ = ["DryRun", "Summary", "describe", "end", "say_job", "say_plan"]

DryRun: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only say what would be read and written, and how long it should take.",
    ),
]
Summary: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--summary",
        help="Use workers, and say at the end what each one did, and how near the job came to "
        "what this machine can do.",
    ),
]


def say_plan(plan: JobPlan, out: Any = None, *, as_json: bool = False) -> None:
    """Print what a job would do, and how long it should take."""
    if as_json:
        print_json(plan.to_dict())
        return
    if plan.n_rows:
        times = {1: "once", 2: "twice"}.get(plan.passes, f"{plan.passes} times")
        say(
            f"Would read {plan.n_shards} shards with {plan.n_rows:,} rows of {plan.n_features} "
            f"numbers, {_bytes(plan.n_bytes)}, {times}."
        )
    else:
        say("Nothing is left to be read.")
    if plan.n_files:
        files = "a file" if plan.n_files == 1 else f"{plan.n_files} files"
        size = f", at most {_bytes(plan.written_bytes)}" if plan.written_bytes else ""
        say(f"Would write {files}{size}: {out}")
    if plan.kept:
        say(f"{plan.kept} shards are finished, and would be kept.")
    for reason in plan.skipped.values():
        say(f"Would skip: {reason}")
    if math.isnan(plan.seconds_per_row):
        say("How long it takes is not known: the method holds all rows at once. Try fewer.")
    elif plan.n_rows:
        who = "one worker" if plan.n_workers == 1 else f"{plan.n_workers} workers or threads"
        say(
            f"About {duration(plan.seconds)} by {who}, not counting their start: one took "
            f"{1 / plan.seconds_per_row:,.0f} rows/s through all passes in a trial on "
            f"{plan.trial_rows:,} rows. This assumes that storage keeps up, that workers do not "
            "hinder each other, and that writing takes no time; files in the cache were read "
            "faster than others will be."
        )
    say("Nothing was written.")


def describe(
    report: JobReport,
    spec: str,
    modality: Any,
    *,
    summary: bool,
    engine: str | None,
    address: str | None,
) -> dict[str, Any]:
    """Return a report as JSON holds it, with the limits of this machine where they are asked for.

    There are none where workers were elsewhere, or did nothing.
    """
    job = report.to_dict()
    if not summary:
        return job
    if engine not in {None, "processes"} or address is not None or not report.n_rows:
        return job | {"limits": {}}
    from fillgap.distributed import limits_of
    from fillgap.io import open_shards

    shards: list[Any] = [one for one in open_shards(spec, modality) if hasattr(one, "path")]
    found = limits_of(report, shards[0].path, shards[0].shape[1])
    return job | {"limits": {limit.name: limit.to_dict() for limit in found}}


def say_job(report: JobReport, job: dict[str, Any]) -> None:
    """Print what a job read and how fast, the shards that it left out, and the limits."""
    if report.workers:
        megabytes = report.n_bytes / 1e6 / (report.seconds or 1.0)
        speed = f"{report.rows_per_second:,.0f} rows/s, {megabytes:,.0f} MB/s"
        say(
            f"{report.n_rows:,} rows read by {len(report.workers)} workers in "
            f"{report.seconds:.1f} s: {speed}, workers busy {report.busy:.0%} of the time."
        )
    if report.kept:
        say(f"{len(report.kept)} shards were finished before, and kept.")
    for reason in report.skipped.values():
        say(f"Skipped: {reason}")
    if "limits" in job and report.workers:
        _say_summary(report, job["limits"])


def _say_summary(report: JobReport, limits: dict[str, Any]) -> None:
    rows = [
        [worker, f"{report.rows_of_workers.get(worker, 0):,}", f"{seconds:.1f}", rate]
        for worker, seconds in sorted(report.workers.items())
        for rate in [f"{report.rows_of_workers.get(worker, 0) / (seconds or 1.0):,.0f}"]
    ]
    print_table(["worker", "rows", "busy (s)", "rows/s"], rows)
    if limits:
        print_table(
            ["limit of this machine", "the job", "the limit", "share"],
            [
                [f"{name} ({of['unit']}/s)", f"{of['job']:.2f}", f"{of['machine']:.2f}", share]
                for name, of in limits.items()
                for share in [f"{of['share']:.0%}"]
            ],
        )


def end(report: JobReport) -> None:
    """Exit with 3 where shards were skipped."""
    if report.skipped:
        raise typer.Exit(3)


def _bytes(count: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
