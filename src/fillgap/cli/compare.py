"""fillgap compare: judge methods on held-out rows, and recommend one or none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fillgap.cli.engine import Address, Engine, Workers, engine_of
from fillgap.cli.options import AsJson, Device, ImageIndex, Images, MaxImages, Quiet, Seed, Texts
from fillgap.cli.output import number, print_json, print_table, progress_bar, say
from fillgap.cli.plan import DryRun, say_comparison_plan

if TYPE_CHECKING:
    from fillgap.evaluation import Comparison, MethodResult
    from fillgap.evaluation.comparison import Nested

__all__ = ["compare", "judge", "print_comparison"]


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
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit every method on one part of the images, judge it on the rest, and recommend one or none.

    Images and texts must be paired: row i with row i, or by --image-index. Workers share the
    methods and splits; each reads the embeddings itself.
    """
    executor = engine_of(engine, workers, address, device=device)
    if dry_run:
        _say_plan(
            images, texts, methods, image_index=image_index, n_splits=n_splits,
            quantise=quantise or (), max_images=max_images, device=device, executor=executor,
            seed=seed, as_json=as_json,
        )  # fmt: skip
        return
    found = judge(
        images,
        texts,
        methods=methods,
        image_index=image_index,
        n_splits=n_splits,
        max_loss=max_loss,
        quantise=quantise or (),
        max_images=max_images,
        device=device,
        executor=executor,
        seed=seed,
        quiet=quiet,
    )
    if as_json:
        print_json(found.to_dict())
    else:
        print_comparison(found)


def judge(
    images: str,
    texts: str | None,
    *,
    methods: list[str] | None = None,
    image_index: str | None = None,
    n_splits: int = 5,
    max_loss: float = 0.02,
    quantise: Sequence[str] = (),
    max_images: int = 100_000,
    device: str | None = None,
    executor: Any = None,
    seed: int = 0,
    quiet: bool = False,
) -> Comparison:
    """Read both sides and compare, with a bar on stderr."""
    from fillgap.cli.data import PairFrom, read_pair
    from fillgap.evaluation import compare as compare_pair

    pair = read_pair(
        images,
        texts,
        image_index=image_index,
        captions=None,
        unpaired=False,
        max_images=max_images,
        seed=seed,
        device=device if executor is None else None,
    )
    source = PairFrom(images, texts, image_index, max_images, seed, device)
    with executor or nullcontext(), progress_bar(quiet=quiet) as progress:
        return compare_pair(
            pair,
            methods or None,
            n_splits=n_splits,
            max_loss=max_loss,
            quantise=quantise,
            executor=executor,
            source=None if executor is None else source,
            random_state=seed,
            progress=progress,
        )


def _say_plan(
    images: str,
    texts: str | None,
    methods: list[str] | None,
    *,
    image_index: str | None,
    n_splits: int,
    quantise: Sequence[str],
    max_images: int,
    device: str | None,
    executor: Any,
    seed: int,
    as_json: bool,
) -> None:
    """Say what would be done, from a trial on the first images."""
    from time import perf_counter

    from fillgap.cli.data import PairFrom
    from fillgap.distributed import plan_reading
    from fillgap.evaluation import TRIAL_IMAGES, plan_compare
    from fillgap.io import open_sides

    reading = plan_reading(images, texts)
    few = min(TRIAL_IMAGES, max_images)
    started = perf_counter()
    pair = PairFrom(images, texts, image_index, few, None, None if executor else device)()
    seconds = (perf_counter() - started) * reading.n_rows / (pair.n_images + pair.n_texts)
    with executor or nullcontext():
        plan = plan_compare(
            pair,
            methods or None,
            n_images=min(open_sides(images, texts)[0].shape[0], max_images),
            n_splits=n_splits,
            quantise=quantise,
            executor=executor,
            n_workers=executor.n_workers if executor else 1,
            source=PairFrom(images, texts, image_index, few, None, device) if executor else None,
            random_state=seed,
        )
    if executor is not None:  # each worker reads what this process reads
        seconds, reading = 2 * seconds, replace(reading, passes=1 + plan.n_workers)
    say_comparison_plan(plan, reading, seconds_to_read=seconds, as_json=as_json)


def print_comparison(found: Comparison) -> None:
    """Print the advice first, then the table that it rests on."""
    say(found.recommendation.sentence)
    say()
    say(
        f"{found.data}: {found.n_images} images and {found.n_texts} texts; "
        f"in each of {found.n_splits} splits {found.n_fit} images fitted on and "
        f"{found.n_test} others tested on; 95 % intervals."
    )
    two_sided = ["two-sided NDCG@10"] if found.two_sided else []
    header = ["NDCG@10", "recall@1", "exposure", "mixing", "conservation"]
    ranked = sorted(found.results.items(), key=lambda item: -_score(found, item[1]))
    print_table(
        ["method", *two_sided, *header],
        [[name, *_row(result, two_sided=found.two_sided)] for name, result in ranked],
    )
    say("NDCG@10: of a query's own items of the other modality, in the mixed pool.")
    say("recall@1: among the other modality alone. exposure: 1 is fair; image, text queries.")
    if not found.two_sided:
        say("Two-sided search: not available, it needs two texts for each image.")
    for kind, methods in found.quantised.items():
        say(f"\nStored in {kind}, of both sides: changes from the rows as they are.")
        rows = [[name, *_changes(changes)] for name, changes in methods.items()]
        print_table(["method", *("two-sided",) * found.two_sided, "NDCG@10", "recall@1"], rows)
    for name, reason in found.failures.items():
        say(f"{name} cannot run on these data: {reason}")
    for name, result in found.results.items():
        for note in result.notes:
            say(f"{name}: {note}")


def _score(found: Comparison, result: MethodResult) -> float:
    return result.estimates[found.recommendation.objective]["mean"].value


def _row(result: MethodResult, *, two_sided: bool) -> list[str]:
    names = ["two_sided_ndcg_at_10"] * two_sided + ["mixed_ndcg_at_10", "recall_at_1"]
    cells = []
    for name in names:
        item = result.estimates[name]["mean"]
        cells.append(f"{_short(item.value)} [{_short(item.low)}, {_short(item.high)}]")
    exposure = result.estimates["exposure_at_10"]
    sides = (exposure["image_to_text"].value, exposure["text_to_image"].value)
    cells.append(", ".join(number(side, 2) for side in sides))
    return [*cells, number(result.mixing, 2), number(result.conservation, 2)]


def _changes(changes: Nested) -> list[str]:
    names = ("two_sided_ndcg_at_10", "mixed_ndcg_at_10", "recall_at_1")
    means = [changes[name]["mean"] for name in names if name in changes]
    return [f"{m.value:+.4f} [{m.low:+.4f}, {m.high:+.4f}]" for m in means]


def _short(share: float) -> str:
    """Return a share without the zero before its point, so that intervals fit in a line."""
    return number(share).replace("0.", ".", 1)
