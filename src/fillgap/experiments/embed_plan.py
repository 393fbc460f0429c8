"""What embedding a dataset would read and write, and how long it should take."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from fillgap._checks import check_integer
from fillgap._files import check_target
from fillgap.datasets._record import Dataset
from fillgap.distributed import Executor
from fillgap.encoders import Encoder
from fillgap.evaluation.cells import Given
from fillgap.experiments.embed import what_is_left
from fillgap.experiments.embed_shard import FOLDERS, batch_size, encode_rows

__all__ = ["EmbedPlan", "plan_embed"]


@dataclass(frozen=True)
class EmbedPlan:
    """What `embed_dataset` would do.

    Attributes
    ----------
    dataset, model : str
        Their names.
    n_rows, n_shards : int
        Images that would be read, and shards that would be written.
    kept : int
        Shards that an earlier run finished.
    n_workers : int
        Who would embed at a time.
    n_files, written_bytes : int
        What would be written, about: without metadata, and with as many captions an image as in
        the trial.
    trial_rows : int
        Images that were embedded in the trial, with their captions.
    seconds_per_row : float
        What one image took there, with its captions.
    skipped : dict
        Images of the trial that cannot be read, and why.
    """

    dataset: str
    model: str
    n_rows: int
    n_shards: int
    kept: int
    n_workers: int
    n_files: int = 0
    written_bytes: int = 0
    trial_rows: int = 0
    seconds_per_row: float = 0.0
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Time from start to end, if workers do not hinder each other."""
        return self.n_rows * self.seconds_per_row / self.n_workers

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON holds."""
        return asdict(self) | {"seconds": self.seconds}


@dataclass(frozen=True)
class Trial:
    """What became of a few rows: the time, the captions, and images that cannot be read."""

    seconds: float
    n_texts: int
    skipped: dict[str, str]


@dataclass(frozen=True)
class TryEmbed:
    """A function of rows that embeds them, and writes nothing."""

    open_dataset: Callable[[], Dataset]
    open_encoder: Callable[[], Encoder]
    n_threads: int

    def __call__(self, rows: range) -> Trial:
        """Return how long they took after the first one, which is slower."""
        dataset, encoder = self.open_dataset(), self.open_encoder()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            encode_rows(dataset, encoder, rows[:1], n_threads=self.n_threads)
            started = perf_counter()
            made = encode_rows(dataset, encoder, rows, n_threads=self.n_threads)
        seconds = perf_counter() - started
        return Trial(
            seconds, len(made.texts), {item["id"]: item["reason"] for item in made.skipped}
        )


def plan_embed(
    dataset: Dataset,
    encoder: Encoder,
    folder: str | Path,
    *,
    shard_rows: int | None = None,
    dtype: str = "float32",
    n_threads: int = 4,
    executor: Executor | None = None,
    openers: tuple[Callable[[], Dataset], Callable[[], Encoder]] | None = None,
) -> EmbedPlan:
    """Return what `embed_dataset` would do with the same arguments.

    One batch of images is embedded with its captions, by one worker; nothing is written, and the
    folder is not made.

    Raises
    ------
    InputError
        As `embed_dataset` does before it begins.
    """
    check_integer(n_threads, "n_threads", low=1)
    root = check_target(folder, overwrite=True)
    manifest, left = what_is_left(dataset, encoder, root, shard_rows=shard_rows, dtype=dtype)
    n_shards, n_rows = len(left), sum(len(rows) for _, rows in left)
    workers = 1 if executor is None else max(1, min(executor.n_workers, n_shards))
    plan = EmbedPlan(dataset.name, encoder.name, n_rows, n_shards, len(manifest.shards), workers)
    if not left:
        return plan
    here = Given(dataset), Given(encoder)
    of_dataset, of_encoder = here if executor is None or openers is None else openers
    attempt = TryEmbed(of_dataset, of_encoder, n_threads)
    rows = left[0][1][: batch_size(encoder)]
    tried = attempt(rows) if executor is None else next(iter(executor.map(attempt, [rows])))
    n_vectors = n_rows * (1 + tried.n_texts / max(1, len(rows) - len(tried.skipped)))
    return replace(
        plan,
        n_files=len(FOLDERS) * n_shards + 1,
        written_bytes=round(n_vectors * encoder.n_features * np.dtype(dtype).itemsize),
        trial_rows=len(rows),
        seconds_per_row=tried.seconds / len(rows),
        skipped=tried.skipped,
    )
