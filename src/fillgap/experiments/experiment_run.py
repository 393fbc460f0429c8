"""Run an experiment: cells that are not in the cache, in as many processes as memory holds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fillgap import __version__
from fillgap._checks import InputError, InputTypeError, check_integer
from fillgap._progress import Progress, silent
from fillgap.experiments.cell_cache import CellCache, cell_key
from fillgap.experiments.experiment_cells import Cell, compute_cells
from fillgap.experiments.experiment_embeddings import Embedded, embed_pictures
from fillgap.experiments.experiment_results import ExperimentResults, ResultRow
from fillgap.experiments.experiment_rows import draw_rows
from fillgap.experiments.specification import EmbeddingData, Experiment, Representation

__all__ = ["run_experiment"]

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
