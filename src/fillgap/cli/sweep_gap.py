"""fillgap sweep-gap: whether a smaller gap serves, measured from opened to over-corrected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fillgap.cli.classes import Labels, OptionalImages, PromptLabels, Prompts, read_classified
from fillgap.cli.options import AsJson, ImageIndex, Overwrite, Quiet, Seed, Texts
from fillgap.cli.output import number, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from fillgap.evaluation import Estimate
    from fillgap.experiments.gap_sweep import GapSweep

__all__ = ["sweep_gap"]

#: Measures that the table shows with intervals, by their short headings.
_COLUMNS = {
    "mixed_ndcg_at_10": "NDCG@10",
    "recall_at_1": "recall@1",
    "exposure_at_10": "exposure@10",
    "zero_shot_top_1": "zero-shot",
}


def sweep_gap(
    images: OptionalImages = None,
    texts: Texts = None,
    *,
    image_index: ImageIndex = None,
    labels: Labels = None,
    prompts: Prompts = None,
    prompt_labels: PromptLabels = None,
    n_splits: Annotated[int, typer.Option("--splits", min=1, help="Held-out splits.")] = 5,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Also write the figure, as SVG."),
    ] = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Open, close and over-correct the gap, and measure what each amount gains and costs.

    Images move to x - λδ and texts to y + λδ, with δ the difference of the means: λ below 0 opens
    the gap, ½ makes the means equal, more exchanges them. δ is taken from one part of the images,
    everything is measured on the rest. Zero-shot accuracy needs --labels, --prompts and
    --prompt-labels.
    """
    from fillgap.experiments.gap_sweep import sweep_gap as sweep
    from fillgap.experiments.gap_sweep_figure import check_figure, write_sweep_figure

    if out is not None:
        check_figure(out, overwrite=overwrite)
    pair, classes = read_classified(
        images,
        texts,
        image_index=image_index,
        labels=labels,
        prompts=prompts,
        prompt_labels=prompt_labels,
    )
    with progress_bar(quiet=quiet) as progress:
        found = sweep(
            pair, prompts=classes, n_splits=n_splits, random_state=seed, progress=progress
        )
    if out is not None:
        write_sweep_figure(found, out)
    if as_json:
        print_json({**found.to_dict(), "bundled": images is None})
        return
    print_sweep(found, bundled=images is None)
    if out is not None:
        say(f"Figure: {out}")


def print_sweep(found: GapSweep, *, bundled: bool) -> None:
    """Print the conclusion first, then the table that it rests on."""
    say(found.conclusion)
    say()
    if bundled:
        say("No embeddings were named: these are the bundled scenes of handwritten digits.")
    say(
        f"{found.data}: {found.n_images} images and {found.n_texts} texts; in each of "
        f"{found.n_splits} splits the gap of {found.n_fit} images, measured on {found.n_test} "
        "others; 95 % intervals."
    )
    shown = {name: label for name, label in _COLUMNS.items() if name in found.measures}
    rows = []
    for point in found.points:
        cells = [_with_interval(point.mean(name)) for name in shown]
        angle = number(point.mean("gap_angle").value, 1)
        plain = [number(point.mean(name).value, 2) for name in ("pair_cosine", "hubness")]
        rows.append([f"{point.amount:g}", angle, *cells, *plain])
    print_table(["λ", "Δθ", *shown.values(), "pair cosine", "hubness"], rows)
    say("λ: 0 is the gap as it is, ½ makes the means equal. Δθ in degrees, negative beyond that.")
    say("NDCG@10: of a query's own items of the other modality, in the mixed pool.")
    say("recall@1: among the other modality alone. exposure@10: 1 is fair, 0 is blind.")
    say("hubness: skewness of how often an item is among the ten nearest of others.")


def _with_interval(item: Estimate) -> str:
    return f"{number(item.value, 2)} [{number(item.low, 2)}, {number(item.high, 2)}]"
