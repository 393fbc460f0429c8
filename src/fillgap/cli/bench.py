"""fillgap bench: leaderboards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fillgap.cli.options import AsJson, ImageIndex, MaxImages, Overwrite, Quiet, Seed, Texts
from fillgap.cli.output import print_json, progress_bar, say

if TYPE_CHECKING:
    from fillgap.embeddings import EmbeddingPair
    from fillgap.evaluation.leaderboard import Leaderboard

__all__ = ["app"]

app = typer.Typer(help="Leaderboards of methods on data of your own or on the bundled scenes.")


@app.callback()
def _bench() -> None:
    """Keep the name of the benchmark in the command, though there is only one."""


@app.command("mixed")
def mixed(
    images: Annotated[
        str | None,
        typer.Argument(
            metavar="[IMAGES]",
            help="Image embeddings, as elsewhere; or a folder of MixBench or BEIR; left out, "
            "bundled scenes.",
        ),
    ] = None,
    texts: Texts = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="OUT", help="Also write it as .html or .md."),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", metavar="METHOD", help="Only these; may be repeated."),
    ] = None,
    image_index: ImageIndex = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings",
            metavar="FOLDER",
            help="Of a judged folder: what fillgap embed wrote, or query_texts, corpus_images and "
            "the like; left out, FOLDER/embeddings.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", metavar="KIND:MODEL", help="Embed a judged folder with this."),
    ] = None,
    qrels: Annotated[
        str | None,
        typer.Option("--qrels", metavar="SPLIT", help="Which judgements of a judged folder."),
    ] = None,
    thirds: Annotated[
        bool,
        typer.Option(
            "--thirds",
            help="Part images that have two texts as MixBench does: a third of the documents are "
            "images, a third texts, a third both in one.",
        ),
    ] = False,
    n_splits: Annotated[int, typer.Option("--splits", min=1, help="Held-out splits.")] = 4,
    max_test: Annotated[
        int, typer.Option("--max-test", min=10, help="The most images tested on in a split.")
    ] = 500,
    max_images: MaxImages = 20_000,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Rank every aligner with every calibration and fusion of lists in search over both modalities.

    Standard NDCG@10 on held-out rows, images and texts in several ratios, queries of both kinds. In
    a folder with queries, a corpus and judgements, its own protocol: images, texts, and documents
    of both in one list.
    """
    from fillgap._checks import InputError
    from fillgap._files import atomic_file, check_target
    from fillgap.datasets import is_judged
    from fillgap.experiments.bench_judged import bench_judged
    from fillgap.experiments.bench_mixed import bench_mixed
    from fillgap.experiments.bench_mixed_page import to_html, to_markdown
    from fillgap.experiments.bench_published import against_published
    from fillgap.experiments.bench_thirds import in_thirds
    from fillgap.io._names import split_key

    if out is not None and out.suffix not in {".html", ".md"}:
        raise InputError(f"--out must end in .html or .md, got {out.name}. Choose one of them.")
    if out is not None:
        words = (images, texts, image_index, embeddings)
        inputs = [split_key(str(word))[0] for word in words if word is not None]
        check_target(out, inputs=inputs, overwrite=overwrite)
    judged = images is not None and is_judged(images)
    if not judged and (embeddings, encoder, qrels) != (None, None, None):
        raise InputError(
            "--embeddings, --encoder and --qrels must be given with a folder of queries, a corpus "
            f"and judgements, got {images or 'none'}. Leave them out."
        )
    of_pairs = {"TEXTS": texts, "--image-index": image_index, "--thirds": thirds or None}
    given = [name for name, value in of_pairs.items() if value is not None]
    if judged and given:
        raise InputError(
            f"{' and '.join(given)} must be given with pairs, got {images}, which has judgements. "
            "Leave it out."
        )
    with progress_bar(quiet=quiet) as progress:
        common: dict[str, Any] = {
            "aligners": methods or None, "n_splits": n_splits, "random_state": seed,
            "progress": progress,
        }  # fmt: skip
        if judged:
            board = _judged(Path(str(images)), embeddings, encoder, qrels, common)
        else:
            pair = _read(images, texts, image_index, max_images, seed)
            if thirds:
                board = bench_judged(*in_thirds(pair, random_state=seed), **common)
            else:
                board = bench_mixed(pair, max_test=max_test, **common)
    versus = against_published(board, random_state=seed)
    if out is not None:
        page = (to_html if out.suffix == ".html" else to_markdown)(board, versus)
        with atomic_file(out) as temporary:
            temporary.write_text(page, encoding="utf-8")
    if as_json:
        print_json(board.to_dict() | {"published": [one.to_dict() for one in versus]})
    else:
        say(to_markdown(board, versus))


def _judged(
    folder: Path,
    embeddings: Path | None,
    encoder: str | None,
    qrels: str | None,
    common: dict[str, Any],
) -> Leaderboard:
    from tempfile import TemporaryDirectory

    from fillgap._checks import InputError
    from fillgap.datasets import open_dataset, open_judged
    from fillgap.encoders import open_encoder
    from fillgap.experiments.bench_judged import bench_judged
    from fillgap.experiments.embed import embed_dataset
    from fillgap.experiments.judged_embeddings import read_embeddings

    if embeddings is not None and encoder is not None:
        raise InputError(
            "the vectors must be of --embeddings or of --encoder, got both. Leave one out."
        )
    judged = open_judged(folder, split=qrels)
    if encoder is None:
        items = read_embeddings(judged, embeddings or folder / "embeddings")
    else:
        halves, model = open_dataset(f"judged:{folder}"), open_encoder(encoder)
        with TemporaryDirectory() as place:
            embed_dataset(halves, model, place, progress=common["progress"])
            items = read_embeddings(judged, place)
    return bench_judged(judged, *items, **common)


def _read(
    images: str | None, texts: str | None, image_index: str | None, max_images: int, seed: int
) -> EmbeddingPair:
    if images is None:
        from fillgap.datasets import load_digit_scenes

        return load_digit_scenes()
    from fillgap.cli.data import read_pair

    return read_pair(
        images,
        texts,
        image_index=image_index,
        captions=None,
        unpaired=False,
        max_images=max_images,
        seed=seed,
    )
