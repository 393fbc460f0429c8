"""Any size: fit, apply and measure shards with many workers, on this machine or a cluster."""

from fillgap.distributed._executor import EngineError, Executor
from fillgap.distributed._work import JobReport
from fillgap.distributed.apply import apply_shards
from fillgap.distributed.engines import ENGINES, make_executor
from fillgap.distributed.fit import fit_shards
from fillgap.distributed.measure import measure_shards
from fillgap.distributed.processes import ProcessPool

__all__ = [
    "ENGINES",
    "EngineError",
    "Executor",
    "JobReport",
    "ProcessPool",
    "apply_shards",
    "fit_shards",
    "make_executor",
    "measure_shards",
]
