"""fillgap embed: images and captions to embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fillgap.cli.options import Address, AsJson, Engine, Out, Quiet, Workers, engine_of
from fillgap.cli.output import DryRun, print_json, progress_bar, say, say_embed_plan

if TYPE_CHECKING:
    from fillgap.io.embedded import Manifest

_SHOWN = 5
_JUDGED = "judged:"


def embed(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="KIND:PATH, for example coco:FOLDER, or digit-scenes; judged:FOLDER for queries "
            "and documents of MixBench or BEIR.",
        ),
    ],
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="KIND:MODEL, a local folder or a name on the Hugging Face hub, for example "
            "clip:openai/clip-vit-base-patch32; or digit-scenes.",
        ),
    ],
    *,
    out: Out,
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu, cuda, cuda:1, mps; a GPU where there is one."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Images or texts at a time.")
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option("--pooling", help="Of a multi-vector model: mean, max, first or last."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit on the hub.")
    ] = None,
    language_model: Annotated[
        str | None,
        typer.Option("--language-model", metavar="MODEL", help="The text half of LLM2CLIP."),
    ] = None,
    dataset_options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="An option of the dataset, for example --set part=pairs; may be repeated.",
        ),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16"], typer.Option("--dtype", help="Of the embeddings.")
    ] = "float32",
    shard_rows: Annotated[
        int | None,
        typer.Option(
            "--shard-rows", min=1, help="Images in a shard: what an interruption can cost."
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Threads that read images ahead.")
    ] = 4,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Embed the images and captions of DATASET with MODEL, into shards in a folder.

    Stopped, the same command goes on from where it was. An image that cannot be read is left out
    and listed. The folder is named like any embeddings in the other commands. Each worker loads
    the model once, and embeds whole shards. Those of judged:FOLDER are for fillgap bench mixed.
    """
    import warnings
    from contextlib import nullcontext

    from fillgap.embed import embed_dataset, plan_embed

    options = {
        "device": device,
        "batch_size": batch_size,
        "pooling": pooling,
        "revision": revision,
        "language_model": language_model,
    }
    given = {name: value for name, value in options.items() if value is not None}
    judged = dataset.startswith(_JUDGED)
    executor = engine_of(engine, workers, address, device=device)
    openers = (
        DatasetFrom(dataset, tuple(dataset_options or ())),
        EncoderFrom(model, tuple(given.items())),
    )
    opened = openers[0].open()
    if dry_run:
        with executor or nullcontext():
            plan = plan_embed(opened, out, shard_rows=shard_rows, dtype=dtype)
        say_embed_plan(plan, out, as_json=as_json)
        return
    encoder = openers[1].open()
    with (
        warnings.catch_warnings(record=True) as caught,
        executor or nullcontext(),
        progress_bar(quiet=quiet) as progress,
    ):
        warnings.simplefilter("always", UserWarning)
        manifest = embed_dataset(
            opened, encoder, out,
            shard_rows=shard_rows, dtype=dtype, n_threads=threads,
            executor=executor, openers=openers, progress=progress,
        )  # fmt: skip
    notes = list(dict.fromkeys(str(item.message) for item in caught))
    if as_json:
        print_json(_description(manifest, notes) | {"out": str(out)})
        return
    _print_result(manifest, notes, out)
    if judged:
        say(f"Next: fillgap bench mixed {dataset.removeprefix(_JUDGED)} --embeddings {out}")
    else:
        say(f"Next: fillgap measure {out}")


@dataclass(frozen=True)
class DatasetFrom:
    """Opens a dataset in whatever process this is called, once."""

    spec: str
    options: tuple[str, ...]

    def __call__(self) -> Any:
        """Return the dataset."""
        return _opened(self)

    def open(self) -> Any:
        """Return it anew."""
        from fillgap.cli.inputs import parse_parameters
        from fillgap.datasets.catalogue import open_dataset

        return open_dataset(self.spec, **parse_parameters(list(self.options)))


@dataclass(frozen=True)
class EncoderFrom:
    """Loads an encoder in whatever process this is called, once."""

    model: str
    options: tuple[tuple[str, Any], ...]

    def __call__(self) -> Any:
        """Return the encoder."""
        return _opened(self)

    def open(self) -> Any:
        """Return it anew."""
        from fillgap.distributed.pieces import name_here
        from fillgap.encoders.base import open_encoder

        options = dict(self.options)
        if "device" in options:
            options["device"] = name_here(options["device"])
        return open_encoder(self.model, **options)


@lru_cache(maxsize=2)
def _opened(source: DatasetFrom | EncoderFrom) -> Any:
    return source.open()


def _description(manifest: Manifest, notes: list[str]) -> dict[str, Any]:
    return {
        "model": manifest.model,
        "dataset": manifest.dataset,
        "n_images": manifest.n_images,
        "n_texts": manifest.n_texts,
        "n_empty": manifest.n_empty,
        "skipped": manifest.skipped,
        "notes": notes,
    }


def _print_result(manifest: Manifest, notes: list[str], out: Any) -> None:
    """Print what was written and what was left out."""
    name, n_features = manifest.model["name"], manifest.model["n_features"]
    say(
        f"{manifest.dataset['name']} embedded by {name}: {manifest.n_images} images and "
        f"{manifest.n_texts} texts in {n_features} dimensions: {out}"
    )
    skipped = manifest.skipped
    if skipped:
        say(f"{len(skipped)} images could not be read and were left out:")
        for item in skipped[:_SHOWN]:
            say(f"  {item['id']}: {item['reason']}")
        if len(skipped) > _SHOWN:
            say(f"  and {len(skipped) - _SHOWN} more, listed in {out}/manifest.json")
    if manifest.n_empty:
        say(f"{manifest.n_empty} empty captions were left out.")
    for note in [*manifest.dataset["problems"], *notes]:
        say(f"Note: {note}")
