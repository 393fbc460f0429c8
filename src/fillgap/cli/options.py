"""Arguments and options that several commands share, with one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

Images: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="IMAGES",
        help="Image embeddings: .npy, .npz, .safetensors, .parquet, .arrow, a folder or a glob of "
        "shards, FILE:NAME for one array of several, or a clip-retrieval folder for both sides.",
    ),
]
Texts: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="[TEXTS]",
        help="Text embeddings; left out where IMAGES holds both.",
        show_default=False,
    ),
]
ImageIndex: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--image-index",
        metavar="FILE",
        help="Row of each text's image (from 0), where images have several texts.",
    ),
]
MaxImages: TypeAlias = Annotated[
    int,
    typer.Option(
        "--max-images",
        min=2,
        help="Of more images than this, take a seeded sample with its texts, and say so.",
    ),
]
Captions: TypeAlias = Annotated[
    str | None,
    typer.Option("--captions", metavar="FILE", help="The texts themselves, for examples."),
]
Unpaired: TypeAlias = Annotated[
    bool, typer.Option("--unpaired", help="Row i of IMAGES does not belong to row i of TEXTS.")
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document instead of tables.")
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show no progress on stderr.")
]
Overwrite: TypeAlias = Annotated[
    bool, typer.Option("--overwrite", help="Replace an output that exists.")
]
Seed: TypeAlias = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of all sampling.")
]
Parameters: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter of the method, for example --set n_components=120; may be repeated.",
    ),
]


def _place(text: str) -> Path:
    from fillgap.remote import as_path

    return as_path(text)


Device: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Compute in PyTorch on cpu, cuda, cuda:1 or mps; left out, in NumPy.",
        show_default=False,
    ),
]
Out: TypeAlias = Annotated[
    Path, typer.Option("--out", "-o", metavar="OUT", help="Where to write.", parser=_place)
]


Engine: TypeAlias = Annotated[
    Literal["processes", "dask"] | None,
    typer.Option(
        "--engine",
        help="Who reads the shards: processes of this machine, or workers of Dask. "
        "Left out, this process alone, unless another option asks for workers.",
        show_default=False,
    ),
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="How many workers to start; left out, one for each core.",
        show_default=False,
    ),
]
Address: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Of a cluster that runs, for example tcp://10.0.0.1:8786.",
        show_default=False,
    ),
]
SkipBadShards: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--skip-bad-shards",
        help="With workers: leave out shards that cannot be read, list them, and exit with 3.",
    ),
]


def engine_of(
    engine: str | None,
    workers: int | None,
    address: str | None,
    *,
    skip_bad_shards: bool = False,
    device: str | None = None,
) -> Any:
    """Return the executor that the options ask for, or None for this process alone."""
    if (engine, workers, address) == (None, None, None) and not skip_bad_shards:
        return None
    if device is not None and address is None:  # elsewhere only workers can tell
        from fillgap.runtime import choose_device

        choose_device(device)
    from fillgap.distributed.executors import make_executor

    return make_executor(engine or "processes", n_workers=workers, address=address)


def refuse_index(image_index: str | None) -> None:
    """Refuse an index of rows where it cannot be followed."""
    if image_index is not None:
        from fillgap.errors import InputError

        raise InputError(
            "--image-index must be left out where workers read the shards or bad ones are skipped, "
            f"which pairs row i with row i, got {image_index}. Repeat image rows in their shards, "
            "or use one process."
        )
