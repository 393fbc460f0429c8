"""Experiments run: pictures through encoders, then every cell that is not kept already."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

from fillgap import __version__
from fillgap.datasets.catalogue import open_dataset
from fillgap.datasets.records import Dataset, draw_pairs
from fillgap.embed import describe_dataset, embed_dataset, is_whole
from fillgap.encoders.base import Encoder, open_encoder
from fillgap.encoders.torch_models import find_weights
from fillgap.errors import InputError, InputTypeError, check_integer
from fillgap.io.embedded import Manifest, read_manifest
from fillgap.papers.experiment.cells import Cell, CellCache, cell_key, compute_cells
from fillgap.papers.experiment.rows import ExperimentResults, ResultRow, divide, draw_rows
from fillgap.papers.experiment.specification import (
    EmbeddingData,
    EncoderModel,
    Experiment,
    PictureData,
    Representation,
    embedded_name,
)
from fillgap.runtime import Progress, silent

#: Options that say how a model runs, and nothing about what it gives.
_RUNNING: Final = ("device", "batch_size")
#: What a process takes before it has read anything: libraries and their buffers.
_PROCESS_BYTES: Final = 300 << 20
#: Methods that hold dense matrices of rows × rows.
_DENSE: Final = {"laplace-transport": 6}


#: What is known of data that stands in their rows.
_SHOWN: Final = ("encoder", "fingerprint", "n_judged", "n_separate", "n_features")


@dataclass(frozen=True)
class _Known:
    """Data of an experiment as embeddings, and what is known of them before any cell."""

    data: EmbeddingData
    source: str  # the path, or the dataset that was embedded
    encoder: str = ""  # NAME@REVISION where it is known
    note: str = ""  # what was left out on the way
    problem: str | None = None  # why there are no rows
    fingerprint: str = ""
    n_judged: int = 0
    n_separate: int = 0
    n_features: int = 0


#: What is computed at once: one representation of some data, mapped once for all measures (with
#: the keys of their cells).
_Task: TypeAlias = tuple[_Known, Representation, dict[str, str]]


def run_experiment(
    experiment: Experiment,
    *,
    cache: str | Path | None = None,
    n_workers: int | None = None,
    progress: Progress | None = None,
) -> ExperimentResults:
    """Compute every cell that is not in the cache, and keep each as soon as it is there.

    Pictures are embedded first, in this process.

    Parameters
    ----------
    experiment : Experiment
        What to compute.
    cache : str, path or None
        Folder of cells and of embeddings of pictures; a run that was stopped goes on from what is
        there. None keeps nothing.
    n_workers : int or None
        Processes, with one BLAS thread each; None: the number of processors, or fewer where
        memory holds fewer. 1 computes in this process.
    progress : callable, optional
        Called as progress(done, in all, what), of pictures and then of cells.

    Returns
    -------
    ExperimentResults
        What cannot be computed is a row with the reason.

    Raises
    ------
    InputError
        If none of the data can be read, or the cache cannot be written.
    """
    if n_workers is not None:
        check_integer(n_workers, "n_workers", low=1)
    report = progress or silent
    with ExitStack() as stack:
        place = cache if cache is not None else stack.enter_context(TemporaryDirectory())
        embedded = _embed_pictures(experiment, Path(place) / "embeddings", report)
        known = [_examine(experiment, item) for item in embedded]
        return _compute_missing(experiment, known, CellCache(cache), n_workers, report)


def _embed_pictures(experiment: Experiment, folder: Path, progress: Progress) -> list[_Known]:
    """Return all data of an experiment, after every encoder has embedded all of its pictures.

    The pairs to judge on and those to fit on are drawn first, so that nothing else is embedded. A
    model is loaded once, and not at all where its embeddings are in the folder already, under the
    hash of all that they depend on. What cannot be embedded has the reason instead.
    """
    pictures = [item for item in experiment.data if isinstance(item, PictureData)]
    drawn = {item: _draw(experiment, item) for item in pictures}
    embedded: dict[tuple[str, str], _Known] = {}
    for model in experiment.encoders:
        source = _Source(model)
        for item, parts in drawn.items():
            name = embedded_name(item, model)
            try:
                if isinstance(parts, str):
                    raise InputError(parts)
                made = [_embed(experiment, part, source, folder, progress) for part in parts]
            except (InputError, InputTypeError) as error:
                nothing = EmbeddingData(name, "")
                embedded[item.name, model.name] = _Known(nothing, item.dataset, problem=str(error))
                continue
            left_out = sum(len(manifest.skipped) for _, manifest in made)
            note = f"{left_out} images could not be read and were left out" if left_out else ""
            separate = str(made[1][0]) if made[1:] else None
            data = EmbeddingData(name, str(made[0][0]), separate=separate)
            encoder = _encoder_of(made[0][1])
            embedded[item.name, model.name] = _Known(data, item.dataset, encoder, note)
    in_order = []
    for given in experiment.data:
        if isinstance(given, PictureData):
            in_order += [embedded[given.name, model.name] for model in experiment.encoders]
        else:
            manifest = None
            with suppress(InputError):  # whoever loads it will say so
                manifest = read_manifest(Path(given.path))
            in_order.append(_Known(given, given.path, _encoder_of(manifest)))
    return in_order


def _encoder_of(manifest: Manifest | None) -> str:
    return f"{manifest.model['name']}@{manifest.model['revision']}" if manifest else ""


class _Source:
    """A model whose weights are hashed once, and loaded once if at all."""

    def __init__(self, model: EncoderModel) -> None:
        self.model, self.options = model.model, dict(model.options)

    @cached_property
    def encoder(self) -> Encoder:
        return open_encoder(self.model, **self.options)

    @cached_property
    def revisions(self) -> list[str]:
        """What tells the weights from others, without loading them."""
        kind, _, place = self.model.partition(":")
        named = [(place, self.options.get("revision"))] if place else []
        if "language_model" in self.options:
            named.append((self.options["language_model"], None))
        return [find_weights(where, revision).revision for where, revision in named] or [kind]


def _draw(experiment: Experiment, pictures: PictureData) -> list[Dataset] | str:
    """Return the pairs to judge on and, where any are asked for, those to fit on; or why not."""
    try:
        options: dict[str, Any] = dict(pictures.options)
        dataset = open_dataset(pictures.dataset, **options)
        n_pairs, n_transport = divide(len(dataset), experiment.n_judged, experiment.n_separate)
        parts = draw_pairs(
            dataset,
            n_pairs=max(1, n_pairs),
            n_transport=n_transport,
            random_state=experiment.random_state,
        )
    except (InputError, InputTypeError) as error:
        return str(error)
    return list(parts[: 1 + bool(n_transport)])


def _embed(
    experiment: Experiment, part: Dataset, source: _Source, folder: Path, progress: Progress
) -> tuple[Path, Manifest]:
    """Return the folder of a part and its manifest, after it was embedded where it is not whole."""
    files = []
    # Pictures inside of shards are not looked at: that would be to read them all.
    rows = range(len(part)) if isinstance(part[0].image, Path) else ()
    for path in (Path(str(part[row].image)) for row in rows):
        with suppress(OSError):
            stat = path.stat()
            files.append((path.name, stat.st_size, stat.st_mtime_ns))
    depends = {
        "dataset": describe_dataset(part),
        "files": files,
        "random_state": experiment.random_state,
        "model": source.model,
        "revisions": source.revisions,
        "options": {k: v for k, v in source.options.items() if k not in _RUNNING},
    }
    text = json.dumps(depends, sort_keys=True, ensure_ascii=False, default=str)
    place = folder / hashlib.sha256(text.encode()).hexdigest()[:32]
    manifest = read_manifest(place)
    if manifest is None or not is_whole(place, manifest):
        place.parent.mkdir(parents=True, exist_ok=True)
        manifest = embed_dataset(part, source.encoder, place, progress=progress)
    return place, manifest


def _examine(experiment: Experiment, item: _Known) -> _Known:
    """Return the data with their fingerprint and sizes, or with the reason why they have none."""
    if item.problem:
        return item
    try:
        rows = draw_rows(item.data, *_sizes(experiment))
    except (InputError, InputTypeError) as error:
        return replace(item, problem=str(error))
    return replace(
        item,
        fingerprint=rows.fingerprint,
        n_judged=rows.judged.n_images,
        n_separate=rows.n_separate,
        n_features=rows.judged.n_features,
    )


def _sizes(experiment: Experiment) -> tuple[int, int, int]:
    return experiment.n_judged, experiment.n_separate, experiment.random_state


def _compute_missing(
    experiment: Experiment,
    known: list[_Known],
    store: CellCache,
    n_workers: int | None,
    report: Progress,
) -> ExperimentResults:
    if all(item.problem for item in known):
        raise InputError(known[0].problem or "")
    plan: list[tuple[_Known, Representation, str, str]] = []
    cells: dict[str, Cell] = {}
    missing: dict[tuple[str, str], _Task] = {}
    for of, way, measure in product(known, experiment.representations, experiment.measures):
        depends = {
            "data": of.fingerprint,
            "method": way.method,
            "parameters": way.parameters,
            "fitted_on": way.fitted_on if way.method else None,
            "measure": measure,
            "random_state": experiment.random_state,
        }
        key = cell_key(depends)
        plan.append((of, way, measure, key))
        cell = Cell({}, of.problem) if of.problem else store.get(key)
        if cell is not None:
            cells[key] = cell
        else:
            missing.setdefault((of.data.name, way.name), (of, way, {}))[2][measure] = key
    n_cached = len(cells)
    report(n_cached, len(plan), "cells")
    for (of, way, keys), computed in _computed([*missing.values()], _sizes(experiment), n_workers):
        for measure, cell in computed.items():
            cells[keys[measure]] = cell
            store.put(keys[measure], cell)
        report(len(cells), len(plan), f"{of.data.name}, {way.name}")
    rows = []
    for of, way, measure, key in plan:
        cell = cells[key]
        values: dict[str, float | None] = dict(cell.values) or {"value": None}
        note = ". ".join(text for text in (of.note, cell.note) if text)
        shared = {
            "data": of.data.name,
            "path": of.source,
            **{name: getattr(of, name) for name in _SHOWN},
            "representation": way.name,
            "method": way.method or "raw",
            "parameters": json.dumps(dict(way.parameters)),
            "fitted_on": way.fitted_on,
            "measure": measure,
            "reason": cell.reason,
            "note": note,
            "random_state": experiment.random_state,
            "version": __version__,
            "cell": key,
        }
        rows += [ResultRow(**shared, part=part, value=value) for part, value in values.items()]
    return ExperimentResults(experiment, tuple(rows), n_cached, tuple(item.data for item in known))


def _computed(
    tasks: list[_Task], sizes: tuple[int, int, int], n_workers: int | None
) -> Iterator[tuple[_Task, dict[str, Cell]]]:
    """Yield what each task gives, in the order in which they end."""
    largest = 1
    for of, way, _ in tasks:  # copies of the rows in float64, and dense matrices
        rows = 8 * 6 * (of.n_judged + of.n_separate) * 2 * of.n_features
        dense = 8 * _DENSE.get(way.method or "", 0) * of.n_separate**2
        largest = max(largest, _PROCESS_BYTES + rows + dense)
    wanted = n_workers or os.cpu_count() or 1
    workers = max(1, min(wanted, len(tasks), _available_bytes() // largest))
    if workers == 1:
        for task in tasks:
            yield task, _compute(task, sizes)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread)
    try:
        futures = {pool.submit(_compute, task, sizes): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _compute(task: _Task, sizes: tuple[int, int, int]) -> dict[str, Cell]:
    of, way, keys = task
    return compute_cells(draw_rows(of.data, *sizes), way, list(keys), sizes[2])


def _one_thread() -> None:
    """Give this process one BLAS thread, for as long as it lives."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def _available_bytes() -> int:
    """Return the memory that new processes can have."""
    available = []
    with suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        available.append(int(text.split("MemAvailable:")[1].split()[0]) << 10)
    with suppress(OSError, ValueError):  # the limit of a container
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        available.append(limit - used)
    return min(available, default=4 << 30)
