"""fillgap index: one index of both modalities from embeddings on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fillgap.cli.options import AsJson, Captions, ImageIndex, Out, Overwrite, Quiet, Texts
from fillgap.cli.output import print_json, progress_bar, say

__all__ = ["index"]


def index(
    images: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER",
            help="Embeddings of both sides, or of the images where TEXTS are given.",
            show_default=False,
        ),
    ] = None,
    texts: Texts = None,
    *,
    image_index: ImageIndex = None,
    captions: Captions = None,
    out: Out,
    space: Annotated[
        Path | None,
        typer.Option(
            "--space",
            metavar="FILE",
            help="A fitted aligner, with a calibration or without. Left out, one is fitted here.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", metavar="NAME", help="Encoder of queries, kept by name."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The model of the embeddings.")
    ] = None,
    backend: Annotated[
        Literal["exact", "qdrant-edge", "lancedb", "pgvector"],
        typer.Option("--backend", help="The engine that keeps and searches the vectors."),
    ] = "exact",
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="CONNINFO",
            help="Of PostgreSQL, for pgvector; left out, PGHOST and the like say where. "
            "A password in it is not kept: set PGPASSWORD to search.",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Index the bundled scenes; FOLDER is left out.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build an index that finds images and texts with comparable scores.

    Rows are read in blocks and never held. The index appears when it is complete; an old one that
    is replaced stays in use until then.
    """
    from fillgap._checks import InputError

    if demo == (images is not None):
        raise InputError(
            f"FOLDER or --demo must be given, got {'both' if demo else 'neither'}. Choose one."
        )
    if demo and (image_index, captions) != (None, None):
        raise InputError(
            "--image-index and --captions must be given with FOLDER, got --demo. Leave them out."
        )
    if server is not None and backend != "pgvector":
        raise InputError(
            f"--server must be given with --backend pgvector, got {backend}. Leave it out."
        )
    engine = {"backend": backend, **({} if server is None else {"server": server})}
    if demo:
        from fillgap.serve import build_demo_index

        build_demo_index(out, overwrite=overwrite, **engine)
        built: dict[str, Any] = _opened(out)
    else:
        from fillgap.search import index_files
        from fillgap.space import load_space

        loaded = None if space is None else load_space(space)
        with progress_bar(quiet=quiet) as progress:
            built = dict(
                index_files(
                    str(images), texts, out, space=loaded, image_index=image_index,
                    captions=captions, model=model, encoder=encoder, overwrite=overwrite,
                    progress=progress, **engine,
                )
            )  # fmt: skip
    if as_json:
        print_json({"index": str(out), **built})
        return
    counts = ", ".join(f"{n} {modality}" for modality, n in built["count"].items())
    say(f"Indexed {counts}: {out}")
    for note in built["notes"]:
        say(f"Note: {note}")


def _opened(path: Path) -> dict[str, Any]:
    """Return what an index says about itself."""
    from fillgap.search import open_index

    with open_index(path) as opened:
        return {
            "count": opened.count(),
            "notes": opened.manifest.notes,
            "fingerprint": opened.space.fingerprint,
        }
