"""fillgap export: write a space as what another program reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fillgap.cli.options import AsJson, Out, Overwrite
from fillgap.cli.output import print_json, say

__all__ = ["export"]


def export(
    space: Annotated[
        Path, typer.Argument(metavar="SPACE", help="The file of a space or of an aligner.")
    ],
    format: Annotated[  # noqa: A002  (named in the help)
        str,
        typer.Argument(
            metavar="FORMAT",
            help="onnx, sentence-transformers, or a recipe: qdrant, opensearch, vespa, milvus, "
            "pgvector.",
        ),
    ],
    *,
    out: Out,
    name: Annotated[
        str, typer.Option("--name", help="Collection, index or table of a recipe.")
    ] = "items",
    dtype: Annotated[
        Literal["float32", "float16"], typer.Option("--dtype", help="Input of the ONNX graphs.")
    ] = "float32",
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="FOLDER",
            help="The sentence-transformers model that the space is appended to.",
        ),
    ] = None,
    queries: Annotated[
        Literal["image", "text"] | None,
        typer.Option(
            "--queries",
            help="Let that model give calibrated vectors, for queries of this modality.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write SPACE as what another program reads, into the folder OUT.

    An aligner's file is a space without calibration.
    """
    from fillgap.export import export_space
    from fillgap.space import load_space

    written = export_space(
        load_space(space),
        format,
        out,
        name=name,
        dtype=dtype,
        model=model,
        queries=queries,
        overwrite=overwrite,
    )
    if as_json:
        print_json({"format": format, "written": [str(path) for path in written]})
        return
    for path in written:
        say(str(path))
