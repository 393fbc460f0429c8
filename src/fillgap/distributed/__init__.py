"""Any size: fit, apply and measure shards with many workers, on this machine or a cluster."""

from fillgap.distributed.apply_job import apply_shards
from fillgap.distributed.executors import (
    ENGINES,
    EngineError,
    Executor,
    ProcessPool,
    ThisProcess,
    make_executor,
)
from fillgap.distributed.fit_job import (
    BadShards,
    JobReport,
    find_bad_shards,
    fit_shards,
    load_readable_pair,
)
from fillgap.distributed.job_plan import JobPlan, plan_apply, plan_fit, plan_measure, plan_reading
from fillgap.distributed.measure_job import measure_shards
from fillgap.distributed.pieces import name_here, shared_out

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
