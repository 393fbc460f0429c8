"""fillgap embed, fit, apply and methods: from files to files, block by block."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from fillgap.cli import options as opt
from fillgap.cli.inputs import new_file, parse_parameters, read_pair
from fillgap.cli.output import (
    end_job,
    print_json,
    print_table,
    progress_bar,
    refuse,
    say,
    say_all,
    say_embed_plan,
    say_plan,
)

if TYPE_CHECKING:
    from fillgap.aligners.base import Aligner

#: Images left out that are named.
MOST_SKIPPED = 5


def embed(
    dataset: Annotated[
        str,
        Argument(
            metavar="DATASET",
            help="KIND:PATH, for example coco:FOLDER, or digit-scenes; judged:FOLDER for queries "
            "and documents of MixBench or BEIR.",
        ),
    ],
    model: Annotated[
        str,
        Argument(
            metavar="MODEL",
            help="KIND:MODEL, a local folder or a name on the Hugging Face hub, for example "
            "clip:openai/clip-vit-base-patch32; or digit-scenes.",
        ),
    ],
    *,
    out: opt.Out,
    device: Annotated[
        str | None, Option(help="cpu, cuda, cuda:1, mps; a GPU where there is one.")
    ] = None,
    batch_size: Annotated[int | None, Option(min=1, help="Images or texts at a time.")] = None,
    pooling: Annotated[
        str | None, Option(help="Of a multi-vector model: mean, max, first or last.")
    ] = None,
    revision: Annotated[str | None, Option(help="Branch, tag or commit on the hub.")] = None,
    language_model: Annotated[
        str | None, Option(metavar="MODEL", help="The text half of LLM2CLIP.")
    ] = None,
    dataset_options: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="NAME=VALUE",
            help="An option of the dataset, for example --set part=pairs; may be repeated.",
        ),
    ] = None,
    dtype: Annotated[opt.Dtype, Option(help="Of the embeddings.")] = "float32",
    shard_rows: Annotated[
        int | None, Option(min=1, help="Images in a shard: what an interruption can cost.")
    ] = None,
    threads: Annotated[int, Option(min=1, help="Threads that read images ahead.")] = 4,
    engine: opt.Engine = None,
    workers: opt.Workers = None,
    address: opt.Address = None,
    dry_run: opt.DryRun = False,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Embed the images and captions of DATASET with MODEL, into shards in a folder.

    Stopped, the same command goes on from where it was. An image that cannot be read is left out
    and listed. The folder is named like any embeddings in the other commands. Each worker loads
    the model once, and embeds whole shards. Those of judged:FOLDER are for fillgap bench mixed.
    """
    from fillgap.embed import embed_dataset, plan_embed

    executor = opt.engine_of(engine, workers, address, device=device)
    options = {
        "device": device,
        "batch_size": batch_size,
        "pooling": pooling,
        "revision": revision,
        "language_model": language_model,
    }
    given = tuple((name, value) for name, value in options.items() if value is not None)
    data, encoder = (dataset, tuple(dataset_options or ())), (model, given)
    opened = open_data(*data)
    layout: dict[str, Any] = {"shard_rows": shard_rows, "dtype": dtype}
    if dry_run:
        with executor or nullcontext():
            plan = plan_embed(opened, out, **layout)
        say_embed_plan(plan, out, as_json=as_json)
        return
    loaded = load_encoder(*encoder)
    openers = partial(once, open_data, *data), partial(once, load_encoder, *encoder)
    with (
        warnings.catch_warnings(record=True) as caught,
        executor or nullcontext(),
        progress_bar(quiet=quiet) as progress,
    ):
        warnings.simplefilter("always", UserWarning)
        work = {"n_threads": threads, "executor": executor, "progress": progress}
        manifest = embed_dataset(opened, loaded, out, openers=openers, **layout, **work)
    notes = list(dict.fromkeys(str(item.message) for item in caught))
    if as_json:
        keys = ("model", "dataset", "n_images", "n_texts", "n_empty", "skipped")
        shown = {key: getattr(manifest, key) for key in keys}
        print_json({**shown, "notes": notes, "out": str(out)})
        return
    name, n_features = manifest.model["name"], manifest.model["n_features"]
    say(
        f"{manifest.dataset['name']} embedded by {name}: {manifest.n_images} images and "
        f"{manifest.n_texts} texts in {n_features} dimensions: {out}"
    )
    skipped = manifest.skipped
    if skipped:
        say(f"{len(skipped)} images could not be read and were left out:")
        for item in skipped[:MOST_SKIPPED]:
            say(f"  {item['id']}: {item['reason']}")
        if len(skipped) > MOST_SKIPPED:
            say(f"  and {len(skipped) - MOST_SKIPPED} more, listed in {out}/manifest.json")
    if manifest.n_empty:
        say(f"{manifest.n_empty} empty captions were left out.")
    say_all("Note", [*manifest.dataset["problems"], *notes])
    if dataset.startswith("judged:"):
        say(f"Next: fillgap bench mixed {dataset.removeprefix('judged:')} --embeddings {out}")
    else:
        say(f"Next: fillgap measure {out}")


@lru_cache(maxsize=2)
def once(function: Any, *words: Any) -> Any:
    """Return what a function opens, from the second time on as it was in this process."""
    return function(*words)


def open_data(spec: str, options: tuple[str, ...]) -> Any:
    """Return the dataset that words name."""
    from fillgap.datasets.catalogue import open_dataset

    return open_dataset(spec, **parse_parameters(options))


def load_encoder(model: str, options: tuple[tuple[str, Any], ...]) -> Any:
    """Return the encoder that words name, on the device that they mean in this process."""
    from fillgap.distributed.pieces import name_here
    from fillgap.encoders.base import open_encoder

    here = {name: name_here(value) if name == "device" else value for name, value in options}
    return open_encoder(model, **here)


def fit(
    method: opt.Method,
    images: opt.Images,
    texts: opt.Texts = None,
    *,
    out: opt.Out,
    parameters: opt.Parameters = None,
    image_index: opt.ImageIndex = None,
    model: opt.Model = None,
    device: opt.Device = None,
    engine: opt.Engine = None,
    workers: opt.Workers = None,
    address: opt.Address = None,
    skip_bad_shards: opt.SkipBadShards = False,
    dry_run: opt.DryRun = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Fit METHOD to all rows, and write the aligner to one safetensors file.

    Rows are read in blocks and never held, except by methods that need them all at once. Judge a
    method with fillgap compare first: this command tests nothing.
    """
    from datetime import UTC, datetime

    from fillgap.aligners.methods import Provenance, make_aligner, method_name, save_aligner
    from fillgap.pair import fingerprint

    aligner = make_aligner(method, **parse_parameters(parameters))
    new_file(out, (images, texts, image_index), overwrite=overwrite)
    if out.is_dir():
        refuse(f"{out} must be a file, got a folder. Name the new file in it.")
    executor = opt.engine_of(engine, workers, address, skip_bad_shards, device)
    spread: dict[str, Any] = {"executor": executor, "skip_bad_shards": skip_bad_shards}
    if dry_run:
        from fillgap.distributed.job_plan import plan_fit

        with executor or nullcontext():
            plan = plan_fit(aligner, images, texts, **spread)
        say_plan(plan, out, as_json=as_json)
        return
    job, data_hash, skipped = None, None, {}
    with progress_bar(quiet=quiet) as progress:
        if executor is None:
            sides = _sides(aligner, images, texts, image_index)
            aligner.fit(*_on_device(sides, device), progress=progress)
            data_hash = fingerprint(*sides)
        else:
            from fillgap.distributed.fit_job import fit_shards

            opt.refuse_index(image_index)
            spread |= {"device": device, "progress": progress}
            with executor:
                job = fit_shards(aligner, images, texts, **spread)
            skipped = job.skipped
    created = datetime.now(UTC).date().isoformat()
    provenance = Provenance(
        model=model, data_hash=data_hash, created=created, skipped_shards=skipped
    )
    save_aligner(aligner, out, provenance=provenance, overwrite=overwrite)
    n, m = aligner.n_samples_
    if as_json:
        described = {
            "method": method_name(aligner),
            "parameters": aligner.get_params(),
            "n_features": aligner.n_features_in_,
            "n_samples": (n, m),
            "notes": aligner.notes_,
            "out": str(out),
        }
        print_json(described | ({} if job is None else {"job": job.to_dict()}))
    else:
        size = f"{n} images and {m} texts in {aligner.n_features_in_} dimensions"
        say(f"{method} fitted to {size}: {out}")
        say_all("Note", aligner.notes_)
    end_job(job, said=as_json)


def _sides(
    aligner: Aligner, images: str, texts: str | None, image_index: str | None
) -> tuple[Any, Any]:
    """Return what to fit on: streams where sums suffice, pairs row by row where they are needed."""
    from fillgap.io.shards import open_sides

    if aligner.needs_pairs:
        return read_pair(images, texts, image_index=image_index).matched()
    return open_sides(images, texts)


def _on_device(sides: tuple[Any, Any], name: str | None) -> Iterable[Any]:
    """Return both sides as tensors of a device, block by block where they are streams."""
    if name is None:
        return sides
    from fillgap.runtime import OnDevice, choose_device, to_device

    device = choose_device(name)
    return [(OnDevice if hasattr(s, "iter_blocks") else to_device)(s, device) for s in sides]


def apply(
    aligner: Annotated[Path, Argument(metavar="ALIGNER", help="The file that fit wrote.")],
    files: Annotated[list[str], Argument(metavar="FILES...", help="Embeddings to align.")],
    *,
    modality: Annotated[Literal["image", "text"], Option(help="What the FILES are.")],
    out: opt.Out,
    device: opt.Device = None,
    engine: opt.Engine = None,
    workers: opt.Workers = None,
    address: opt.Address = None,
    skip_bad_shards: opt.SkipBadShards = False,
    dry_run: opt.DryRun = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Align FILES block by block, and write them in the same format and type.

    One file gives the file OUT; several give a folder OUT with the same names. Tables keep
    their other columns. Sides that look exchanged are refused. With workers OUT is a folder, and
    shards that an earlier run finished are kept.
    """
    from fillgap.aligners.methods import load_aligner
    from fillgap.distributed.apply_job import apply_shards, block_function
    from fillgap.distributed.job_plan import plan_apply
    from fillgap.io.writing import transform_files

    executor = opt.engine_of(engine, workers, address, skip_bad_shards, device)
    if dry_run:
        with executor or nullcontext():
            plan = plan_apply(aligner, files, out, modality=modality)
        say_plan(plan, out, as_json=as_json)
        return
    where: dict[str, Any] = {"modality": modality, "overwrite": overwrite}
    if executor is not None:
        spread = {"executor": executor, "skip_bad_shards": skip_bad_shards, "device": device}
        with executor, progress_bar(quiet=quiet) as progress:
            job = apply_shards(aligner, files, out, progress=progress, **where, **spread)
        if as_json:
            print_json(job.to_dict())
        end_job(job, said=as_json)
        return
    fitted = load_aligner(aligner)
    for file in files:
        _check_side(fitted, file, modality)
    function = block_function(fitted, f"{modality}s", device)
    with warnings.catch_warnings(record=True) as caught, progress_bar(quiet=quiet) as progress:
        warnings.simplefilter("once", UserWarning)
        written = transform_files(files, out, function, progress=progress, **where)
    notes = sorted({str(warning.message) for warning in caught})
    if as_json:
        print_json({"written": [str(path) for path in written], "notes": notes})
        return
    for path in written:
        say(str(path))
    say_all("Note", notes)


def _check_side(fitted: Aligner, file: str, modality: Literal["image", "text"]) -> None:
    """Refuse a file that is evidently of the other modality, by its name or by its mean."""
    import numpy as np

    from fillgap.errors import unit_rows
    from fillgap.io.names import guess_modality
    from fillgap.io.shards import open_rows

    named, nearer = guess_modality(file), None
    rows = next(iter(open_rows(file, modality=modality).iter_blocks(2048)))
    if rows.shape[1] == fitted.n_features_in_ and rows.shape[0] > 1:
        mean, means = unit_rows(rows, "embeddings").mean(axis=0), (fitted.mean_x_, fitted.mean_y_)
        image, text = (float(np.linalg.norm(mean - center)) for center in means)
        gap = float(np.linalg.norm(means[0] - means[1]))
        # A sample mean strays; only a clear difference, of half the gap, is evidence.
        if abs(image - text) >= 0.5 * gap and gap >= 0.1:
            nearer = "image" if image < text else "text"
    if named not in {None, modality} and nearer != modality:
        reason = "its name says"
    elif nearer not in {None, modality} and named != modality:
        reason = "its mean embedding says"
    else:
        return
    other = "image" if modality == "text" else "text"
    refuse(
        f"{file} must hold {modality} embeddings, got what {reason} are {other} embeddings. "
        f"Pass --modality {other}, or rename the file if it is right."
    )


def methods(*, as_json: opt.AsJson = False) -> None:
    """List the methods with what they need and their parameters."""
    from inspect import getdoc

    from fillgap.aligners.methods import METHODS

    rows = [
        {
            "method": name,
            "class": cls.__name__,
            "summary": (getdoc(cls) or "").partition("\n")[0],
            "needs_pairs": cls.needs_pairs,
            "linear": cls.linear,
            "passes": cls.passes,
            "parameters": cls().get_params(),
        }
        for name, cls in METHODS.items()
    ]
    if as_json:
        print_json(rows)
        return
    table = []
    for row in rows:
        parameters = ", ".join(key for key in row["parameters"] if key != "normalize")
        needs = "pairs" if row["needs_pairs"] else ""
        table.append([row["method"], row["summary"], needs, parameters])
    print_table(["method", "what it does", "needs", "parameters"], table)
