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
from fillgap.distributed.limits import Limit, limits_of
from fillgap.distributed.measure import measure_shards
from fillgap.distributed.processes import ProcessPool

__all__ = [
    "ENGINES",
    "EngineError",
    "Executor",
    "JobPlan",
    "JobReport",
    "Limit",
    "ProcessPool",
    "ThisProcess",
    "apply_shards",
    "fit_shards",
    "limits_of",
    "make_executor",
    "measure_shards",
    "name_here",
    "plan_apply",
    "plan_fit",
    "plan_measure",
    "plan_reading",
    "shared_out",
]
