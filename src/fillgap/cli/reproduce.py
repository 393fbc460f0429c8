"""fillgap reproduce: the tables of papers on the gap, for any embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fillgap.cli.classes import Labels, OptionalImages, PromptLabels, Prompts, read_classified
from fillgap.cli.fill_the_gap import fill_the_gap
from fillgap.cli.options import AsJson, ImageIndex, Quiet, Seed, Texts, Unpaired
from fillgap.cli.output import number, print_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from fillgap.experiments.decipher import Cell, Decipher

__all__ = ["app", "decipher"]

app = typer.Typer(
    help="Fill the tables of published papers from any embeddings, beside the printed cells.",
    rich_markup_mode=None,
)

_MEASURES = {
    "gap_angle": "Δθ, degrees",
    "centroid_distance": "centroid distance",
    "top_1": "zero-shot R@1, %",
    "top_5": "zero-shot R@5, %",
    **{f"image_to_text_recall_at_{k}": f"image to text R@{k}, %" for k in (1, 5, 10)},
    **{f"text_to_image_recall_at_{k}": f"text to image R@{k}, %" for k in (1, 5, 10)},
}
_METHODS = {
    "raw": "raw",
    "translation": "translation",
    "dimension-removal": "removal",
    "shared-space-projection": "SSP",
    "hyperplane-rotation": "rotation",
    "balanced": "balanced",
}


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


app.command("fill-the-gap")(fill_the_gap)


@app.command("decipher")
def decipher(
    images: OptionalImages = None,
    texts: Texts = None,
    *,
    image_index: ImageIndex = None,
    unpaired: Unpaired = False,
    labels: Labels = None,
    prompts: Prompts = None,
    prompt_labels: PromptLabels = None,
    model: Annotated[
        Literal["B/32", "L/14"],
        typer.Option("--model", help="Whose printed zero-shot cells to show: a CLIP ViT."),
    ] = "L/14",
    dataset: Annotated[
        Literal["CIFAR10", "CIFAR100", "ImageNet"],
        typer.Option("--dataset", help="The data of the printed zero-shot cells."),
    ] = "ImageNet",
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Fit to one part of the images, judge on the other.")
    ] = False,
    energy: Annotated[
        float | None,
        typer.Option(
            "--energy",
            help="Share of the energy that spans a subspace: 0.99 as in the paper, or where that "
            "shares too little to project on, more.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="How far below 1 a shared cosine may be.")
    ] = 1e-3,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fill tables 1 to 3 of "Decipher the Modality Gap" (arXiv:2510.03268).

    Zero-shot classification needs --labels, --prompts and --prompt-labels; retrieval needs pairs.
    For zero-shot alone the prompts can be the TEXTS too, with --unpaired. Every method is fitted
    to the rows that it is judged on, as in the paper, unless --held-out is given.
    """
    from fillgap.experiments.decipher import reproduce_decipher

    pair, classes = read_classified(
        images,
        texts,
        image_index=image_index,
        labels=labels,
        prompts=prompts,
        prompt_labels=prompt_labels,
        unpaired=unpaired,
    )
    with progress_bar(quiet=quiet) as progress:
        found = reproduce_decipher(
            pair,
            prompts=classes,
            held_out=held_out,
            energy=energy,
            tolerance=tolerance,
            random_state=seed,
            progress=progress,
        )
    if as_json:
        print_json({**found.to_dict(model, dataset), "bundled": images is None})
    else:
        print_decipher(found, model, dataset, bundled=images is None)


def print_decipher(found: Decipher, model: str, dataset: str, *, bundled: bool) -> None:
    """Print on what the tables rest, then the tables, then what was chosen and what failed."""
    if bundled:
        say("No embeddings were named: these are the bundled scenes of handwritten digits.")
    sizes = f"{found.n_images} images, {found.n_texts} texts, {found.n_features} dimensions"
    say(f"{found.data}: {sizes}")
    say(_how_fitted(found))
    say(_whose_cells(found, model, dataset, bundled=bundled))
    if found.zero_shot:
        title = f"Zero-shot classification; printed: tables 1 and 2, {model}, {dataset}"
        _print_cells(title, found.zero_shot_cells(model, dataset))
    if found.retrieval:
        _print_cells("Retrieval; printed: table 3, L/14, MSCOCO", found.retrieval_cells())
    for line in _remarks(found):
        say(line)


def _how_fitted(found: Decipher) -> str:
    prompts = " Prompts are mapped as texts." if found.zero_shot else ""
    if found.n_splits:
        return (
            "Held out: fitted to one part of the images and judged on the other, mean of "
            f"{found.n_splits} splits. The paper judges in-sample.{prompts}"
        )
    fitted = "In-sample, as in the paper: fitted to the same images and texts that are judged."
    return f"{fitted}{prompts}"


def _whose_cells(found: Decipher, model: str, dataset: str, *, bundled: bool) -> str:
    shown = [f"CLIP ViT-{model} on {dataset}"] if found.zero_shot else []
    shown += ["CLIP ViT-L/14 on MSCOCO"] if found.retrieval else []
    whose = " and ".join(shown)
    if bundled:
        return f"Printed cells are of other data ({whose}): compare what a method changes."
    return (
        f"Printed cells are of {whose}: where your model or data are others, compare what a "
        "method changes, not the values."
    )


def _print_cells(title: str, cells: dict[str, dict[str, Cell]]) -> None:
    """Print a table: for each measure what was found, what is printed, and the difference."""
    say()
    say(title)
    rows: list[Sequence[str]] = []
    for measure in next(iter(cells.values())):
        of_measure = [row[measure] for row in cells.values()]
        rows.append([_MEASURES[measure]])
        rows.append(["  found", *(number(cell.found, 2) for cell in of_measure)])
        if any(cell.printed is not None for cell in of_measure):
            rows.append(["  printed", *(_or_blank(cell.printed) for cell in of_measure)])
            rows.append(["  difference", *(_or_blank(cell.difference) for cell in of_measure)])
    print_table(["", *(_METHODS[name] for name in cells)], rows)


def _or_blank(value: float | None) -> str:
    return "" if value is None else number(value, 2)


def _subspaces(found: Decipher) -> str:
    """Say so where another share of the energy than the paper's spans the subspaces."""
    from fillgap.experiments.decipher_results import PAPER_ENERGY

    if found.energy == PAPER_ENERGY:
        return ""
    return f"Subspaces hold {100 * found.energy:g} % of the energy instead of 99 %. "


def _remarks(found: Decipher) -> list[str]:
    """Return what the rules chose, what the angles do not say, what failed, what fits remarked."""
    lines = []
    if found.choices:
        mean = " (means over splits)" if found.n_splits else ""
        n_shared, n_removed, amount = (
            found.choices[name] for name in ("n_shared", "n_removed", "amount")
        )
        lines.append(
            f"{_subspaces(found)}SSP keeps {n_shared:g} of {found.n_features} dimensions, removal "
            f"drops as many as it does ({n_removed:g}), translation matches its angle with "
            f"λ = {amount:.2f}{mean}."
        )
        lines.append(
            "The rule that the paper states for translation leaves its Δθ below that of SSP; in "
            "every printed column it is above."
        )
    if "balanced" in found.retrieval:
        lines.append(
            "balanced moves the centroids of images and texts to zero: their distance is the gap "
            "that is left, Δθ the angle between two vectors of nearly no length."
        )
    lines += [f"{name} cannot run on these data: {why}" for name, why in found.failures.items()]
    return lines + [f"Note: {note}" for note in found.notes]
