"""What is said before a long job (--dry-run)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from fillgap.cli.output import counted, duration, print_json, say

if TYPE_CHECKING:
    from fillgap.distributed import JobPlan
    from fillgap.evaluation import ComparisonPlan
    from fillgap.experiments.embed_plan import EmbedPlan

__all__ = ["DryRun", "say_comparison_plan", "say_embed_plan", "say_plan"]

DryRun: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only say what would be read and written, and how long it should take.",
    ),
]

_NOTHING: Final = "Nothing was written."


def say_plan(plan: JobPlan, out: Any = None, *, as_json: bool = False) -> None:
    """Print what a job would do, and how long it should take."""
    if as_json:
        print_json(plan.to_dict())
        return
    _say_reading(plan, plan.passes)
    _say_files(plan, out, "at most")
    if plan.kept:
        say(f"Finished, and would be kept: {counted(plan.kept, 'shards')}.")
    _say_skipped(plan.skipped)
    if math.isnan(plan.seconds_per_row):
        say("How long it takes is not known: the method holds all rows at once. Try fewer.")
    elif plan.n_rows:
        say(
            f"About {duration(plan.seconds)} by {_who(plan.n_workers)}, not counting their start: "
            f"one took {1 / plan.seconds_per_row:,.0f} rows/s through all passes in a trial on "
            f"{plan.trial_rows:,} rows. This assumes that storage keeps up, that workers do not "
            "hinder each other, and that writing takes no time; files in the cache were read "
            "faster than others will be."
        )
    say(_NOTHING)


def say_embed_plan(plan: EmbedPlan, out: Any, *, as_json: bool = False) -> None:
    """Print what would be embedded, and how long it should take."""
    what = rate = ""
    if plan.n_rows:
        what = f"{counted(plan.n_rows, 'images')} of {plan.dataset} with their captions, once"
        rate = (
            f"{1 / plan.seconds_per_row:,.1f} images/s with their captions in a trial on "
            f"{plan.trial_rows} images"
        )
    _say_embedding(plan, what, rate, out, skipped=plan.skipped, as_json=as_json)


def _say_embedding(
    plan: EmbedPlan,
    what: str,
    rate: str,
    out: Any,
    *,
    skipped: Mapping[str, str],
    as_json: bool,
) -> None:
    """Print a plan to embed; `what` is empty where nothing is left."""
    if as_json:
        print_json(plan.to_dict() | {"out": str(out)})
        return
    if what:
        say(f"Would read {what}, and embed them by {plan.model}.")
    else:
        say("Nothing is left to be read.")
    _say_files(plan, out, "about")
    if plan.kept:
        total = plan.kept + plan.n_shards
        say(f"Finished, and would be kept: {plan.kept} of {counted(total, 'shards')}.")
    _say_skipped(skipped)
    if what:
        say(
            f"About {duration(plan.seconds)} by {_who(plan.n_workers)}, not counting their start: "
            f"one took {rate}. This assumes that storage keeps up, that workers do not hinder each "
            "other, and that writing takes no time."
        )
    say(_NOTHING)


def say_comparison_plan(
    plan: ComparisonPlan, reading: JobPlan, *, seconds_to_read: float, as_json: bool = False
) -> None:
    """Print what would be read, fitted and judged, and how long it should take."""
    seconds = plan.seconds + seconds_to_read
    if as_json:
        read = reading.to_dict()
        keys = ("n_shards", "n_rows", "n_features", "n_bytes", "passes", "skipped")
        print_json({key: read[key] for key in keys} | plan.to_dict() | {"seconds": seconds})
        return
    _say_reading(reading, reading.passes)
    n_methods = len(plan.seconds_of_methods) + len(plan.failures)
    say(
        f"Would fit {counted(n_methods, 'methods')} on {counted(plan.n_splits, 'splits')}, "
        f"{counted(plan.n_fits, 'fits')}: each to {plan.n_fit:,} images, judged on "
        f"{plan.n_test:,} others."
    )
    _say_skipped(reading.skipped)
    for name, reason in plan.failures.items():
        say(f"{name} cannot run on these data: {reason}")
    least = "At least" if plan.unknown else "About"
    say(
        f"{least} {duration(seconds)} by {_who(plan.n_workers)}, not counting their start, from a "
        f"trial of every method on one split of {plan.trial_images:,} images. This assumes that "
        "workers do not hinder each other."
    )
    if plan.unknown:
        say(
            f"How long these take is not known, which hold all rows at once: "
            f"{', '.join(plan.unknown)}. Try fewer images (--max-images)."
        )
    say(_NOTHING)


def _say_reading(plan: JobPlan, passes: int) -> None:
    if not plan.n_rows:
        say("Nothing is left to be read.")
        return
    times = {1: "once", 2: "twice"}.get(passes, f"{passes} times")
    say(
        f"Would read {counted(plan.n_shards, 'shards')} with {counted(plan.n_rows, 'rows')} of "
        f"{plan.n_features} numbers, {_bytes(plan.n_bytes)}, {times}."
    )


def _say_files(plan: JobPlan | EmbedPlan, out: Any, limit: str) -> None:
    if plan.n_files:
        files = "a file" if plan.n_files == 1 else f"{plan.n_files} files"
        size = f", {limit} {_bytes(plan.written_bytes)}" if plan.written_bytes else ""
        say(f"Would write {files}{size}: {out}")


def _say_skipped(skipped: Mapping[str, str]) -> None:
    for reason in skipped.values():
        say(f"Would skip: {reason}")


def _who(n_workers: int) -> str:
    return "one worker" if n_workers == 1 else f"{n_workers} workers or threads"


def _bytes(count: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
