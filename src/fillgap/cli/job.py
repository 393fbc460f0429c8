"""What is said after a long job (--summary)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from fillgap.cli.output import counted, print_table, say

if TYPE_CHECKING:
    from fillgap.distributed import JobReport

__all__ = ["Summary", "describe", "end", "say_counted", "say_job"]

Summary: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--summary",
        help="Use workers, and say at the end what each one did, and how near the job came to "
        "what this machine can do.",
    ),
]


def describe(
    report: JobReport,
    spec: str,
    modality: Any,
    *,
    summary: bool,
    engine: str | None,
    address: str | None,
    device: str | None,
) -> dict[str, Any]:
    """Return a report as JSON holds it, with the limits of this machine where they are asked for.

    There are none where workers were elsewhere, computed on a device, or did nothing.
    """
    job = report.to_dict()
    if not summary:
        return job
    elsewhere = engine not in {None, "processes"} or (address, device) != (None, None)
    if elsewhere or not report.n_rows:
        return job | {"limits": {}}
    from fillgap.distributed import limits_of
    from fillgap.io import open_shards

    shards: list[Any] = [one for one in open_shards(spec, modality) if hasattr(one, "path")]
    found = limits_of(report, shards[0].path, shards[0].shape[1])
    return job | {"limits": {limit.name: limit.to_dict() for limit in found}}


def say_counted(report: JobReport, what: str, *, summary: bool) -> None:
    """Print what workers did, counted by something else than rows, and what was left out."""
    if summary and report.workers:
        rate = report.rows_per_second
        say(
            f"{counted(report.n_rows, what)} by {counted(len(report.workers), 'workers')} in "
            f"{report.seconds:.1f} s: "
            f"{rate:,.1f} {what}/s, workers busy {report.busy:.0%} of the time."
        )
    for reason in report.skipped.values():
        say(f"Skipped: {reason}")
    if summary and report.workers:
        _say_summary(report, {}, what)


def say_job(report: JobReport, job: dict[str, Any]) -> None:
    """Print what a job read and how fast, the shards that it left out, and the limits."""
    if report.workers:
        megabytes = report.n_bytes / 1e6 / (report.seconds or 1.0)
        speed = f"{report.rows_per_second:,.0f} rows/s, {megabytes:,.0f} MB/s"
        who = counted(len(report.workers), "workers")
        say(
            f"{counted(report.n_rows, 'rows')} read by {who} in "
            f"{report.seconds:.1f} s: {speed}, workers busy {report.busy:.0%} of the time."
        )
    if report.kept:
        say(f"Finished before, and kept: {counted(len(report.kept), 'shards')}.")
    for reason in report.skipped.values():
        say(f"Skipped: {reason}")
    if "limits" in job and report.workers:
        _say_summary(report, job["limits"])


def _say_summary(report: JobReport, limits: dict[str, Any], what: str = "rows") -> None:
    digits = 0 if what == "rows" else 1
    rows = [
        [worker, f"{report.rows_of_workers.get(worker, 0):,}", f"{seconds:.1f}", rate]
        for worker, seconds in sorted(report.workers.items())
        for rate in [f"{report.rows_of_workers.get(worker, 0) / (seconds or 1.0):,.{digits}f}"]
    ]
    print_table(["worker", what, "busy (s)", f"{what}/s"], rows)
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
