"""fillgap recommend: choose an aligner and a calibration together, and write them as one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fillgap.cli.options import (
    AsJson,
    ImageIndex,
    Images,
    MaxImages,
    Overwrite,
    Quiet,
    Seed,
    Texts,
)
from fillgap.cli.output import number, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from fillgap.evaluation import SpaceRecommendation

__all__ = ["recommend"]


def recommend(
    images: Images,
    texts: Texts = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="SPACE", help="Write what is recommended to a file."),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", metavar="METHOD", help="Only these; may be repeated."),
    ] = None,
    image_queries: Annotated[
        str | None,
        typer.Option("--image-queries", metavar="FILE", help="Sample queries that are images."),
    ] = None,
    text_queries: Annotated[
        str | None,
        typer.Option("--text-queries", metavar="FILE", help="Sample queries that are texts."),
    ] = None,
    image_index: ImageIndex = None,
    fit_on: Annotated[
        str | None,
        typer.Option(
            "--fit-on",
            metavar="IMAGES",
            help="Fit on other data than are judged, of the same model: the figures then say so, "
            "and what that costs.",
        ),
    ] = None,
    fit_on_texts: Annotated[
        str | None,
        typer.Option(
            "--fit-on-texts",
            metavar="TEXTS",
            help="The texts of --fit-on; left out where that holds both.",
        ),
    ] = None,
    fit_on_image_index: Annotated[
        str | None,
        typer.Option("--fit-on-image-index", metavar="FILE", help="As --image-index, of --fit-on."),
    ] = None,
    n_splits: Annotated[int, typer.Option("--splits", min=1, help="Held-out splits.")] = 4,
    max_loss: Annotated[
        float,
        typer.Option("--max-loss", help="Largest loss of recall@1 that may be recommended."),
    ] = 0.02,
    folds: Annotated[
        bool,
        typer.Option(
            "--folds", help="Try only calibrations that fold into stored vectors, for databases."
        ),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="The model behind the embeddings, kept."),
    ] = None,
    max_images: MaxImages = 20_000,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Choose an aligner and a calibration of scores together, on held-out rows, or neither.

    Images and texts must be paired: row i with row i, or by --image-index. The figures are those
    of images that had no part in the choice. With --fit-on what is recommended is fitted on other
    data, which need not be paired.
    """
    from fillgap._checks import InputError
    from fillgap._files import check_target
    from fillgap.cli.data import read_pair
    from fillgap.datasets import is_judged
    from fillgap.evaluation import recommend as choose
    from fillgap.evaluation.recommend import calibrations_to_try
    from fillgap.io._names import split_key

    tried = {
        name: calibration
        for name, calibration in calibrations_to_try().items()
        if not folds or calibration is None or calibration.folds
    }
    if out is not None:
        given = (
            images, texts, image_index, image_queries, text_queries, fit_on, fit_on_texts,
            fit_on_image_index,
        )  # fmt: skip
        inputs = [split_key(str(word))[0] for word in given if word is not None]
        check_target(out, inputs=inputs, overwrite=overwrite)
    if is_judged(images):
        raise InputError(
            f"IMAGES must be embeddings of images, got a folder of judged queries, {images}. "
            f"Pass pairs; fillgap bench mixed {images} ranks what there is by its judgements."
        )
    if fit_on is None and (fit_on_texts, fit_on_image_index) != (None, None):
        raise InputError(
            "--fit-on-texts and --fit-on-image-index must be given with --fit-on, got none. "
            "Name the images too, or leave them out."
        )
    pair = read_pair(
        images,
        texts,
        image_index=image_index,
        captions=None,
        unpaired=False,
        max_images=max_images,
        seed=seed,
    )
    other = None
    if fit_on is not None:
        other = read_pair(
            fit_on,
            fit_on_texts,
            image_index=fit_on_image_index,
            captions=None,
            unpaired=False,
            max_images=max_images,
            seed=seed,
        )
    with progress_bar(quiet=quiet) as progress:
        found = choose(
            pair,
            fit_on=other,
            queries=_queries(image_queries, text_queries),
            aligners=methods or None,
            calibrations=tried,
            n_splits=n_splits,
            max_loss=max_loss,
            model=model,
            random_state=seed,
            progress=progress,
        )
    if out is not None:
        _save(found, out, pair if other is None else other, overwrite=overwrite)
    if as_json:
        print_json(found.to_dict() | {"out": None if out is None else str(out)})
        return
    _print(found)
    if out is not None:
        say(f"Written: {out}")


def _queries(images: str | None, texts: str | None) -> Any:
    """Return sample queries, or None where there are none of either kind."""
    if images is None and texts is None:
        return None
    from fillgap.io import load_rows
    from fillgap.scores import Sides

    return Sides(*(None if path is None else load_rows(path) for path in (images, texts)))


def _save(found: SpaceRecommendation, out: Path, pair: Any, *, overwrite: bool) -> None:
    """Write the space, with what it was fitted to and the evidence."""
    from datetime import UTC, datetime

    from fillgap.aligners import Provenance
    from fillgap.rows import fingerprint
    from fillgap.space import save_space

    evidence = {
        "sentence": found.sentence,
        "steps": [step.to_dict() for step in found.steps],
        "fitted_on": found.fitted_on,
    }
    provenance = Provenance(
        data_hash=fingerprint(pair.images, pair.texts),
        created=datetime.now(UTC).date().isoformat(),
        evidence=evidence,
    )
    save_space(found.space, out, provenance=provenance, overwrite=overwrite)


def _print(found: SpaceRecommendation) -> None:
    """Print the advice first, then all that was tried."""
    say(found.sentence)
    say()
    board = found.leaderboard
    elsewhere = "" if found.fitted_on is None else f" of other data ({found.fitted_on})"
    say(
        f"{board.data}: in each split {board.n_fit} images{elsewhere} fitted on and "
        f"{board.n_test} others tested on; chosen by the {board.n_images} images below, the "
        "figures above are those of the others; 95 % intervals."
    )
    titles = {
        "two_sided_ndcg_at_10": "two-sided NDCG@10",
        "mixed_ndcg_at_10": "NDCG@10",
        "recall_at_1": "recall@1",
    }
    names = [name for name in titles if name in board.lines[0].estimates]
    rows = []
    for line in board.lines:
        cells = [
            f"{number(e.value)} [{number(e.low)}, {number(e.high)}]"
            for e in (line.estimates[name] for name in names)
        ]
        exposure = ", ".join(number(side.value, 2) for side in line.exposure.values())
        rows.append([str(line.what), *cells, exposure])
    print_table(["aligner + calibration", *(titles[name] for name in names), "exposure"], rows)
    say("recall@1: among the other modality alone. exposure: 1 is fair; image, text queries.")
    for reason, names in _by_reason(board.failures).items():
        say(f"{', '.join(names)} cannot run on these data: {reason}")


def _by_reason(failures: Mapping[Any, str]) -> dict[str, list[str]]:
    """Return what failed for each reason: often many combinations do for one."""
    found: dict[str, list[str]] = {}
    for what, reason in failures.items():
        found.setdefault(reason, []).append(str(what))
    return found
