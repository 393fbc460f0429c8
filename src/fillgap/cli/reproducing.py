"""fillgap reproduce, experiment, sweep-gap and theory: what papers report, run again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Context, Exit, Option, Typer

from fillgap.cli import options as opt
from fillgap.cli.inputs import new_file, read_classified
from fillgap.cli.output import interval, number, print_json, print_table, progress_bar, say, say_all

if TYPE_CHECKING:
    from fillgap.papers.decipher import Decipher
    from fillgap.papers.gap_sweep import GapSweep

Cache = Annotated[
    Path | None,
    Option(
        metavar="FOLDER",
        help="Where computed cells are kept: $FILLGAP_CACHE or the user's cache by default.",
        show_default=False,
    ),
]
Processes = Annotated[
    int | None,
    Option(
        "--workers",
        min=1,
        help="Processes; as many as memory holds by default.",
        show_default=False,
    ),
]
BUNDLED = "No embeddings were named: these are the bundled scenes of handwritten digits."


def fill_the_gap(
    *,
    data: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="Embeddings, or a folder of them: one subfolder or file for each data and model.",
            show_default=False,
        ),
    ] = None,
    datasets: Annotated[
        list[str] | None,
        Option(
            "--dataset",
            metavar="DATASET",
            help="Images with captions to embed, as for fillgap embed; may be repeated.",
            show_default=False,
        ),
    ] = None,
    encoders: Annotated[
        list[str] | None,
        Option(
            "--encoder",
            metavar="MODEL",
            help="What embeds them, as for fillgap embed; may be repeated.",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[
        Path | None, Option(metavar="FILE", help="Also write every cell as CSV.")
    ] = None,
    html: Annotated[
        Path | None, Option(metavar="FILE", help="Also write tables and figures as one page.")
    ] = None,
    results: Annotated[
        Path | None, Option(metavar="FILE", help="Also write all rows as Parquet.")
    ] = None,
    n_judged: Annotated[int, Option("--pairs", min=4, help="Pairs to judge on.")] = 2500,
    n_separate: Annotated[
        int, Option("--transport", min=0, help="Other pairs, to learn from.")
    ] = 5000,
    eta: Annotated[float, Option(help="η of the transport.")] = 1.0,
    alpha: Annotated[float, Option(help="α of the transport.")] = 0.5,
    umap: Annotated[
        bool, Option("--umap", help="Draw UMAP on the page too: pip install 'fillgap[viz]'.")
    ] = False,
    cache: Cache = None,
    workers: Processes = None,
    overwrite: opt.Overwrite = False,
    seed: opt.Seed = 0,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Fill tables 2 to 6 and figure 3 of "Fill the Gap" (arXiv:2505.03703).

    Without --data and --dataset it runs on the bundled scenes. Embeddings of datasets and cells are
    kept as they are computed: a run that was stopped goes on.
    """
    from fillgap.files import atomic_file
    from fillgap.papers import fill_the_gap as tables
    from fillgap.papers.experiment.cells import default_cache
    from fillgap.papers.experiment.runner import run_experiment
    from fillgap.papers.experiment.specification import EncoderModel, PictureData, default_name
    from fillgap.report.panels import umap_points

    for target in (csv, html, results):
        new_file(target, overwrite=overwrite)
    if umap:
        from fillgap.errors import require

        require("umap", "viz", "UMAP")
    found_data = [] if data is None else tables.find_embeddings(data)
    pictures = [PictureData(default_name(spec), spec) for spec in datasets or []]
    sizes = {"n_judged": n_judged, "n_separate": n_separate, "random_state": seed}
    experiment = tables.fill_the_gap(
        (*found_data, *pictures) or None,
        encoders=[EncoderModel(default_name(spec), spec) for spec in encoders or []],
        eta=eta,
        alpha=alpha,
        **sizes,
    )
    cache = cache or default_cache()
    with progress_bar(quiet=quiet) as progress:
        found = run_experiment(experiment, cache=cache, n_workers=workers, progress=progress)
    cells, lines = tables.paper_cells(found), tables.remarks(found)
    if results is not None:
        found.save(results, overwrite=overwrite)
    pages = {}
    if csv is not None:
        pages[csv] = tables.cells_as_csv(found)
    if html is not None:
        pages[html] = tables.render_page(found, {"UMAP": umap_points} if umap else {})
    for target, content in pages.items():
        with atomic_file(target) as temporary:
            temporary.write_text(content, encoding="utf-8")
    if as_json:
        plain = [{**vars(cell), "difference": cell.difference} for cell in cells]
        print_json({"remarks": lines, "notes": found.notes(), "cells": plain})
        return
    for line in lines:
        say(line)
    for table in dict.fromkeys(cell.table for cell in cells):
        say(f"\nTable {table}: {tables.TABLES[table][0]}")
        rows: list[Sequence[str]] = []
        here = [cell for cell in cells if cell.table == table]
        for title in dict.fromkeys(f"{cell.data}: {cell.label}" for cell in here):
            same = [cell for cell in here if f"{cell.data}: {cell.label}" == title]
            rows += _compared(title, same)
        print_table(["", *tables.COLUMNS[table]], rows)
    for reason in dict.fromkeys(f"n/a, {c.representation}: {c.reason}" for c in cells if c.reason):
        say(reason)
    say_all("Note", found.notes())


def _compared(title: str, cells: Iterable[Any]) -> list[list[str]]:
    """Return the rows of a number: what was found, what is printed, and the difference."""
    rows = [[title], ["  found", *(number(cell.found, 2) for cell in cells)]]
    for what in ("printed", "difference"):
        values = [getattr(cell, what) for cell in cells]
        if any(value is not None for value in values):
            rows.append([f"  {what}", *("" if v is None else number(v, 2) for v in values)])
    return rows


app = Typer(
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
    "dimension-removal": "removal",
    "shared-space-projection": "SSP",
    "hyperplane-rotation": "rotation",
}


@app.callback(invoke_without_command=True)
def _help(context: Context) -> None:
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise Exit(2)


def decipher(
    images: opt.OptionalImages = None,
    texts: opt.Texts = None,
    *,
    image_index: opt.ImageIndex = None,
    unpaired: opt.Unpaired = False,
    labels: opt.Labels = None,
    prompts: opt.Prompts = None,
    prompt_labels: opt.PromptLabels = None,
    model: Annotated[
        Literal["B/32", "L/14"], Option(help="Whose printed zero-shot cells to show: a CLIP ViT.")
    ] = "L/14",
    dataset: Annotated[
        Literal["CIFAR10", "CIFAR100", "ImageNet"],
        Option(help="The data of the printed zero-shot cells."),
    ] = "ImageNet",
    held_out: Annotated[
        bool, Option("--held-out", help="Fit to one part of the images, judge on the other.")
    ] = False,
    energy: Annotated[
        float | None,
        Option(
            help="Share of the energy that spans a subspace: 0.99 as in the paper, or where that "
            "shares too little to project on, more.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[float, Option(help="How far below 1 a shared cosine may be.")] = 1e-3,
    seed: opt.Seed = 0,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Fill tables 1 to 3 of "Decipher the Modality Gap" (arXiv:2510.03268).

    Zero-shot classification needs --labels, --prompts and --prompt-labels; retrieval needs pairs.
    For zero-shot alone the prompts can be the TEXTS too, with --unpaired. Every method is fitted
    to the rows that it is judged on, as in the paper, unless --held-out is given.
    """
    from fillgap.papers.decipher import reproduce_decipher

    classified = (labels, prompts, prompt_labels)
    pair, classes = read_classified(images, texts, image_index, classified, unpaired=unpaired)
    with progress_bar(quiet=quiet) as progress:
        how: dict[str, Any] = {"held_out": held_out, "energy": energy, "tolerance": tolerance}
        how |= {"random_state": seed, "progress": progress}
        found = reproduce_decipher(pair, prompts=classes, **how)
    if as_json:
        print_json({**found.to_dict(model, dataset), "bundled": images is None})
    else:
        print_decipher(found, model, dataset, bundled=images is None)


def print_decipher(found: Decipher, model: str, dataset: str, *, bundled: bool) -> None:
    """Print on what the tables rest, then the tables, then what was chosen and what failed."""
    from fillgap.papers.decipher import PAPER_ENERGY

    if bundled:
        say(BUNDLED)
    sizes = f"{found.n_images} images, {found.n_texts} texts, {found.n_features} dimensions"
    say(f"{found.data}: {sizes}")
    if found.n_splits:
        fitted = (
            "Held out: fitted to one part of the images and judged on the other, mean of "
            f"{found.n_splits} splits. The paper judges in-sample."
        )
    else:
        fitted = "In-sample, as in the paper: fitted to the same images and texts that are judged."
    say(fitted + " Prompts are mapped as texts." * bool(found.zero_shot))
    shown = [f"CLIP ViT-{model} on {dataset}"] if found.zero_shot else []
    shown += ["CLIP ViT-L/14 on MSCOCO"] if found.retrieval else []
    whose = " and ".join(shown)
    if bundled:
        say(f"Printed cells are of other data ({whose}): compare what a method changes.")
    else:
        say(
            f"Printed cells are of {whose}: where your model or data are others, compare what a "
            "method changes, not the values."
        )
    tables: dict[str, Any] = {}
    if found.zero_shot:
        title = f"Zero-shot classification; printed: tables 1 and 2, {model}, {dataset}"
        tables[title] = found.zero_shot_cells(model, dataset)
    if found.retrieval:
        tables["Retrieval; printed: table 3, L/14, MSCOCO"] = found.retrieval_cells()
    for title, cells in tables.items():
        say(f"\n{title}")
        rows: list[Sequence[str]] = []
        for measure in next(iter(cells.values())):
            rows += _compared(_MEASURES[measure], [row[measure] for row in cells.values()])
        print_table(["", *(_METHODS.get(name, name) for name in cells)], rows)
    if found.choices:
        share = f"{100 * found.energy:g} % of the energy instead of 99 %"
        subspaces = "" if found.energy == PAPER_ENERGY else f"Subspaces hold {share}. "
        mean = " (means over splits)" if found.n_splits else ""
        chosen = found.choices
        say(
            f"{subspaces}SSP keeps {chosen['n_shared']:g} of {found.n_features} dimensions, "
            f"removal drops as many as it does ({chosen['n_removed']:g}), translation matches its "
            f"angle with λ = {chosen['amount']:.2f}{mean}."
        )
        say(
            "The rule that the paper states for translation leaves its Δθ below that of SSP; in "
            "every printed column it is above."
        )
    if "balanced" in found.retrieval:
        say(
            "balanced moves the centroids of images and texts to zero: their distance is the gap "
            "that is left, Δθ the angle between two vectors of nearly no length."
        )
    for name, why in found.failures.items():
        say(f"{name} cannot run on these data: {why}")
    say_all("Note", found.notes)


app.command("fill-the-gap")(fill_the_gap)
app.command("decipher")(decipher)


def experiment(
    spec: Annotated[str, Argument(metavar="SPEC", help="The TOML file.")],
    *,
    out: opt.Out,
    cache: Cache = None,
    workers: Processes = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Run the experiment of SPEC, and write its rows to one Parquet file.

    A run that was stopped goes on from the cells that were computed.
    """
    from fillgap.papers.experiment.cells import default_cache
    from fillgap.papers.experiment.runner import run_experiment
    from fillgap.papers.experiment.specification import read_experiment

    new_file(out, [spec], overwrite=overwrite)
    described, cache = read_experiment(spec), cache or default_cache()
    with progress_bar(quiet=quiet) as progress:
        found = run_experiment(described, cache=cache, n_workers=workers, progress=progress)
    found.save(out, overwrite=overwrite)
    reasons = dict.fromkeys(
        f"{row.data}, {row.representation}, {row.measure}: {row.reason}"
        for row in found.rows
        if row.reason
    )
    if as_json:
        print_json({"out": str(out), "rows": [vars(row) for row in found.rows]})
        return
    say(f"{described.name}: {len(found.rows)} rows, {found.n_cached} cells known before: {out}")
    for line in reasons:
        say(f"n/a, {line}")


#: Measures of a sweep that are shown with intervals, by their short headings.
_COLUMNS = {
    "mixed_ndcg_at_10": "NDCG@10",
    "recall_at_1": "recall@1",
    "exposure_at_10": "exposure@10",
    "zero_shot_top_1": "zero-shot",
}


def sweep_gap(
    images: opt.OptionalImages = None,
    texts: opt.Texts = None,
    *,
    image_index: opt.ImageIndex = None,
    labels: opt.Labels = None,
    prompts: opt.Prompts = None,
    prompt_labels: opt.PromptLabels = None,
    n_splits: opt.Splits = 5,
    out: Annotated[
        Path | None, Option("--out", "-o", metavar="FILE", help="Also write the figure, as SVG.")
    ] = None,
    overwrite: opt.Overwrite = False,
    seed: opt.Seed = 0,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Open, close and over-correct the gap, and measure what each amount gains and costs.

    Images move to x - λδ and texts to y + λδ, with δ the difference of the means: λ below 0 opens
    the gap, ½ makes the means equal, more exchanges them. δ is taken from one part of the images,
    everything is measured on the rest. Zero-shot accuracy needs --labels, --prompts and
    --prompt-labels.
    """
    from fillgap.papers.gap_sweep import check_figure, write_sweep_figure
    from fillgap.papers.gap_sweep import sweep_gap as sweep

    if out is not None:
        check_figure(out, overwrite=overwrite)
    classified = (labels, prompts, prompt_labels)
    pair, classes = read_classified(images, texts, image_index, classified)
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
        say(BUNDLED)
    say(
        f"{found.data}: {found.n_images} images and {found.n_texts} texts; in each of "
        f"{found.n_splits} splits the gap of {found.n_fit} images, measured on {found.n_test} "
        "others; 95 % intervals."
    )
    shown = {name: label for name, label in _COLUMNS.items() if name in found.measures}
    rows = []
    for point in found.points:
        cells = [interval(point.mean(name), 2) for name in shown]
        angle = number(point.mean("gap_angle").value, 1)
        plain = [number(point.mean(name).value, 2) for name in ("pair_cosine", "hubness")]
        rows.append([f"{point.amount:g}", angle, *cells, *plain])
    print_table(["λ", "Δθ", *shown.values(), "pair cosine", "hubness"], rows)
    say("λ: 0 is the gap as it is, ½ makes the means equal. Δθ in degrees, negative beyond that.")
    say("NDCG@10: of a query's own items of the other modality, in the mixed pool.")
    say("recall@1: among the other modality alone. exposure@10: 1 is fair, 0 is blind.")
    say("hubness: skewness of how often an item is among the ten nearest of others.")


def theory(
    *,
    out: Annotated[
        Path | None, Option("--out", "-o", metavar="FILE", help="Also write the figures, as HTML.")
    ] = None,
    quick: Annotated[
        bool, Option("--quick", help="Smaller batches and fewer steps; the same checks.")
    ] = False,
    seed: opt.Seed = 0,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Check the theorems of "Decipher the Modality Gap" by simulation and sampling.

    Exit code 3 if a check does not hold.
    """
    from fillgap.papers.theory.checks.page import run_theory_demo, write_theory_page

    new_file(out, overwrite=overwrite)
    with progress_bar(quiet=quiet) as progress:
        demo = run_theory_demo(quick=quick, random_state=seed, progress=progress)
        if out is not None:
            write_theory_page(demo, out)
    if as_json:
        checks = [
            {"section": section.title, **vars(check)}
            for section in demo.sections
            for check in section.checks
        ]
        print_json({"holds": demo.holds, "quick": quick, "seed": seed, "checks": checks})
    else:
        for section in demo.sections:
            rows = []
            for check in section.checks:
                limit = f"{check.relation} {number(check.expected, 4)} ± {check.tolerance:.2g}"
                said = "holds" if check.holds else "DOES NOT HOLD"
                rows.append([check.name, number(check.value, 4), limit, said])
            print_table([section.title, "found", "expected", ""], rows)
        failed = sum(not check.holds for check in demo.checks)
        say(f"{len(demo.checks)} checks, {failed} of them do not hold.")
        if out is not None:
            say(f"Figures: {out}")
    if not demo.holds:
        raise Exit(3)
