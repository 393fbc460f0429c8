"""fillgap report: everything on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fillgap.cli.options import (
    AsJson,
    Captions,
    ImageIndex,
    Images,
    MaxImages,
    Overwrite,
    Quiet,
    Seed,
    Texts,
    Unpaired,
)
from fillgap.cli.output import print_json, progress_bar, say

if TYPE_CHECKING:
    from fillgap.aligners import Aligner
    from fillgap.report import Files

__all__ = ["report"]


def report(
    images: Images,
    texts: Texts = None,
    *,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="OUT", help="Where to: OUT.html, OUT.md or OUT.json."),
    ],
    aligner: Annotated[
        Path | None,
        typer.Option("--aligner", metavar="FILE", help="Show this one, which fit wrote."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", metavar="METHOD", help="Show this one, not the best."),
    ] = None,
    image_index: ImageIndex = None,
    captions: Captions = None,
    thumbnails: Annotated[
        Path | None,
        typer.Option(
            "--thumbnails",
            metavar="FILE",
            help="Small pictures for examples: uint8 .npy of shape (n, height, width[, 3]).",
        ),
    ] = None,
    unpaired: Unpaired = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Compare only what sums can fit, on two splits; PCA alone."),
    ] = False,
    max_images: MaxImages = 100_000,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write one page that needs no network: verdict, advice, measures, pictures, comparison.

    What is shown of an aligner are rows that it was not fitted to.
    """
    from dataclasses import replace

    from fillgap._checks import InputError
    from fillgap.cli.data import read_pair
    from fillgap.report import build_report, check_report_target, write_report
    from fillgap.report.plain import to_plain

    inputs = [path for path in (captions, image_index, aligner, thumbnails) if path is not None]
    check_report_target(out, inputs=inputs, overwrite=overwrite)
    chosen = _aligner(aligner, method)
    pair = read_pair(
        images,
        texts,
        image_index=image_index,
        captions=captions,
        unpaired=unpaired,
        # Pictures are in the order of all rows, so that none of these may be left out.
        max_images=None if thumbnails else max_images,
        seed=seed,
    )
    if thumbnails is not None:
        pair = replace(pair, thumbnails=_pictures(thumbnails))
    with progress_bar(quiet=quiet) as progress:
        found = build_report(
            pair,
            aligner=chosen,
            quick=quick,
            files=_files(images, texts, image_index, aligner),
            random_state=seed,
            progress=progress,
        )
    if not found.measured.values:  # NaN or zero rows: nothing could be measured
        raise InputError(found.measured.findings[0].message)
    write_report(found, out, inputs=inputs, overwrite=overwrite)
    if as_json:
        print_json({"written": str(out), **to_plain(found)})
        return
    say(found.measured.verdict.text)
    if found.comparison is not None:
        say(found.comparison.recommendation.sentence)
    say(f"Report: {out}")


def _aligner(file: Path | None, method: str | None) -> Aligner | None:
    """Return the aligner that is asked for, or None."""
    from fillgap._checks import InputError
    from fillgap.aligners import load_aligner, make_aligner

    if file is not None and method is not None:
        raise InputError(
            f"an aligner must be given by --aligner or by --method, got {file} and {method}. "
            "Leave one of them out."
        )
    if method is not None:
        return make_aligner(method)
    return None if file is None else load_aligner(file)


def _pictures(path: Path) -> Any:
    """Return the pictures of a .npy file, not yet read."""
    import numpy as np

    from fillgap._checks import InputError
    from fillgap._files import missing_path

    if not path.is_file():
        raise missing_path(path)
    from fillgap.io._reading import reading

    with reading(str(path), "an .npy file of pictures"):
        pictures = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(pictures, np.ndarray):
        raise InputError(
            f"{path} must be one array of pictures, got an archive. Write it with numpy.save."
        )
    return pictures


def _files(images: str, texts: str | None, image_index: str | None, aligner: Path | None) -> Files:
    """Return the names of the files with their arrays, and what tells them from others."""
    from fillgap.io import open_sides
    from fillgap.report import Files
    from fillgap.rows import fingerprint

    sides = open_sides(images, texts)
    return Files(
        sides[0].name,
        sides[1].name,
        image_index,
        None if aligner is None else str(aligner),
        fingerprint(*sides),
    )
