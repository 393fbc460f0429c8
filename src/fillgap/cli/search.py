"""fillgap search: ask an index by a picture, a text or a vector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fillgap.cli.options import AsJson
from fillgap.cli.output import number, print_json, print_table, say

if TYPE_CHECKING:
    from fillgap.search import Hit, MixedIndex

__all__ = ["IndexPath", "search"]

IndexPath = Annotated[
    Path, typer.Argument(metavar="INDEX", help="The folder that fillgap index wrote.")
]


def search(
    index: IndexPath,
    *,
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="What to find, in words.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="FILE", help="A picture of what to find.")
    ] = None,
    vector: Annotated[
        str | None,
        typer.Option("--vector", metavar="FILE", help="A file with one embedding: the query."),
    ] = None,
    vector_modality: Annotated[
        Literal["image", "text"],
        typer.Option("--vector-modality", help="What the embedding in FILE is of."),
    ] = "image",
    modality: Annotated[
        list[str] | None,
        typer.Option("--modality", help="Find only these: image, text or image+text; repeatable."),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many to find.")] = 10,
    stage: Annotated[
        Literal["raw", "aligned", "calibrated"] | None,
        typer.Option("--stage", help="Rank by this; by the last one that the index has."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say how each score came about.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find images and texts, both because they are relevant.

    A text and a picture together are one query: a document then scores the mean of both. Words and
    pictures are encoded by the encoder that the index names.
    """
    from fillgap.search import open_index

    with open_index(index) as opened:
        sides, unknown = _query(opened, text, image, vector, vector_modality)
        hits = opened.search(
            **sides, k=k, modalities=modality or None, stage=stage, explain=explain
        )
        shown = opened.check_stage(stage)
    if as_json:
        found = [_as_dict(hit) for hit in hits]
        print_json({"stage": shown, "unknown_words": unknown, "hits": found})
        return
    if unknown:
        say(f"Note: the encoder does not know: {', '.join(unknown)}")
    if not hits:
        say("Nothing found: no document of that kind is in the index.")
        return
    _print(hits, shown, explain=explain)


def _query(
    index: MixedIndex, text: str | None, image: Path | None, vector: str | None, side: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the vectors of a query by modality, and the words that the encoder does not know."""
    from fillgap._checks import InputError
    from fillgap._files import missing_path
    from fillgap.serve.queries import open_query_encoder

    if vector is not None:
        if text is not None or image is not None:
            raise InputError(
                "a query must be a vector or words and a picture, got both. Leave one out."
            )
        return {side: _read_vector(vector)}, []
    if text is None and image is None:
        raise InputError("a query must be given, got none. Pass --text, --image or --vector.")
    encoder = open_query_encoder(index.manifest.encoder)
    if encoder is None:
        raise InputError(
            f"{index.path} must name an encoder to be asked by words or pictures, got none. "
            "Build it with --encoder, or pass --vector."
        )
    sides: dict[str, Any] = {}
    if text is not None:
        sides["text"] = encoder.text(text)
    if image is not None:
        if image.is_dir():
            raise InputError(f"{image} must be a picture, got a folder. Name a file within it.")
        if not image.is_file():
            raise missing_path(image)
        sides["image"] = encoder.image(image.read_bytes())
    return sides, [] if text is None else encoder.unknown_words(text)


def _read_vector(path: str) -> Any:
    """Return one embedding: a 1-D array of a .npy file, or a file of one row."""
    import numpy as np

    from fillgap._checks import InputError
    from fillgap.io import load_rows

    if path.endswith(".npy"):
        try:
            array = np.load(path, allow_pickle=False, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            array = None  # load_rows says what is wrong
        if array is not None and array.ndim == 1:
            return np.asarray(array)
    rows = load_rows(path)
    if len(rows) != 1:
        raise InputError(f"{path} must hold one embedding, got {len(rows)}. Write that row alone.")
    return rows[0]


def _as_dict(hit: Hit) -> dict[str, Any]:
    return {
        **vars(hit),
        "explanation": None if hit.explanation is None else vars(hit.explanation),
    }


def _print(hits: list[Hit], stage: str, *, explain: bool) -> None:
    columns = ["rank", stage, "modality", "in modality", "id", "what"]
    more = ["raw", "aligned", "calibrated"] if explain else []
    rows = []
    for hit in hits:
        what = str(hit.payload.get("caption") or hit.payload.get("name") or "")
        row = [
            str(hit.rank), number(hit.score), hit.modality, str(hit.rank_in_modality), hit.id,
            what.replace("\n", " ")[:48],
        ]  # fmt: skip
        rows.append(row + [number(getattr(hit.explanation, name)) for name in more])
    print_table(columns + more, rows)
