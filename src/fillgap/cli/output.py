"""What reaches the user: tables and JSON on stdout, a progress bar on stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from fillgap._progress import Progress, silent

__all__ = ["counted", "duration", "number", "print_json", "print_table", "progress_bar", "say"]


def say(text: str = "") -> None:
    """Print a line on stdout."""
    typer.echo(text)


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


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


class _Lines:
    """Progress of a long job in a file: a line now and then, with the time that is left."""

    def __init__(self, every: float = 60.0) -> None:
        self.every, self.started = every, time.monotonic()
        self.next, self.done = self.started + every, 0

    def __call__(self, done: int, total: int | None, what: str) -> None:
        now = time.monotonic()
        if done < self.done:  # another pass, or another part of the job
            self.started = now
        self.done = done
        if now < self.next or done == total:
            return
        self.next = now + self.every
        left = ""
        if total and done:
            seconds = (now - self.started) * (total - done) / done
            left = f" of {total}, about {duration(seconds)} left"
        typer.echo(f"{what}: {done}{left}", err=True)


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Progress]:
    """Yield a callback that draws a bar on stderr; a line a minute where that is no terminal."""
    if quiet:
        yield silent
        return
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def update(done: int, total: int | None, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield update
