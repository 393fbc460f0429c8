"""Align shards: each file by some worker, finished ones never again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from fillgap.aligners.base import Aligner
from fillgap.aligners.methods import load_aligner
from fillgap.distributed.executors import Executor
from fillgap.distributed.fit_job import Attempt, JobReport, with_rate
from fillgap.distributed.pieces import device_here
from fillgap.errors import InputError
from fillgap.files import atomic_file, check_target, remove_stale
from fillgap.io.names import Modality
from fillgap.io.shards import BadShard, open_shards
from fillgap.io.writing import check_alone, check_names, transform_file
from fillgap.pair import RowSource
from fillgap.remote import as_path, change_mark
from fillgap.runtime import Progress, to_device, to_host

#: The folder within the target in which each finished shard has a receipt.
RECEIPTS = ".fillgap"


@dataclass(frozen=True)
class Copy:
    """A file, and where its aligned copy goes.

    Attributes
    ----------
    source : RowSource
        The file.
    target : Path
        Its copy.
    receipt : dict
        What the copy depends on: the aligner, the side, and the state of the source.
    """

    source: RowSource
    target: Path
    receipt: dict[str, Any]

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source.name

    @property
    def n_rows(self) -> int:
        """Rows of the file."""
        return self.source.shape[0]

    @property
    def n_bytes(self) -> int:
        """Bytes of its rows."""
        return self.n_rows * self.source.shape[1] * self.source.dtype.itemsize

    @property
    def receipt_path(self) -> Path:
        """Where the receipt lies."""
        return self.target.parent / RECEIPTS / f"{self.target.name}.json"

    @property
    def finished(self) -> bool:
        """Whether this very copy is there."""
        with suppress(OSError, ValueError):
            known = json.loads(self.receipt_path.read_text(encoding="utf-8"))
            return known == self.receipt | {"bytes": self.target.stat().st_size}
        return False


@dataclass(frozen=True)
class AlignShard:
    """Write one aligned copy, then its receipt."""

    aligner: Path
    modality: Modality
    device: str | None = None

    def __call__(self, copy: Copy) -> str:
        """Return the path that was written."""
        what = "images" if self.modality == "image" else "texts"
        fitted = load_aligner(self.aligner)
        transform_file(copy.source, copy.target, block_function(fitted, what, self.device))
        receipt = copy.receipt | {"bytes": copy.target.stat().st_size}
        with atomic_file(copy.receipt_path) as temporary:
            temporary.write_text(json.dumps(receipt), encoding="utf-8")
        return str(copy.target)


def block_function(fitted: Aligner, what: str, name: str | None) -> Callable[[Any, int], Any]:
    """Return what aligns a block, on the device of this worker where one is named."""
    if name is None:
        return lambda block, first_row: fitted.apply_block(block, what, first_row)
    device = device_here(name)
    return lambda block, first_row: to_host(
        fitted.apply_block(to_device(block, device), what, first_row)
    )


def apply_shards(
    aligner: str | Path,
    sources: str | Path | Sequence[str | Path],
    target: str | Path,
    *,
    modality: Modality,
    executor: Executor,
    skip_bad_shards: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> JobReport:
    """Write aligned copies of shards into a folder; a later run goes on where this one stopped.

    Parameters
    ----------
    aligner : str or path
        The file that `save_aligner` wrote. Workers read it under the same name.
    sources : str or path, or several
        As for `transform_files`.
    target : str or path
        The folder. Copies that an earlier run finished, of the same sources with the same aligner,
        are kept; so the folder may exist where it holds nothing else.
    modality : "image" or "text"
        What the sources are.
    executor : Executor
        Who does the work.
    skip_bad_shards : bool
        Whether shards that cannot be read, or hold unusable rows, are left out and reported.
    overwrite : bool
        Whether other files of these names may be replaced. Sources never are.
    device : str, optional
        As for `fit_shards`.
    progress : callable, optional
        Called as progress(files done, files in all, what).

    Returns
    -------
    JobReport

    Raises
    ------
    InputError
        If a shard cannot be read, or the folder may not be written.
    """
    started = perf_counter()
    copies, bad = plan_copies(aligner, sources, target, modality=modality)
    if bad and not skip_bad_shards:
        raise InputError(next(iter(bad.values())))
    report = JobReport(skipped=bad, kept=[str(copy.target) for copy in copies if copy.finished])
    left = [copy for copy in copies if str(copy.target) not in report.kept]
    folder = as_path(target)
    _check_folder(folder, copies, left, overwrite=overwrite)
    (folder / RECEIPTS).mkdir(parents=True, exist_ok=True)
    attempt = Attempt(AlignShard(as_path(aligner).absolute(), modality, device), skip_bad_shards)
    try:
        shown = with_rate(progress, sum(copy.n_rows for copy in left), executor.n_workers)
        for outcome in executor.map(attempt, left, progress=shown):
            report.add(outcome.report)
            if outcome.value is not None:
                report.written.append(outcome.value)
    finally:
        remove_stale(folder, folder / RECEIPTS)
    report.seconds = perf_counter() - started
    return report


def plan_copies(
    aligner: str | Path,
    sources: str | Path | Sequence[str | Path],
    target: str | Path,
    *,
    modality: Modality,
) -> tuple[list[Copy], dict[str, str]]:
    """Return what is to be written, and the shards that cannot be opened with the reasons."""
    load_aligner(aligner)  # refuses what is no aligner
    fitted = hashlib.sha256(as_path(aligner).read_bytes()).hexdigest()
    specs = [sources] if isinstance(sources, (str, Path)) else list(sources)
    shards = [shard for spec in specs for shard in open_shards(spec, modality)]
    if not shards:
        raise InputError("sources must be at least one path, got none. Name the files to change.")
    bad = {shard.name: shard.reason for shard in shards if isinstance(shard, BadShard)}
    copies = []
    for shard in shards:
        if not isinstance(shard, BadShard):
            path: Path = shard.path  # type: ignore[attr-defined]
            receipt = {
                "aligner": fitted,
                "modality": modality,
                "source": shard.name,
                "source_bytes": path.stat().st_size,
                "source_changed": change_mark(path),
            }
            copies.append(Copy(shard, as_path(target) / path.name, receipt))
    return copies, bad


def _check_folder(
    folder: Path, copies: Sequence[Copy], left: Sequence[Copy], *, overwrite: bool
) -> None:
    """Refuse copies of one name, files that are not to be replaced, and shards that would mix."""
    targets = [copy.target for copy in copies]
    check_names(targets)
    if not folder.exists():
        check_target(folder)
        return
    if not folder.is_dir():
        raise InputError(f"{folder} must be a folder for shards, got a file. Name a folder.")
    inputs = [copy.source.path for copy in copies]  # type: ignore[attr-defined]
    for copy in left:
        check_target(copy.target, inputs=inputs, overwrite=overwrite)
    check_alone(folder, targets)
