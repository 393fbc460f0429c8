"""fillgap index: one index of both modalities from embeddings on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fillgap.cli.options import AsJson, Captions, ImageIndex, Out, Overwrite, Quiet, Texts
from fillgap.cli.output import number, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from fillgap.search.index import MixedIndex
    from fillgap.search.scoring import Hit


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
    from fillgap.errors import InputError

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
        from fillgap.serve.server import build_demo_index

        build_demo_index(out, overwrite=overwrite, **engine)
        built: dict[str, Any] = _opened(out)
    else:
        from fillgap.search.opening import index_files
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
    from fillgap.search.opening import open_index

    with open_index(path) as opened:
        return {
            "count": opened.count(),
            "notes": opened.manifest.notes,
            "fingerprint": opened.space.fingerprint,
        }


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
    from fillgap.search.opening import open_index

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
    from fillgap.errors import InputError
    from fillgap.files import missing_path
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

    from fillgap.errors import InputError
    from fillgap.io.shards import load_rows

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


def serve(
    index: Annotated[
        Path | None,
        typer.Argument(
            metavar="[INDEX]",
            help="The folder that fillgap index wrote; the bundled scenes where it is left out.",
            show_default=False,
        ),
    ] = None,
    *,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; only this machine by default.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port.")] = 8421,
    names: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="A further name it may be asked under."),
    ] = None,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", min=1, help="Largest picture that is taken, in bytes.")
    ] = 10_485_760,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Largest picture that is taken, in pixels.")
    ] = 40_000_000,
) -> None:
    """Serve a page where one types or drops a picture and sees what calibration changes.

    The raw ranking stands beside the aligned or calibrated one, over a map of both modalities. The
    page answers this machine only, and has no password: think before you open it to others.
    """
    import tempfile
    from functools import partial

    from fillgap.errors import require
    from fillgap.search.opening import open_index
    from fillgap.serve.server import build_demo_index
    from fillgap.serve.server import serve as run

    for module in ("fastapi", "uvicorn"):
        require(module, "serve", "the page")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if index is None:
            say("Indexing the bundled scenes of handwritten digits.")
        path = index or build_demo_index(Path(folder) / "demo")
        with open_index(path) as opened:
            shown = f"[{host}]" if ":" in host else host
            told = f"Serving {opened.manifest.name} at http://{shown}:{port} (Ctrl-C ends it)"
            run(
                opened, ready=partial(say, told), host=host, port=port,
                hosts=[host, *(names or [])], max_bytes=max_bytes, max_pixels=max_pixels,
            )  # fmt: skip


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
    from fillgap.export.formats import export_space
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
