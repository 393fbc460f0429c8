"""Any size: fit, apply and measure shards with many workers, on this machine or a cluster."""

from fillgap.distributed._devices import name_here, shared_out
from fillgap.distributed._executor import EngineError, Executor, ThisProcess
from fillgap.distributed._plan import (
    JobPlan,
    plan_apply,
    plan_fit,
    plan_measure,
    plan_reading,
)
from fillgap.distributed._work import JobReport
from fillgap.distributed.apply import apply_shards
from fillgap.distributed.engines import ENGINES, make_executor
from fillgap.distributed.fit import fit_shards
from fillgap.distributed.measure import measure_shards
from fillgap.distributed.processes import ProcessPool
from fillgap.distributed.readable import BadShards, find_bad_shards, load_readable_pair

__all__ = [
    "ENGINES",
    "BadShards",
    "EngineError",
    "Executor",
    "JobPlan",
    "JobReport",
    "ProcessPool",
    "ThisProcess",
    "apply_shards",
    "find_bad_shards",
    "fit_shards",
    "load_readable_pair",
    "make_executor",
    "measure_shards",
    "name_here",
    "plan_apply",
    "plan_fit",
    "plan_measure",
    "plan_reading",
    "shared_out",
]
