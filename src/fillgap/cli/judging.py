"""A comparison as the terminal shows it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fillgap.cli.options import (
    Address,
    AsJson,
    Device,
    Engine,
    ImageIndex,
    Images,
    MaxImages,
    Overwrite,
    Parameters,
    Quiet,
    Seed,
    SkipBadShards,
    Texts,
    Workers,
    engine_of,
    refuse_index,
)
from fillgap.cli.output import (
    DryRun,
    end,
    number,
    print_json,
    print_table,
    progress_bar,
    say,
    say_comparison_plan,
    say_job,
)

if TYPE_CHECKING:
    from fillgap.cli.inputs import PairFrom
    from fillgap.distributed.fit_job import JobReport
    from fillgap.evaluation.compare import Comparison, MethodResult
    from fillgap.evaluation.grid_search import GridSearch
    from fillgap.evaluation.leaderboard import Leaderboard
    from fillgap.evaluation.recommend import SpaceRecommendation
    from fillgap.pair import EmbeddingPair
    from fillgap.runtime import Progress


def print_comparison(found: Comparison) -> None:
    """Print the advice first, then the table that it rests on."""
    say(found.recommendation.sentence)
    say()
    say(
        f"{found.data}: {found.n_images} images and {found.n_texts} texts; "
        f"in each of {found.n_splits} splits {found.n_fit} images fitted on and "
        f"{found.n_test} others tested on; 95 % intervals."
    )
    two_sided = ["two-sided NDCG@10"] if found.two_sided else []
    header = ["NDCG@10", "recall@1", "exposure", "mixing", "conservation"]
    ranked = sorted(found.results.items(), key=lambda item: -_score(found, item[1]))
    print_table(
        ["method", *two_sided, *header],
        [[name, *_row(result, two_sided=found.two_sided)] for name, result in ranked],
    )
    say("NDCG@10: of a query's own items of the other modality, in the mixed pool.")
    say("recall@1: among the other modality alone. exposure: 1 is fair; image, text queries.")
    if not found.two_sided:
        say("Two-sided search: not available, it needs two texts for each image.")
    for name, reason in found.failures.items():
        say(f"{name} cannot run on these data: {reason}")
    for name, result in found.results.items():
        for note in result.notes:
            say(f"{name}: {note}")


def _score(found: Comparison, result: MethodResult) -> float:
    return result.estimates[found.recommendation.objective]["mean"].value


def _row(result: MethodResult, *, two_sided: bool) -> list[str]:
    names = ["two_sided_ndcg_at_10"] * two_sided + ["mixed_ndcg_at_10", "recall_at_1"]
    cells = []
    for name in names:
        item = result.estimates[name]["mean"]
        cells.append(f"{_short(item.value)} [{_short(item.low)}, {_short(item.high)}]")
    exposure = result.estimates["exposure_at_10"]
    sides = (exposure["image_to_text"].value, exposure["text_to_image"].value)
    cells.append(", ".join(number(side, 2) for side in sides))
    return [*cells, number(result.mixing, 2), number(result.conservation, 2)]


def _short(share: float) -> str:
    """Return a share without the zero before its point, so that intervals fit in a line."""
    return number(share).replace("0.", ".", 1)


def compare(
    images: Images,
    texts: Texts = None,
    *,
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", metavar="METHOD", help="Only these; may be repeated."),
    ] = None,
    image_index: ImageIndex = None,
    n_splits: Annotated[int, typer.Option("--splits", min=1, help="Held-out splits.")] = 5,
    max_loss: Annotated[
        float,
        typer.Option("--max-loss", help="Largest loss of recall@1 that may be recommended."),
    ] = 0.02,
    max_images: MaxImages = 100_000,
    device: Device = None,
    engine: Engine = None,
    workers: Workers = None,
    address: Address = None,
    skip_bad_shards: SkipBadShards = False,
    dry_run: DryRun = False,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit every method on one part of the images, judge it on the rest, and recommend one or none.

    Images and texts must be paired: row i with row i, or by --image-index. Workers share the
    methods and splits; each reads the embeddings itself.
    """
    from fillgap.cli.inputs import PairFrom

    executor = engine_of(engine, workers, address, skip_bad_shards=skip_bad_shards, device=device)
    if skip_bad_shards:
        refuse_index(image_index)
    source = PairFrom(images, texts, image_index, max_images, seed, device)
    if dry_run:
        with executor or nullcontext():
            _say_plan(
                source, methods, n_splits, executor,
                skip_bad_shards=skip_bad_shards, as_json=as_json,
            )  # fmt: skip
        return
    with executor or nullcontext(), progress_bar(quiet=quiet) as progress:
        found, report = _judge(
            source, methods, executor, progress,
            skip_bad_shards=skip_bad_shards, n_splits=n_splits, max_loss=max_loss,
        )  # fmt: skip
    if as_json:
        job = {} if executor is None else {"job": {"skipped": report.skipped}}
        print_json(found.to_dict() | job)
    else:
        print_comparison(found)
        say_job(report)
    end(report)


def judge(images: str, texts: str, *, quiet: bool) -> Comparison:
    """Compare all methods on two files, with a bar on stderr."""
    from fillgap.cli.inputs import PairFrom

    with progress_bar(quiet=quiet) as progress:
        return _judge(PairFrom(images, texts, None, 100_000, 0), None, None, progress)[0]


def _judge(
    source: PairFrom,
    methods: list[str] | None,
    executor: Any,
    progress: Progress,
    *,
    skip_bad_shards: bool = False,
    **settings: Any,
) -> tuple[Comparison, JobReport]:
    """Compare, and say which shards were left out."""
    from fillgap.distributed.fit_job import JobReport, find_bad_shards
    from fillgap.evaluation.compare import compare as compare_pair

    if executor is None:
        found = compare_pair(
            source(), methods or None, random_state=source.seed, progress=progress, **settings
        )
        return found, JobReport()
    skipped: dict[str, str] = {}
    if skip_bad_shards:
        bad = find_bad_shards(source.images, source.texts, executor=executor, progress=progress)
        source, skipped = replace(source, bad=bad.names), bad.skipped
    found = compare_pair(
        replace(source, device=None)(),  # here nothing is fitted
        methods or None,
        executor=executor,
        source=source,
        random_state=source.seed,
        progress=progress,
        **settings,
    )
    return found, JobReport(skipped=skipped)


def _say_plan(
    source: PairFrom,
    methods: list[str] | None,
    n_splits: int,
    executor: Any,
    *,
    skip_bad_shards: bool,
    as_json: bool,
) -> None:
    """Say what would be done, as far as headers tell."""
    from fillgap.distributed.job_plan import plan_reading
    from fillgap.evaluation.compare import plan_compare

    reading, n_images = plan_reading(source.images, source.texts, skip_bad_shards=skip_bad_shards)
    if source.texts and not source.image_index and reading.n_rows != 2 * n_images:
        _check_paired(source.images, source.texts)
    most = n_images if source.max_images is None else source.max_images
    plan = plan_compare(min(n_images, most), methods or None, n_splits=n_splits)
    if executor is not None:  # each worker reads what this process reads
        judged = n_splits * (1 + plan["n_methods"])
        reading = replace(reading, passes=1 + min(executor.n_workers, judged))
    say_comparison_plan(plan, reading, as_json=as_json)


def _check_paired(images: str, texts: str) -> None:
    """Refuse sides of different sizes, unless a column says which image each text is of."""
    from fillgap.errors import InputError
    from fillgap.io.pairs import open_pair

    if not open_pair(images, texts)[2]["paired"]:
        raise InputError(
            "images and texts must be paired to be judged on held-out rows, got unpaired sets. "
            "Pass --image-index, or measure without it."
        )


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
    from fillgap.cli.inputs import read_pair
    from fillgap.datasets.judged import is_judged
    from fillgap.errors import InputError
    from fillgap.evaluation.recommend import calibrations_to_try
    from fillgap.evaluation.recommend import recommend as choose
    from fillgap.files import check_target
    from fillgap.io.names import split_key

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
    from fillgap.calibration.base import Sides
    from fillgap.io.shards import load_rows

    return Sides(*(None if path is None else load_rows(path) for path in (images, texts)))


def _save(found: SpaceRecommendation, out: Path, pair: Any, *, overwrite: bool) -> None:
    """Write the space, with what it was fitted to and the evidence."""
    from datetime import UTC, datetime

    from fillgap.aligners.methods import Provenance
    from fillgap.pair import fingerprint
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


def grid_search(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="See fillgap methods.")],
    images: Images,
    texts: Texts = None,
    *,
    grid: Annotated[
        list[str],
        typer.Option(
            "--grid",
            metavar="NAME=VALUE,VALUE",
            help="Values to try of a parameter, for example --grid eta=10,100; may be repeated.",
        ),
    ],
    parameters: Parameters = None,
    measure: Annotated[
        str, typer.Option("--measure", metavar="NAME", help="What decides, larger is better.")
    ] = "mixed_recall_at_10",
    image_index: ImageIndex = None,
    n_splits: Annotated[int, typer.Option("--splits", min=1, help="Held-out splits.")] = 5,
    max_images: MaxImages = 100_000,
    seed: Seed = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit METHOD with every combination of parameters on one part of the images, judge on the rest.

    Images and texts must be paired: row i with row i, or by --image-index.
    """
    from fillgap.aligners.methods import make_aligner
    from fillgap.cli.inputs import parse_grid, parse_parameters, read_pair
    from fillgap.evaluation.grid_search import grid_search as search

    aligner, values = make_aligner(method, **parse_parameters(parameters)), parse_grid(grid)
    pair = read_pair(
        images,
        texts,
        image_index=image_index,
        captions=None,
        unpaired=False,
        max_images=max_images,
        seed=seed,
    )
    with progress_bar(quiet=quiet) as progress:
        found = search(
            pair,
            aligner,
            values,
            measure=measure,
            n_splits=n_splits,
            random_state=seed,
            progress=progress,
        )
    best = found.best  # refuses where no combination can be fitted
    if as_json:
        print_json({**found.to_dict(), "best": best.parameters})
    else:
        chosen = {**parse_parameters(parameters), **best.parameters}
        settings = [f"--set {shlex.quote(f'{name}={value}')}" for name, value in chosen.items()]
        sides = shlex.join([images] if texts is None else [images, texts])
        print_search(found, f"fillgap fit {method} {sides} {' '.join(settings)} --out ALIGNER")


def print_search(found: GridSearch, command: str) -> None:
    """Print every combination, best first, and how to fit the best one."""
    names = list(found.best.parameters)
    directions = {"mean": "mean", "image_to_text": "images", "text_to_image": "texts"}
    say(f"{found.method}: {found.measure} of held-out queries, best first.")
    print_table(
        [*names, *directions.values()],
        [
            [str(point.parameters[name]) for name in names]
            + [number(point.values.get(direction)) for direction in directions]
            for point in found.points
        ],
    )
    say("images, texts: by the modality of the query. The best of many is optimistic: compare it")
    say("with other methods on rows that are not among these.")
    for point in found.points:
        said = [f"cannot be fitted: {point.failure}"] if point.failure else point.notes
        for remark in said:
            say(f"{point.label}: {remark}")
    say(f"To fit the best one: {command}")


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
    from fillgap.bench.judged import bench_judged
    from fillgap.bench.mixed import bench_mixed, in_thirds
    from fillgap.bench.pages import against_published, to_html, to_markdown
    from fillgap.datasets.judged import is_judged
    from fillgap.errors import InputError
    from fillgap.files import atomic_file, check_target
    from fillgap.io.names import split_key

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

    from fillgap.bench.folders import read_embeddings
    from fillgap.bench.judged import bench_judged
    from fillgap.datasets.catalogue import open_dataset
    from fillgap.datasets.judged import open_judged
    from fillgap.embed import embed_dataset
    from fillgap.encoders.base import open_encoder
    from fillgap.errors import InputError

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
        from fillgap.datasets.scenes import load_digit_scenes

        return load_digit_scenes()
    from fillgap.cli.inputs import read_pair

    return read_pair(
        images,
        texts,
        image_index=image_index,
        captions=None,
        unpaired=False,
        max_images=max_images,
        seed=seed,
    )
