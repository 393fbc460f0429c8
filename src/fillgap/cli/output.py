"""What reaches the user: tables and JSON on stdout, a progress bar on stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from fillgap.distributed.fit_job import JobReport
    from fillgap.distributed.job_plan import JobPlan
    from fillgap.evaluation.statistics import Estimate
    from fillgap.metrics.verdict import Value
    from fillgap.runtime import Progress


def say(text: str = "") -> None:
    """Print a line on stdout."""
    typer.echo(text)


def say_all(title: str, texts: Iterable[Any]) -> None:
    """Print each of the texts behind a title."""
    for text in texts:
        say(f"{title}: {text}")


def refuse(message: str) -> NoReturn:
    """Refuse what a user wrote; the error is imported here, since it brings NumPy."""
    from fillgap.errors import InputError

    raise InputError(message)


def print_json(document: Any) -> None:
    """Print one JSON document; what JSON cannot hold (NaN, infinity) becomes null."""
    typer.echo(json.dumps(_plain(document), ensure_ascii=False, indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def counted(count: int, plural: str) -> str:
    """Return a count and what is counted, whose plural ends in s."""
    return f"{count:,} {plural if count != 1 else plural.removesuffix('s')}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as a table shows it."""
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.0f}"


def interval(item: Value | Estimate, digits: int = 3) -> str:
    """Return a value with its interval, where there is one."""
    shown = number(item.value, digits)
    if item.low is None or item.high is None:
        return shown
    return f"{shown} [{number(item.low, digits)}, {number(item.high, digits)}]"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column flush left, the others right.

    A row of one cell is a heading over the rows that follow it.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=place == 0)
    for row in rows:
        if len(row) == 1:
            table.add_section()
            table.add_row(*row, style="bold")
        else:
            table.add_row(*row)
    # Without a terminal nothing tells the width; 120 columns hold every table.
    width = None if sys.stdout.isatty() else 120
    Console(width=width, highlight=False, markup=False).print(table)


class _Lines:
    """Progress of a long job in a file: a line now and then, with the time that is left."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.next, self.done = self.started + 60.0, 0

    def __call__(self, done: int, total: int | None, what: str) -> None:
        now = time.monotonic()
        if done < self.done:  # another pass, or another part of the job
            self.started = now
        self.done = done
        if now < self.next or done == total:
            return
        self.next = now + 60.0
        left = ""
        if total and done:
            seconds = (now - self.started) * (total - done) / done
            left = f" of {total}, about {duration(seconds)} left"
        typer.echo(f"{what}: {done}{left}", err=True)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Progress]:
    """Yield a callback that draws a bar on stderr; a line a minute where that is no terminal."""
    if quiet:
        from fillgap.runtime import silent

        yield silent
        return
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    text = TextColumn("{task.description}")
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def update(done: int, total: int | None, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield update


def end_job(report: JobReport | None, *, said: bool) -> None:
    """Unless it is said, print what a job read and how fast, and what it kept or left out.

    Exits with 3 where shards were skipped.
    """
    if report is None:
        return
    if report.workers and not said:
        megabytes = report.n_bytes / 1e6 / (report.seconds or 1.0)
        speed = f"{report.rows_per_second:,.0f} rows/s, {megabytes:,.0f} MB/s"
        say(
            f"{counted(report.n_rows, 'rows')} read by {counted(len(report.workers), 'workers')} "
            f"in {report.seconds:.1f} s: {speed}, workers busy {report.busy:.0%} of the time."
        )
    if report.kept and not said:
        say(f"Finished before, and kept: {counted(len(report.kept), 'shards')}.")
    say_all("Skipped", () if said else report.skipped.values())
    if report.skipped:
        raise typer.Exit(3)


def say_plan(
    plan: JobPlan, out: Any = None, *, fits: Mapping[str, int] | None = None, as_json: bool
) -> None:
    """Print what a job would do, or what would be read, fitted and judged."""
    if as_json:
        document = plan.to_dict()
        if fits is not None:
            keys = ("n_shards", "n_rows", "n_features", "n_bytes", "passes", "skipped")
            document = {key: document[key] for key in keys} | dict(fits)
        print_json(document)
        return
    if plan.n_rows:
        times = {1: "once", 2: "twice"}.get(plan.passes, f"{plan.passes} times")
        say(
            f"Would read {counted(plan.n_shards, 'shards')} with {counted(plan.n_rows, 'rows')} of "
            f"{plan.n_features} numbers, {_bytes(plan.n_bytes)}, {times}."
        )
    else:
        say("Nothing is left to be read.")
    if fits is not None:
        say(
            f"Would fit {counted(fits['n_methods'], 'methods')} on "
            f"{counted(fits['n_splits'], 'splits')}, {counted(fits['n_fits'], 'fits')}: each to "
            f"{fits['n_fit']:,} images, judged on {fits['n_test']:,} others."
        )
    _say_files(plan.n_files, plan.written_bytes, out)
    if plan.kept:
        say(f"Finished, and would be kept: {counted(plan.kept, 'shards')}.")
    say_all("Would skip", plan.skipped.values())
    say("Nothing was written.")


def say_embed_plan(plan: Mapping[str, Any], out: Any, *, as_json: bool) -> None:
    """Print what would be embedded."""
    if as_json:
        print_json({**plan, "out": str(out)})
        return
    if plan["n_rows"]:
        say(f"Would read {counted(plan['n_rows'], 'records')} of {plan['dataset']}, once.")
    else:
        say("Nothing is left to be read.")
    _say_files(plan["n_files"], 0, out)
    if plan["kept"]:
        total = counted(plan["kept"] + plan["n_shards"], "shards")
        say(f"Finished, and would be kept: {plan['kept']} of {total}.")
    say("Nothing was written.")


def _say_files(n_files: int, n_bytes: int, out: Any) -> None:
    if n_files:
        files = "a file" if n_files == 1 else f"{n_files} files"
        size = f", at most {_bytes(n_bytes)}" if n_bytes else ""
        say(f"Would write {files}{size}: {out}")


def _bytes(count: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
