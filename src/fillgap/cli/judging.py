"""fillgap compare, recommend, grid-search and bench: methods judged on held-out rows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, Typer

from fillgap.cli import options as opt
from fillgap.cli.inputs import (
    PairFrom,
    new_file,
    parse_grid,
    parse_parameters,
    read_pair,
)
from fillgap.cli.output import (
    end_job,
    interval,
    number,
    print_json,
    print_table,
    progress_bar,
    refuse,
    say,
    say_all,
    say_plan,
)

if TYPE_CHECKING:
    from fillgap.distributed.job_plan import JobPlan
    from fillgap.evaluation.compare import Comparison
    from fillgap.evaluation.recommend import SpaceRecommendation

TITLES = {
    "two_sided_ndcg_at_10": "two-sided NDCG@10",
    "mixed_ndcg_at_10": "NDCG@10",
    "recall_at_1": "recall@1",
}


def print_comparison(found: Comparison) -> None:
    """Print the advice first, then the table that it rests on."""
    say(found.recommendation.sentence)
    say()
    say(
        f"{found.data}: {found.n_images} images and {found.n_texts} texts; "
        f"in each of {found.n_splits} splits {found.n_fit} images fitted on and "
        f"{found.n_test} others tested on; 95 % intervals."
    )
    measures = list(TITLES)[not found.two_sided :]
    rows = []
    objective = found.recommendation.objective
    by_score = sorted(
        found.results.items(), key=lambda item: -item[1].estimates[objective]["mean"].value
    )
    for name, result in by_score:
        means = [result.estimates[measure]["mean"] for measure in measures]
        # Without the zeros before their points intervals fit in a line.
        cells = [interval(mean).replace("0.", ".") for mean in means]
        exposure = result.estimates["exposure_at_10"]
        sides = (exposure["image_to_text"].value, exposure["text_to_image"].value)
        cells.append(", ".join(number(side, 2) for side in sides))
        rows.append([name, *cells, number(result.mixing, 2), number(result.conservation, 2)])
    header = [*(TITLES[name] for name in measures), "exposure", "mixing", "conservation"]
    print_table(["method", *header], rows)
    say("NDCG@10: of a query's own items of the other modality, in the mixed pool.")
    say("recall@1: among the other modality alone. exposure: 1 is fair; image, text queries.")
    if not found.two_sided:
        say("Two-sided search: not available, it needs two texts for each image.")
    for name, reason in found.failures.items():
        say(f"{name} cannot run on these data: {reason}")
    for name, result in found.results.items():
        say_all(name, result.notes)


def compare(
    images: opt.Images,
    texts: opt.Texts = None,
    *,
    methods: opt.Methods = None,
    image_index: opt.ImageIndex = None,
    n_splits: opt.Splits = 5,
    max_loss: opt.MaxLoss = 0.02,
    max_images: opt.MaxImages = 100_000,
    device: opt.Device = None,
    engine: opt.Engine = None,
    workers: opt.Workers = None,
    address: opt.Address = None,
    skip_bad_shards: opt.SkipBadShards = False,
    dry_run: opt.DryRun = False,
    seed: opt.Seed = 0,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> Any:
    """Fit every method on one part of the images, judge it on the rest, and recommend one or none.

    Images and texts must be paired: row i with row i, or by --image-index. Workers share the
    methods and splits; each reads the embeddings itself.
    """
    from fillgap.distributed.fit_job import JobReport, find_bad_shards
    from fillgap.evaluation.compare import compare as compare_pair

    executor = opt.engine_of(engine, workers, address, skip_bad_shards, device)
    if skip_bad_shards:
        opt.refuse_index(image_index)
    source = PairFrom(images, texts, image_index, max_images, seed, device)
    if dry_run:
        with executor or nullcontext():
            reading, fits = _plan(source, methods, n_splits, executor, skip_bad_shards)
        say_plan(reading, fits=fits, as_json=as_json)
        return None
    report = JobReport()
    with executor or nullcontext(), progress_bar(quiet=quiet) as progress:
        if skip_bad_shards:
            skipped, bad = find_bad_shards(images, texts, executor=executor, progress=progress)
            source, report = replace(source, bad=bad), JobReport(skipped=skipped)
        # With workers nothing is fitted here.
        here = source if executor is None else replace(source, device=None)
        found = compare_pair(
            here(),
            methods or None,
            n_splits=n_splits,
            max_loss=max_loss,
            executor=executor,
            source=None if executor is None else source,
            random_state=seed,
            progress=progress,
        )
    if as_json:
        job = {} if executor is None else {"job": {"skipped": report.skipped}}
        print_json(found.to_dict() | job)
    else:
        print_comparison(found)
    end_job(report, said=as_json)
    return found


def _plan(
    source: PairFrom, methods: list[str] | None, n_splits: int, executor: Any, skip: bool
) -> tuple[JobPlan, Mapping[str, int]]:
    """Return what would be read and fitted, as far as headers tell."""
    from fillgap.distributed.job_plan import plan_reading
    from fillgap.evaluation.compare import plan_compare
    from fillgap.io.pairs import open_pair

    reading, n_images = plan_reading(source.images, source.texts, skip_bad_shards=skip)
    one_for_one = not source.texts or source.image_index or reading.n_rows == 2 * n_images
    # Unless a column says which image each text is of.
    if not one_for_one and not open_pair(source.images, source.texts)[2]["paired"]:
        refuse(
            "images and texts must be paired to be judged on held-out rows, got unpaired sets. "
            "Pass --image-index, or measure without it."
        )
    most = n_images if source.max_images is None else source.max_images
    fits = plan_compare(min(n_images, most), methods or None, n_splits=n_splits)
    if executor is not None:  # each worker reads what this process reads
        judged = n_splits * (1 + fits["n_methods"])
        reading = replace(reading, passes=1 + min(executor.n_workers, judged))
    return reading, fits


def recommend(
    images: opt.Images,
    texts: opt.Texts = None,
    *,
    out: Annotated[
        Path | None,
        Option("--out", "-o", metavar="SPACE", help="Write what is recommended to a file."),
    ] = None,
    methods: opt.Methods = None,
    image_queries: Annotated[
        str | None, Option(metavar="FILE", help="Sample queries that are images.")
    ] = None,
    text_queries: Annotated[
        str | None, Option(metavar="FILE", help="Sample queries that are texts.")
    ] = None,
    image_index: opt.ImageIndex = None,
    fit_on: Annotated[
        str | None,
        Option(
            metavar="IMAGES",
            help="Fit on other data than are judged, of the same model: the figures then say so, "
            "and what that costs.",
        ),
    ] = None,
    fit_on_texts: Annotated[
        str | None,
        Option(metavar="TEXTS", help="The texts of --fit-on; left out where that holds both."),
    ] = None,
    fit_on_image_index: Annotated[
        str | None, Option(metavar="FILE", help="As --image-index, of --fit-on.")
    ] = None,
    n_splits: opt.Splits = 4,
    max_loss: opt.MaxLoss = 0.02,
    folds: Annotated[
        bool,
        Option(
            "--folds", help="Try only calibrations that fold into stored vectors, for databases."
        ),
    ] = False,
    model: opt.Model = None,
    max_images: opt.MaxImages = 20_000,
    seed: opt.Seed = 0,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Choose an aligner and a calibration of scores together, on held-out rows, or neither.

    Images and texts must be paired: row i with row i, or by --image-index. The figures are those
    of images that had no part in the choice. With --fit-on what is recommended is fitted on other
    data, which need not be paired.
    """
    from datetime import UTC, datetime

    from fillgap.aligners.methods import Provenance
    from fillgap.calibration.base import Sides
    from fillgap.datasets.judged import is_judged
    from fillgap.evaluation.recommend import calibrations_to_try
    from fillgap.evaluation.recommend import recommend as choose
    from fillgap.io.shards import load_rows
    from fillgap.pair import fingerprint
    from fillgap.space import save_space

    fitted_files = (fit_on, fit_on_texts, fit_on_image_index)
    words = (images, texts, image_index, image_queries, text_queries, *fitted_files)
    new_file(out, words, overwrite=overwrite)
    if is_judged(images):
        refuse(
            f"IMAGES must be embeddings of images, got a folder of judged queries, {images}. "
            f"Pass pairs; fillgap bench mixed {images} ranks what there is by its judgements."
        )
    if fit_on is None and (fit_on_texts, fit_on_image_index) != (None, None):
        refuse(
            "--fit-on-texts and --fit-on-image-index must be given with --fit-on, got none. "
            "Name the images too, or leave them out."
        )
    sample: Any = {"max_images": max_images, "seed": seed}
    pair, other, queries = read_pair(images, texts, image_index=image_index, **sample), None, None
    if fit_on is not None:
        other = read_pair(fit_on, fit_on_texts, image_index=fit_on_image_index, **sample)
    if image_queries is not None or text_queries is not None:
        sides = (image_queries, text_queries)
        queries = Sides(*(None if path is None else load_rows(path) for path in sides))
    with progress_bar(quiet=quiet) as progress:
        found = choose(
            pair,
            fit_on=other,
            queries=queries,
            aligners=methods or None,
            calibrations={
                name: calibration
                for name, calibration in calibrations_to_try().items()
                if not folds or calibration is None or calibration.folds
            },
            n_splits=n_splits,
            max_loss=max_loss,
            model=model,
            random_state=seed,
            progress=progress,
        )
    if out is not None:
        fitted = pair if other is None else other
        steps = [step.to_dict() for step in found.steps]
        provenance = Provenance(
            data_hash=fingerprint(fitted.images, fitted.texts),
            created=datetime.now(UTC).date().isoformat(),
            evidence={"sentence": found.sentence, "steps": steps, "fitted_on": found.fitted_on},
        )
        save_space(found.space, out, provenance=provenance, overwrite=overwrite)
    if as_json:
        print_json(found.to_dict() | {"out": None if out is None else str(out)})
        return
    _print(found)
    if out is not None:
        say(f"Written: {out}")


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
    measures = [name for name in TITLES if name in board.lines[0].estimates]
    rows = []
    for line in board.lines:
        cells = [interval(line.estimates[name]) for name in measures]
        exposure = ", ".join(number(side.value, 2) for side in line.exposure.values())
        rows.append([str(line.what), *cells, exposure])
    print_table(["aligner + calibration", *(TITLES[name] for name in measures), "exposure"], rows)
    say("recall@1: among the other modality alone. exposure: 1 is fair; image, text queries.")
    by_reason: dict[str, list[str]] = {}  # often many combinations fail for one
    for what, reason in board.failures.items():
        by_reason.setdefault(reason, []).append(str(what))
    for reason, names in by_reason.items():
        say(f"{', '.join(names)} cannot run on these data: {reason}")


def grid_search(
    method: opt.Method,
    images: opt.Images,
    texts: opt.Texts = None,
    *,
    grid: Annotated[
        list[str],
        Option(
            "--grid",
            metavar="NAME=VALUE,VALUE",
            help="Values to try of a parameter, for example --grid eta=10,100; may be repeated.",
        ),
    ],
    parameters: opt.Parameters = None,
    measure: Annotated[
        str, Option(metavar="NAME", help="What decides, larger is better.")
    ] = "mixed_recall_at_10",
    image_index: opt.ImageIndex = None,
    n_splits: opt.Splits = 5,
    max_images: opt.MaxImages = 100_000,
    seed: opt.Seed = 0,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Fit METHOD with every combination of parameters on one part of the images, judge on the rest.

    Images and texts must be paired: row i with row i, or by --image-index.
    """
    from fillgap.aligners.methods import make_aligner
    from fillgap.evaluation.grid_search import grid_search as search

    fixed, values = parse_parameters(parameters), parse_grid(grid)
    aligner = make_aligner(method, **fixed)
    pair = read_pair(images, texts, image_index=image_index, max_images=max_images, seed=seed)
    with progress_bar(quiet=quiet) as progress:
        judging: dict[str, Any] = {"measure": measure, "n_splits": n_splits}
        judging |= {"random_state": seed, "progress": progress}
        found = search(pair, aligner, values, **judging)
    best = found.best  # refuses where no combination can be fitted
    if as_json:
        print_json({**found.to_dict(), "best": best.parameters})
        return
    names = list(best.parameters)
    directions = {"mean": "mean", "image_to_text": "images", "text_to_image": "texts"}
    say(f"{found.method}: {found.measure} of held-out queries, best first.")
    rows = [
        [str(point.parameters[name]) for name in names]
        + [number(point.values.get(direction)) for direction in directions]
        for point in found.points
    ]
    print_table([*names, *directions.values()], rows)
    say("images, texts: by the modality of the query. The best of many is optimistic: compare it")
    say("with other methods on rows that are not among these.")
    for point in found.points:
        failure = [f"cannot be fitted: {point.failure}"] if point.failure else []
        say_all(point.label, failure or point.notes)
    chosen = {**fixed, **best.parameters}
    settings = [f"--set {shlex.quote(f'{name}={value}')}" for name, value in chosen.items()]
    sides = shlex.join([images] if texts is None else [images, texts])
    say(f"To fit the best one: fillgap fit {method} {sides} {' '.join(settings)} --out ALIGNER")


app = Typer(help="Leaderboards of methods on data of your own or on the bundled scenes.")


@app.callback()
def _bench() -> None:
    """Keep the name of the benchmark in the command, though there is only one."""


@app.command("mixed")
def mixed(
    images: Annotated[
        str | None,
        Argument(
            metavar="[IMAGES]",
            help="Image embeddings, as elsewhere; or a folder of MixBench or BEIR; left out, "
            "bundled scenes.",
        ),
    ] = None,
    texts: opt.Texts = None,
    *,
    out: Annotated[
        Path | None, Option("--out", "-o", metavar="OUT", help="Also write it as .html or .md.")
    ] = None,
    methods: opt.Methods = None,
    image_index: opt.ImageIndex = None,
    embeddings: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="Of a judged folder: what fillgap embed wrote, or query_texts, corpus_images and "
            "the like; left out, FOLDER/embeddings.",
        ),
    ] = None,
    encoder: Annotated[
        str | None, Option(metavar="KIND:MODEL", help="Embed a judged folder with this.")
    ] = None,
    qrels: Annotated[
        str | None, Option(metavar="SPLIT", help="Which judgements of a judged folder.")
    ] = None,
    thirds: Annotated[
        bool,
        Option(
            "--thirds",
            help="Part images that have two texts as MixBench does: a third of the documents are "
            "images, a third texts, a third both in one.",
        ),
    ] = False,
    n_splits: opt.Splits = 4,
    max_test: Annotated[int, Option(min=10, help="The most images tested on in a split.")] = 500,
    max_images: opt.MaxImages = 20_000,
    seed: opt.Seed = 0,
    overwrite: opt.Overwrite = False,
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Rank every aligner with every calibration and fusion of lists in search over both modalities.

    Standard NDCG@10 on held-out rows, images and texts in several ratios, queries of both kinds. In
    a folder with queries, a corpus and judgements, its own protocol: images, texts, and documents
    of both in one list.
    """
    from fillgap.bench.judged import bench_judged
    from fillgap.bench.mixed import bench_mixed, in_thirds
    from fillgap.bench.pages import against_published, to_html, to_markdown
    from fillgap.datasets.judged import is_judged
    from fillgap.datasets.scenes import load_digit_scenes
    from fillgap.files import atomic_file

    if out is not None and out.suffix not in {".html", ".md"}:
        refuse(f"--out must end in .html or .md, got {out.name}. Choose one of them.")
    new_file(out, (images, texts, image_index, embeddings), overwrite=overwrite)
    judged = images is not None and is_judged(images)
    if not judged and (embeddings, encoder, qrels) != (None, None, None):
        refuse(
            "--embeddings, --encoder and --qrels must be given with a folder of queries, a corpus "
            f"and judgements, got {images or 'none'}. Leave them out."
        )
    of_pairs = {"TEXTS": texts, "--image-index": image_index, "--thirds": thirds or None}
    given = [name for name, value in of_pairs.items() if value is not None]
    if judged and given:
        refuse(
            f"{' and '.join(given)} must be given with pairs, got {images}, which has judgements. "
            "Leave it out."
        )
    sample: dict[str, Any] = {"max_images": max_images, "seed": seed}
    common: dict[str, Any] = {"aligners": methods or None, "n_splits": n_splits}
    with progress_bar(quiet=quiet) as progress:
        common |= {"random_state": seed, "progress": progress}
        if judged:
            items = _read_judged(Path(str(images)), embeddings, encoder, qrels, progress)
            board = bench_judged(*items, **common)
        else:
            pair = (
                load_digit_scenes()
                if images is None
                else read_pair(images, texts, image_index=image_index, **sample)
            )
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


def _read_judged(
    folder: Path, embeddings: Path | None, encoder: str | None, qrels: str | None, progress: Any
) -> tuple[Any, ...]:
    """Return the judgements of a folder, with the vectors of its queries and documents."""
    from tempfile import TemporaryDirectory

    from fillgap.bench.folders import read_embeddings
    from fillgap.datasets.catalogue import open_dataset
    from fillgap.datasets.judged import open_judged
    from fillgap.embed import embed_dataset
    from fillgap.encoders.base import open_encoder

    if embeddings is not None and encoder is not None:
        refuse("the vectors must be of --embeddings or of --encoder, got both. Leave one out.")
    judged = open_judged(folder, split=qrels)
    if encoder is None:
        return judged, *read_embeddings(judged, embeddings or folder / "embeddings")
    halves, model = open_dataset(f"judged:{folder}"), open_encoder(encoder)
    with TemporaryDirectory() as place:
        embed_dataset(halves, model, place, progress=progress)
        return judged, *read_embeddings(judged, place)
