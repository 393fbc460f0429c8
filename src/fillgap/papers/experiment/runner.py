"""The pictures of an experiment through its encoders: folders of embeddings that are kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

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


@dataclass(frozen=True)
class Embedded:
    """Data of an experiment as embeddings.

    Attributes
    ----------
    data : EmbeddingData
        What can be loaded.
    source : str
        The path, or the dataset that was embedded.
    model : str
        Name and revision of the encoder where they are known: NAME@REVISION.
    problem : str or None
        Why there are no embeddings.
    note : str
        What was left out on the way.
    """

    data: EmbeddingData
    source: str
    model: str = ""
    problem: str | None = None
    note: str = ""


def embed_pictures(experiment: Experiment, folder: Path, progress: Progress) -> list[Embedded]:
    """Return all data of an experiment, after every encoder has embedded all of its pictures.

    The pairs to judge on and those to fit on are drawn first, so that nothing else is embedded. A
    model is loaded once, and not at all where its embeddings are there already. What cannot be
    embedded has the reason instead.

    Parameters
    ----------
    experiment : Experiment
        With pictures or without.
    folder : path
        Where embeddings are kept, under the hash of all that they depend on.
    progress : callable
        Called as progress(images done, total, what).
    """
    pictures = [item for item in experiment.data if isinstance(item, PictureData)]
    drawn = {item: _draw(experiment, item) for item in pictures}
    found: dict[tuple[str, str], Embedded] = {}
    for model in experiment.encoders:
        source = _Source(model)
        for item, parts in drawn.items():
            name = embedded_name(item, model)
            try:
                if isinstance(parts, str):
                    raise InputError(parts)
                made = [
                    _embed(
                        part, source, folder / _embedding_key(experiment, part, source), progress
                    )
                    for part in parts
                ]
                found[item.name, model.name] = _embedded(name, item, made)
            except (InputError, InputTypeError) as error:
                nothing = EmbeddingData(name, "")
                found[item.name, model.name] = Embedded(nothing, item.dataset, problem=str(error))
    return list(_in_order(experiment, found))


def _in_order(experiment: Experiment, found: dict[tuple[str, str], Embedded]) -> Iterator[Embedded]:
    for item in experiment.data:
        if isinstance(item, PictureData):
            yield from (found[item.name, model.name] for model in experiment.encoders)
        else:
            manifest = None
            with suppress(InputError):  # whoever loads it will say so
                manifest = read_manifest(Path(item.path))
            yield Embedded(item, item.path, model="" if manifest is None else _name(manifest))


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


def _embed(
    part: Dataset, source: _Source, place: Path, progress: Progress
) -> tuple[Path, Manifest]:
    """Return the folder of a part and its manifest, after it was embedded where it is not whole."""
    manifest = read_manifest(place)
    if manifest is None or not is_whole(place, manifest):
        place.parent.mkdir(parents=True, exist_ok=True)
        manifest = embed_dataset(part, source.encoder, place, progress=progress)
    return place, manifest


def _embedded(name: str, item: PictureData, made: list[tuple[Path, Manifest]]) -> Embedded:
    left_out = sum(len(manifest.skipped) for _, manifest in made)
    note = f"{left_out} images could not be read and were left out" if left_out else ""
    separate = str(made[1][0]) if made[1:] else None
    data = EmbeddingData(name, str(made[0][0]), separate=separate)
    return Embedded(data, item.dataset, model=_name(made[0][1]), note=note)


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


def _embedding_key(experiment: Experiment, part: Dataset, source: _Source) -> str:
    depends = {
        "dataset": describe_dataset(part),
        "files": list(_files(part)),
        "random_state": experiment.random_state,
        "model": source.model,
        "revisions": source.revisions,
        "options": {k: v for k, v in source.options.items() if k not in _RUNNING},
    }
    text = json.dumps(depends, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _files(part: Dataset) -> Iterator[tuple[str, int, int]]:
    """Yield what tells a picture from another one that replaces it, where pictures are files."""
    if not isinstance(part[0].image, Path):
        return  # pictures inside of shards: to look at each would be to read them all
    for row in range(len(part)):
        path = Path(str(part[row].image))
        with suppress(OSError):
            found = path.stat()
            yield path.name, found.st_size, found.st_mtime_ns


def _name(manifest: Manifest) -> str:
    return f"{manifest.model['name']}@{manifest.model['revision']}"


#: What a process takes before it has read anything: libraries and their buffers.
_PROCESS_BYTES: Final = 300 << 20
#: Methods that hold dense matrices of rows × rows.
_DENSE: Final = {"laplace-transport": 6}


@dataclass(frozen=True)
class _Task:
    """One representation of some data: it is mapped once for all measures."""

    data: EmbeddingData
    representation: Representation
    measures: tuple[str, ...]
    sizes: tuple[int, int, int]  # n_judged, n_separate, random_state of the experiment
    n_bytes: int


@dataclass(frozen=True)
class _Known:
    """What is known of data before anything is computed."""

    embedded: Embedded
    fingerprint: str = ""
    n_judged: int = 0
    n_separate: int = 0
    n_features: int = 0
    problem: str | None = None


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
    with ExitStack() as stack:
        place = cache if cache is not None else stack.enter_context(TemporaryDirectory())
        data = embed_pictures(experiment, Path(place) / "embeddings", progress or silent)
        return _run(experiment, data, CellCache(cache), n_workers, progress or silent)


def _run(
    experiment: Experiment,
    data: list[Embedded],
    store: CellCache,
    n_workers: int | None,
    report: Progress,
) -> ExperimentResults:
    known = {item.data.name: _examine(experiment, item) for item in data}
    if all(item.problem for item in known.values()):
        raise InputError(next(iter(known.values())).problem or "")
    keys = {
        (name, way.name, measure): _key(experiment, of, way, measure)
        for name, of in known.items()
        for way in experiment.representations
        for measure in experiment.measures
    }
    cells: dict[str, Cell] = {}
    for place, key in keys.items():
        problem = known[place[0]].problem
        found = Cell({}, problem) if problem else store.get(key)
        if found is not None:
            cells[key] = found
    n_cached = len(cells)
    tasks = _tasks(experiment, known, keys, cells)
    report(n_cached, len(keys), "cells")
    for task, computed in _computed(tasks, n_workers):
        for measure, cell in computed.items():
            key = keys[task.data.name, task.representation.name, measure]
            cells[key] = cell
            store.put(key, cell)
        report(len(cells), len(keys), f"{task.data.name}, {task.representation.name}")
    rows = tuple(_rows(experiment, known, keys, cells))
    return ExperimentResults(experiment, rows, n_cached, tuple(item.data for item in data))


def _sizes(experiment: Experiment) -> tuple[int, int, int]:
    return experiment.n_judged, experiment.n_separate, experiment.random_state


def _examine(experiment: Experiment, item: Embedded) -> _Known:
    if item.problem:
        return _Known(item, problem=item.problem)
    try:
        rows = draw_rows(item.data, *_sizes(experiment))
    except (InputError, InputTypeError) as error:
        return _Known(item, problem=str(error))
    judged = rows.judged
    return _Known(item, rows.fingerprint, judged.n_images, rows.n_separate, judged.n_features)


def _key(experiment: Experiment, known: _Known, way: Representation, measure: str) -> str:
    return cell_key(
        {
            "data": known.fingerprint,
            "method": way.method,
            "parameters": way.parameters,
            "fitted_on": way.fitted_on if way.method else None,
            "measure": measure,
            "random_state": experiment.random_state,
        }
    )


def _tasks(
    experiment: Experiment,
    known: dict[str, _Known],
    keys: dict[tuple[str, str, str], str],
    cells: dict[str, Cell],
) -> list[_Task]:
    """Return what is left to compute, data by data."""
    tasks = []
    for name, of in known.items():
        for way in experiment.representations:
            missing = tuple(m for m in experiment.measures if keys[name, way.name, m] not in cells)
            if missing:
                size = _bytes(of, way)
                tasks.append(_Task(of.embedded.data, way, missing, _sizes(experiment), size))
    return tasks


def _bytes(known: _Known, way: Representation) -> int:
    """Return about what a task takes: copies of the rows in float64, and dense matrices."""
    rows = 8 * 6 * (known.n_judged + known.n_separate) * 2 * known.n_features
    dense = 8 * _DENSE.get(way.method or "", 0) * known.n_separate**2
    return _PROCESS_BYTES + rows + dense


def _computed(tasks: list[_Task], n_workers: int | None) -> Iterator[tuple[_Task, dict[str, Cell]]]:
    """Yield what each task gives, in the order in which they end."""
    wanted = n_workers or os.cpu_count() or 1
    largest = max((task.n_bytes for task in tasks), default=1)
    workers = max(1, min(wanted, len(tasks), _available_bytes() // largest))
    if workers == 1:
        for task in tasks:
            yield task, _compute(task)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread)
    try:
        futures = {pool.submit(_compute, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _compute(task: _Task) -> dict[str, Cell]:
    rows = draw_rows(task.data, *task.sizes)
    return compute_cells(rows, task.representation, task.measures, task.sizes[2])


def _one_thread() -> None:
    """Give this process one BLAS thread, for as long as it lives."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def _available_bytes() -> int:
    """Return the memory that new processes can have."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found.append(int(text.split("MemAvailable:")[1].split()[0]) << 10)
    with suppress(OSError, ValueError):  # the limit of a container
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        found.append(limit - used)
    return min(found, default=4 << 30)


def _rows(
    experiment: Experiment,
    known: dict[str, _Known],
    keys: dict[tuple[str, str, str], str],
    cells: dict[str, Cell],
) -> Iterable[ResultRow]:
    for name, of in known.items():
        for way in experiment.representations:
            for measure in experiment.measures:
                key = keys[name, way.name, measure]
                cell = cells[key]
                values: dict[str, float | None] = dict(cell.values) or {"value": None}
                note = ". ".join(text for text in (of.embedded.note, cell.note) if text)
                for part, value in values.items():
                    yield ResultRow(
                        name, of.embedded.source, of.embedded.model, of.fingerprint, of.n_judged,
                        of.n_separate, of.n_features, way.name, way.method or "raw",
                        json.dumps(dict(way.parameters)), way.fitted_on, measure, part, value,
                        cell.reason, note, experiment.random_state, __version__, key,
                    )  # fmt: skip
