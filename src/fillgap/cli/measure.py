"""fillgap measure: how large the gap is, and whether it is one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING

from fillgap.cli.engine import Address, Engine, SkipBadShards, Workers, engine_of
from fillgap.cli.job import end, say_job
from fillgap.cli.options import (
    AsJson,
    Captions,
    Device,
    ImageIndex,
    Images,
    MaxImages,
    Quiet,
    Seed,
    Texts,
    Unpaired,
)
from fillgap.cli.output import number, print_json, print_table, progress_bar, say
from fillgap.cli.plan import DryRun, say_plan

if TYPE_CHECKING:
    from fillgap.metrics.measurements import Measurements, Value

__all__ = ["measure", "print_measurements"]

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
        from fillgap.distributed import plan_measure

        with executor or nullcontext():
            plan = plan_measure(
                images, texts, executor=executor, paired=paired, skip_bad_shards=skip_bad_shards
            )
        say_plan(plan, as_json=as_json)
        return
    if executor is not None:
        from fillgap.distributed import measure_shards

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
    from fillgap._checks import InputError
    from fillgap.cli.data import read_pair
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
    from fillgap.metrics import MEASURES

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
