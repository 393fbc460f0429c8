"""What is said after a long job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fillgap.cli.output import counted, say

if TYPE_CHECKING:
    from fillgap.distributed import JobReport

__all__ = ["end", "say_job"]


def say_job(report: JobReport) -> None:
    """Print what a job read and how fast, and the shards that it kept or left out."""
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


def end(report: JobReport) -> None:
    """Exit with 3 where shards were skipped."""
    if report.skipped:
        raise typer.Exit(3)
