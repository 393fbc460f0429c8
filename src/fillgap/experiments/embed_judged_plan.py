"""What embedding a judged folder would read and write, and how long it should take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from fillgap.datasets import Judged
from fillgap.distributed import Executor
from fillgap.encoders import Encoder
from fillgap.evaluation.cells import Given
from fillgap.experiments.embed_judged import SHARD_ROWS, begun, opened
from fillgap.experiments.embed_judged_shard import JudgedShard, parts_of, shards_left
from fillgap.experiments.embed_shard import batch_size
from fillgap.experiments.judged_embeddings import encoded_items

__all__ = ["JudgedPlan", "plan_embed_judged"]

#: Beside the vectors: queries, corpus and the manifest.
_TABLES = 3


@dataclass(frozen=True)
class JudgedPlan:
    """What `embed_judged` would do.

    Attributes
    ----------
    dataset, model : str
        Their names.
    rows : dict from str to int
        Texts and images that would be embedded, by part, for example "query_texts".
    n_shards : int
        Shards that would be written.
    kept : int
        Shards that an earlier run finished.
    n_workers : int
        Who would embed at a time.
    n_files, written_bytes : int
        What would be written: without queries, corpus and judgements, as to bytes.
    trial_rows : dict from str to int
        Texts and images that were embedded in the trial.
    seconds_per_row : dict from str to float
        What a text and an image took there, by part.
    """

    dataset: str
    model: str
    rows: dict[str, int]
    n_shards: int
    kept: int
    n_workers: int
    n_files: int = 0
    written_bytes: int = 0
    trial_rows: dict[str, int] = field(default_factory=dict)
    seconds_per_row: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Time from start to end, if workers do not hinder each other."""
        return sum(n * self.seconds_per_row[part] for part, n in self.rows.items()) / self.n_workers

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON holds."""
        return asdict(self) | {"seconds": self.seconds}


@dataclass(frozen=True)
class TryJudged:
    """A function of a shard that embeds its first batch, and writes nothing."""

    open_judged: Callable[[], Judged]
    open_encoder: Callable[[], Encoder]

    def __call__(self, shard: JudgedShard) -> tuple[str, int, float]:
        """Return the part, how many rows were embedded, and how long one took."""
        judged, encoder = self.open_judged(), self.open_encoder()
        items, side = parts_of(judged)[shard.part]
        chosen = [items[i] for i in shard.items[: batch_size(encoder)]]
        list(encoded_items(judged.folder, encoder, chosen[:1], side))  # the first one is slower
        started = perf_counter()
        list(encoded_items(judged.folder, encoder, chosen, side))
        return shard.part, len(chosen), (perf_counter() - started) / len(chosen)


def plan_embed_judged(
    folder: str | Path,
    encoder: Encoder,
    out: str | Path,
    *,
    shard_rows: int = SHARD_ROWS,
    dtype: str = "float32",
    executor: Executor | None = None,
    openers: tuple[Callable[[], Judged], Callable[[], Encoder]] | None = None,
) -> JudgedPlan:
    """Return what `embed_judged` would do with the same arguments.

    One batch of each part is embedded; nothing is written, and the folder is not made.

    Raises
    ------
    InputError
        As `embed_judged` does before it begins.
    """
    judged, splits = opened(Path(folder))
    root, _ = begun(judged, encoder, out, shard_rows=shard_rows, dtype=dtype)
    left, kept = shards_left(judged, root, shard_rows)
    rows = {
        part: sum(len(shard.items) for shard in left if shard.part == part)
        for part in dict.fromkeys(shard.part for shard in left)
    }
    workers = 1 if executor is None else max(1, min(executor.n_workers, len(left)))
    plan = JudgedPlan(judged.folder.name, encoder.name, rows, len(left), len(kept), workers)
    if not left:
        return plan
    here = Given(judged), Given(encoder)
    attempt = TryJudged(*(here if executor is None or openers is None else openers))
    firsts = [next(shard for shard in left if shard.part == part) for part in rows]
    tried = list(map(attempt, firsts) if executor is None else executor.map(attempt, firsts))
    return replace(
        plan,
        n_files=len(left) + _TABLES + len(splits),
        written_bytes=sum(rows.values()) * int(encoder.n_features) * np.dtype(dtype).itemsize,
        trial_rows={part: n for part, n, _ in tried},
        seconds_per_row={part: seconds for part, _, seconds in tried},
    )
