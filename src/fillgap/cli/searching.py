"""fillgap index, search, serve and export: what is done with a space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from fillgap.cli import options as opt
from fillgap.cli.output import number, print_json, print_table, progress_bar, refuse, say, say_all

if TYPE_CHECKING:
    from fillgap.search.index import MixedIndex


def index(
    images: Annotated[
        str | None,
        Argument(
            metavar="FOLDER",
            help="Embeddings of both sides, or of the images where TEXTS are given.",
            show_default=False,
        ),
    ] = None,
    texts: opt.Texts = None,
    *,
    image_index: opt.ImageIndex = None,
    captions: opt.Captions = None,
    out: opt.Out,
    space: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="A fitted aligner, with a calibration or without. Left out, one is fitted here.",
        ),
    ] = None,
    encoder: Annotated[
        str | None, Option(metavar="NAME", help="Encoder of queries, kept by name.")
    ] = None,
    model: Annotated[
        str | None, Option(metavar="NAME", help="The model of the embeddings.")
    ] = None,
    backend: Annotated[
        Literal["exact", "qdrant-edge", "lancedb", "pgvector"],
        Option(help="The engine that keeps and searches the vectors."),
    ] = "exact",
    server: Annotated[
        str | None,
        Option(
            metavar="CONNINFO",
            help="Of PostgreSQL, for pgvector; left out, PGHOST and the like say where. "
            "A password in it is not kept: set PGPASSWORD to search.",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[
        bool, Option("--demo", help="Index the bundled scenes; FOLDER is left out.")
    ] = False,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Build an index that finds images and texts with comparable scores.

    Rows are read in blocks and never held. The index appears when it is complete; an old one that
    is replaced stays in use until then.
    """
    if demo == (images is not None):
        refuse(f"FOLDER or --demo must be given, got {'both' if demo else 'neither'}. Choose one.")
    if demo and (image_index, captions) != (None, None):
        refuse(
            "--image-index and --captions must be given with FOLDER, got --demo. Leave them out."
        )
    if server is not None and backend != "pgvector":
        refuse(f"--server must be given with --backend pgvector, got {backend}. Leave it out.")
    from fillgap.search.opening import index_files, open_index
    from fillgap.serve.server import build_demo_index
    from fillgap.space import load_space

    engine: dict[str, Any] = {"backend": backend, "overwrite": overwrite}
    engine |= {} if server is None else {"server": server}
    if demo:
        build_demo_index(out, **engine)
        with open_index(out) as opened:
            built: dict[str, Any] = {
                "count": opened.count(),
                "notes": opened.manifest.notes,
                "fingerprint": opened.space.fingerprint,
            }
    else:
        engine |= {"image_index": image_index, "captions": captions, "encoder": encoder}
        engine |= {"space": None if space is None else load_space(space), "model": model}
        with progress_bar(quiet=quiet) as progress:
            written = index_files(str(images), texts, out, progress=progress, **engine)
        built = dict(written)
    if as_json:
        print_json({"index": str(out), **built})
        return
    counts = ", ".join(f"{n} {modality}" for modality, n in built["count"].items())
    say(f"Indexed {counts}: {out}")
    say_all("Note", built["notes"])


def search(
    index: Annotated[Path, Argument(metavar="INDEX", help="The folder that fillgap index wrote.")],
    *,
    text: Annotated[str | None, Option(metavar="TEXT", help="What to find, in words.")] = None,
    image: Annotated[Path | None, Option(metavar="FILE", help="A picture of what to find.")] = None,
    vector: Annotated[
        str | None, Option(metavar="FILE", help="A file with one embedding: the query.")
    ] = None,
    vector_modality: Annotated[
        Literal["image", "text"], Option(help="What the embedding in FILE is of.")
    ] = "image",
    modality: Annotated[
        list[str] | None,
        Option("--modality", help="Find only these: image, text or image+text; repeatable."),
    ] = None,
    k: Annotated[int, Option("-k", "--k", min=1, help="How many to find.")] = 10,
    stage: Annotated[
        Literal["raw", "aligned", "calibrated"] | None,
        Option(help="Rank by this; by the last one that the index has."),
    ] = None,
    explain: Annotated[bool, Option("--explain", help="Say how each score came about.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Find images and texts, both because they are relevant.

    A text and a picture together are one query: a document then scores the mean of both. Words and
    pictures are encoded by the encoder that the index names.
    """
    from fillgap.search.opening import open_index

    with open_index(index) as opened:
        sides, unknown = _query(opened, text, image, vector, vector_modality)
        how: dict[str, Any] = {"modalities": modality or None, "stage": stage, "explain": explain}
        hits = opened.search(**sides, k=k, **how)
        shown = opened.check_stage(stage)
    if as_json:
        found = [
            vars(hit) | {"explanation": None if hit.explanation is None else vars(hit.explanation)}
            for hit in hits
        ]
        print_json({"stage": shown, "unknown_words": unknown, "hits": found})
        return
    if unknown:
        say(f"Note: the encoder does not know: {', '.join(unknown)}")
    if not hits:
        say("Nothing found: no document of that kind is in the index.")
        return
    more = ["raw", "aligned", "calibrated"] if explain else []
    rows = []
    for hit in hits:
        words = str(hit.payload.get("caption") or hit.payload.get("name") or "")
        row = [str(hit.rank), number(hit.score), hit.modality, str(hit.rank_in_modality), hit.id]
        explained = [number(getattr(hit.explanation, name)) for name in more]
        rows.append([*row, words.replace("\n", " ")[:48], *explained])
    print_table(["rank", shown, "modality", "in modality", "id", "what", *more], rows)


def _query(
    index: MixedIndex, text: str | None, image: Path | None, vector: str | None, side: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the vectors of a query by modality, and the words that the encoder does not know."""
    from fillgap.files import missing_path
    from fillgap.serve.queries import open_query_encoder

    if vector is not None:
        if text is not None or image is not None:
            refuse("a query must be a vector or words and a picture, got both. Leave one out.")
        return {side: _read_vector(vector)}, []
    if text is None and image is None:
        refuse("a query must be given, got none. Pass --text, --image or --vector.")
    encoder = open_query_encoder(index.manifest.encoder)
    if encoder is None:
        refuse(
            f"{index.path} must name an encoder to be asked by words or pictures, got none. "
            "Build it with --encoder, or pass --vector."
        )
    sides: dict[str, Any] = {}
    if text is not None:
        sides["text"] = encoder.text(text)
    if image is not None:
        if image.is_dir():
            refuse(f"{image} must be a picture, got a folder. Name a file within it.")
        if not image.is_file():
            raise missing_path(image)
        sides["image"] = encoder.image(image.read_bytes())
    return sides, [] if text is None else encoder.unknown_words(text)


def _read_vector(path: str) -> Any:
    """Return one embedding: a 1-D array of a .npy file, or a file of one row."""
    import numpy as np

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
        refuse(f"{path} must hold one embedding, got {len(rows)}. Write that row alone.")
    return rows[0]


def serve(
    index: Annotated[
        Path | None,
        Argument(
            metavar="[INDEX]",
            help="The folder that fillgap index wrote; the bundled scenes where it is left out.",
            show_default=False,
        ),
    ] = None,
    *,
    host: Annotated[
        str, Option(help="Address to listen on; only this machine by default.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(min=1, max=65535, help="Port.")] = 8421,
    names: Annotated[
        list[str] | None,
        Option("--allow-host", metavar="NAME", help="A further name it may be asked under."),
    ] = None,
    max_bytes: Annotated[
        int, Option(min=1, help="Largest picture that is taken, in bytes.")
    ] = 10_485_760,
    max_pixels: Annotated[
        int, Option(min=1, help="Largest picture that is taken, in pixels.")
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
            limits = {"max_bytes": max_bytes, "max_pixels": max_pixels}
            hosts = [host, *(names or [])]
            run(opened, ready=partial(say, told), host=host, port=port, hosts=hosts, **limits)


def export(
    space: Annotated[Path, Argument(metavar="SPACE", help="The file of a space or of an aligner.")],
    format: Annotated[  # noqa: A002  (named in the help)
        str,
        Argument(
            metavar="FORMAT",
            help="onnx, sentence-transformers, or a recipe: qdrant, opensearch, vespa, milvus, "
            "pgvector.",
        ),
    ],
    *,
    out: opt.Out,
    name: Annotated[str, Option(help="Collection, index or table of a recipe.")] = "items",
    dtype: Annotated[opt.Dtype, Option(help="Input of the ONNX graphs.")] = "float32",
    model: Annotated[
        Path | None,
        Option(
            metavar="FOLDER", help="The sentence-transformers model that the space is appended to."
        ),
    ] = None,
    queries: Annotated[
        Literal["image", "text"] | None,
        Option(help="Let that model give calibrated vectors, for queries of this modality."),
    ] = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write SPACE as what another program reads, into the folder OUT.

    An aligner's file is a space without calibration.
    """
    from fillgap.export.formats import export_space
    from fillgap.space import load_space

    options: dict[str, Any] = {"name": name, "dtype": dtype, "model": model, "queries": queries}
    written = export_space(load_space(space), format, out, overwrite=overwrite, **options)
    if as_json:
        print_json({"format": format, "written": [str(path) for path in written]})
        return
    for path in written:
        say(str(path))
