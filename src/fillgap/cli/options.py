"""Arguments and options that several commands share, with one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "AsJson",
    "Captions",
    "Device",
    "ImageIndex",
    "Images",
    "MaxImages",
    "Out",
    "Overwrite",
    "Parameters",
    "Quiet",
    "Seed",
    "Texts",
    "Unpaired",
]

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
    from fillgap._remote import as_path

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
