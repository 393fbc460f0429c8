"""What comes back from a worker: the result, what it took, and shards that had to be skipped."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from fillgap._checks import InputError, InputTypeError
from fillgap._progress import Progress
from fillgap.distributed._executor import EngineError

__all__ = ["Attempt", "JobReport", "Outcome", "merge_outcomes", "with_rate"]


@dataclass
class JobReport:
    """What a job read, how long it took, and what it had to leave out.

    Attributes
    ----------
    n_rows, n_bytes : int
        Read, over all passes.
    seconds : float
        From start to end.
    workers : dict
        From "host:process" to the seconds that this worker was busy.
    rows_of_workers : dict
        From the same to the rows that it read.
    skipped : dict
        From the name of a shard that was left out to the reason.
    written, kept : list of str
        Files that were written, and those that an earlier run had finished.
    """

    n_rows: int = 0
    n_bytes: int = 0
    seconds: float = 0.0
    workers: dict[str, float] = field(default_factory=dict)
    rows_of_workers: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def add(self, other: JobReport) -> None:
        """Add what another part of the job did."""
        self.n_rows += other.n_rows
        self.n_bytes += other.n_bytes
        self.seconds += other.seconds
        for worker, seconds in other.workers.items():
            self.workers[worker] = self.workers.get(worker, 0.0) + seconds
        for worker, rows in other.rows_of_workers.items():
            self.rows_of_workers[worker] = self.rows_of_workers.get(worker, 0) + rows
        self.skipped |= other.skipped
        self.written += other.written
        self.kept += other.kept

    @property
    def rows_per_second(self) -> float:
        """Rows of all workers in a second."""
        return self.n_rows / self.seconds if self.seconds else 0.0

    @property
    def busy(self) -> float:
        """Share of the time in which the average worker worked."""
        return sum(self.workers.values()) / (len(self.workers) * self.seconds or 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what JSON holds."""
        return {
            "n_rows": self.n_rows,
            "n_bytes": self.n_bytes,
            "seconds": self.seconds,
            "rows_per_second": self.rows_per_second,
            "workers": dict(self.workers),
            "rows_of_workers": dict(self.rows_of_workers),
            "skipped": dict(self.skipped),
            "written": list(self.written),
            "kept": list(self.kept),
        }


@dataclass
class Outcome:
    """The result of one item, or of several that were merged; None where all were skipped."""

    value: Any
    report: JobReport


@dataclass(frozen=True)
class Attempt:
    """A function of an item that reports, and names the item in what it refuses.

    Parameters
    ----------
    function : callable
        Called with an item, which has `name`, `n_rows` and `n_bytes`.
    skip_bad_shards : bool
        Whether a refusal is reported instead of raised.
    """

    function: Callable[[Any], Any]
    skip_bad_shards: bool = False

    def __call__(self, item: Any) -> Outcome:
        """Return what the function makes of the item."""
        started = perf_counter()
        report = JobReport(item.n_rows, item.n_bytes)
        try:
            value = self.function(item)
        except EngineError:  # of no item in particular
            raise
        except (InputError, InputTypeError) as error:
            text = str(error) if item.name in str(error) else f"{item.name}: {error}"
            if not self.skip_bad_shards:
                raise type(error)(text) from None
            value, report = None, JobReport(skipped={item.name: text})
        worker = f"{platform.node()}:{os.getpid()}"
        report.workers[worker] = perf_counter() - started
        report.rows_of_workers[worker] = report.n_rows
        return Outcome(value, report)


def with_rate(progress: Progress | None, count: int, n_workers: int) -> Progress | None:
    """Return a callback that also says how many rows a worker does in a second."""
    if progress is None:
        return None
    started = perf_counter()

    def report(done: int, total: int | None, who: str) -> None:
        seconds = max(perf_counter() - started, 1e-9)
        rate = count * done / (total or 1) / seconds / n_workers
        progress(done, total, f"{who}, {rate:,.{0 if rate >= 100 else 1}f} rows/s each")

    return report


def merge_outcomes(mine: Outcome, other: Outcome) -> Outcome:
    """Add `other` to `mine`; values merge by `absorb`."""
    if mine.value is None:
        mine.value = other.value
    elif other.value is not None:
        mine.value.absorb(other.value)
    mine.report.add(other.report)
    return mine
