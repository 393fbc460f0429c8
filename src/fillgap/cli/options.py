"""Arguments and options that several commands share, with one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option

from fillgap.cli.output import refuse

Images = Annotated[
    str,
    Argument(
        metavar="IMAGES",
        help="Image embeddings: .npy, .npz, .safetensors, .parquet, .arrow, a folder or a glob of "
        "shards, FILE:NAME for one array of several, or a clip-retrieval folder for both sides.",
    ),
]
OptionalImages = Annotated[
    str | None,
    Argument(
        metavar="IMAGES",
        help="Image embeddings, as for fillgap measure; left out, the bundled digit scenes.",
        show_default=False,
    ),
]
Texts = Annotated[
    str | None,
    Argument(
        metavar="[TEXTS]",
        help="Text embeddings; left out where IMAGES holds both.",
        show_default=False,
    ),
]
Method = Annotated[str, Argument(metavar="METHOD", help="See fillgap methods.")]
ImageIndex = Annotated[
    str | None,
    Option(
        metavar="FILE", help="Row of each text's image (from 0), where images have several texts."
    ),
]
MaxImages = Annotated[
    int,
    Option(
        min=2, help="Of more images than this, take a seeded sample with its texts, and say so."
    ),
]
Captions = Annotated[str | None, Option(metavar="FILE", help="The texts themselves, for examples.")]
Unpaired = Annotated[
    bool, Option("--unpaired", help="Row i of IMAGES does not belong to row i of TEXTS.")
]
Labels = Annotated[
    str | None,
    Option(
        metavar="FILE",
        help="The class of each image, from 0: a 1-D .npy file, or FILE:COLUMN of a table.",
    ),
]
Prompts = Annotated[
    str | None,
    Option(metavar="FILE", help="Embeddings of class prompts, any number for each class."),
]
PromptLabels = Annotated[
    str | None, Option(metavar="FILE", help="The class that each prompt names.")
]

Methods = Annotated[
    list[str] | None,
    Option("--method", "-m", metavar="METHOD", help="Only these; may be repeated."),
]
Parameters = Annotated[
    list[str] | None,
    Option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter of the method, for example --set n_components=120; may be repeated.",
    ),
]
Splits = Annotated[int, Option("--splits", min=1, help="Held-out splits.")]
MaxLoss = Annotated[float, Option(help="Largest loss of recall@1 that may be recommended.")]
Seed = Annotated[int, Option(min=0, max=2**32 - 1, help="Seed of all sampling.")]
Model = Annotated[str | None, Option(metavar="NAME", help="The model behind the embeddings, kept.")]
Dtype = Literal["float32", "float16"]


def _path(text: str) -> Path:
    from fillgap.remote import as_path

    return as_path(text)


Out = Annotated[Path, Option("--out", "-o", metavar="OUT", help="Where to write.", parser=_path)]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace an output that exists.")]
DryRun = Annotated[bool, Option("--dry-run", help="Only say what would be read, written and kept.")]
AsJson = Annotated[bool, Option("--json", help="Print one JSON document instead of tables.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Show no progress on stderr.")]

Device = Annotated[
    str | None,
    Option(
        metavar="DEVICE",
        help="Compute in PyTorch on cpu, cuda, cuda:1 or mps; left out, in NumPy.",
        show_default=False,
    ),
]
Engine = Annotated[
    Literal["processes", "dask"] | None,
    Option(
        help="Who reads the shards: processes of this machine, or workers of Dask. "
        "Left out, this process alone, unless another option asks for workers.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    Option(
        metavar="N",
        min=1,
        help="How many workers to start; left out, one for each core.",
        show_default=False,
    ),
]
Address = Annotated[
    str | None,
    Option(
        metavar="ADDRESS",
        help="Of a cluster that runs, for example tcp://10.0.0.1:8786.",
        show_default=False,
    ),
]
SkipBadShards = Annotated[
    bool,
    Option(
        "--skip-bad-shards",
        help="With workers: leave out shards that cannot be read, list them, and exit with 3.",
    ),
]


def engine_of(
    engine: str | None,
    workers: int | None,
    address: str | None,
    skip_bad_shards: bool = False,
    device: str | None = None,
) -> Any:
    """Return the executor that the options ask for, or None for this process alone."""
    if (engine, workers, address) == (None, None, None) and not skip_bad_shards:
        return None
    from fillgap.distributed.executors import make_executor
    from fillgap.runtime import choose_device

    if device is not None and address is None:  # elsewhere only workers can tell
        choose_device(device)
    return make_executor(engine or "processes", n_workers=workers, address=address)


def refuse_index(image_index: str | None) -> None:
    """Refuse an index of rows where it cannot be followed."""
    if image_index is not None:
        refuse(
            "--image-index must be left out where workers read the shards or bad ones are skipped, "
            f"which pairs row i with row i, got {image_index}. Repeat image rows in their shards, "
            "or use one process."
        )
