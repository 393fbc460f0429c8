"""What is said before a long job (--dry-run)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from fillgap.cli.output import counted, print_json, say

if TYPE_CHECKING:
    from fillgap.distributed import JobPlan

__all__ = ["DryRun", "say_comparison_plan", "say_embed_plan", "say_plan"]

DryRun: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only say what would be read, written and kept.",
    ),
]

_NOTHING: Final = "Nothing was written."


def say_plan(plan: JobPlan, out: Any = None, *, as_json: bool = False) -> None:
    """Print what a job would do."""
    if as_json:
        print_json(plan.to_dict())
        return
    _say_reading(plan)
    _say_files(plan.n_files, plan.written_bytes, out, "at most")
    if plan.kept:
        say(f"Finished, and would be kept: {counted(plan.kept, 'shards')}.")
    _say_skipped(plan.skipped)
    say(_NOTHING)


def say_embed_plan(plan: Mapping[str, Any], out: Any, *, as_json: bool = False) -> None:
    """Print what would be embedded."""
    if as_json:
        print_json({**plan, "out": str(out)})
        return
    if plan["n_rows"]:
        say(f"Would read {counted(plan['n_rows'], 'records')} of {plan['dataset']}, once.")
    else:
        say("Nothing is left to be read.")
    _say_files(plan["n_files"], 0, out, "about")
    if plan["kept"]:
        total = counted(plan["kept"] + plan["n_shards"], "shards")
        say(f"Finished, and would be kept: {plan['kept']} of {total}.")
    say(_NOTHING)


def say_comparison_plan(
    plan: Mapping[str, int], reading: JobPlan, *, as_json: bool = False
) -> None:
    """Print what would be read, fitted and judged."""
    if as_json:
        read = reading.to_dict()
        keys = ("n_shards", "n_rows", "n_features", "n_bytes", "passes", "skipped")
        print_json({key: read[key] for key in keys} | dict(plan))
        return
    _say_reading(reading)
    say(
        f"Would fit {counted(plan['n_methods'], 'methods')} on "
        f"{counted(plan['n_splits'], 'splits')}, {counted(plan['n_fits'], 'fits')}: each to "
        f"{plan['n_fit']:,} images, judged on {plan['n_test']:,} others."
    )
    _say_skipped(reading.skipped)
    say(_NOTHING)


def _say_reading(plan: JobPlan) -> None:
    if not plan.n_rows:
        say("Nothing is left to be read.")
        return
    times = {1: "once", 2: "twice"}.get(plan.passes, f"{plan.passes} times")
    say(
        f"Would read {counted(plan.n_shards, 'shards')} with {counted(plan.n_rows, 'rows')} of "
        f"{plan.n_features} numbers, {_bytes(plan.n_bytes)}, {times}."
    )


def _say_files(n_files: int, n_bytes: int, out: Any, limit: str) -> None:
    if n_files:
        files = "a file" if n_files == 1 else f"{n_files} files"
        size = f", {limit} {_bytes(n_bytes)}" if n_bytes else ""
        say(f"Would write {files}{size}: {out}")


def _say_skipped(skipped: Mapping[str, str]) -> None:
    for reason in skipped.values():
        say(f"Would skip: {reason}")


def _bytes(count: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
