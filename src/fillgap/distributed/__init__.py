"""Any size: fit, apply and measure shards with many workers, on this machine or a cluster."""

from fillgap.distributed.apply_job import apply_shards
from fillgap.distributed.executors import (
    EngineError,
    Executor,
    ProcessPool,
    ThisProcess,
    make_executor,
)
from fillgap.distributed.fit_job import JobReport, find_bad_shards, fit_shards, load_readable_pair
from fillgap.distributed.measure_job import measure_shards

__all__ = [
    "EngineError",
    "Executor",
    "JobReport",
    "ProcessPool",
    "ThisProcess",
    "apply_shards",
    "find_bad_shards",
    "fit_shards",
    "load_readable_pair",
    "make_executor",
    "measure_shards",
]
