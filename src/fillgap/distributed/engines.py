"""The engines by name."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from fillgap._checks import InputError, check_choice

__all__ = ["ENGINES", "make_executor"]

ENGINES = ("processes", "dask")


def make_executor(
    engine: str = "processes", *, n_workers: int | None = None, address: Any = None
) -> AbstractContextManager[Any]:
    """Return the executor of that name, to be used in a ``with`` statement.

    Parameters
    ----------
    engine : {"processes", "dask"}
        Processes of this machine, or workers of Dask.
    n_workers : int, optional
        How many to start; left out, one for each core.
    address : str, or cluster of Dask, optional
        Of a cluster of Dask that runs; left out, workers are started here.

    Raises
    ------
    InputError
        If there is no such engine, or it has no address.
    EngineError
        If nothing answers at the address.
    """
    check_choice(engine, "the engine", ENGINES)
    if engine == "processes":
        if address is not None:
            raise InputError(
                f"the address must be of a cluster of Dask, got {address!r} for processes. "
                "Name the engine too: --engine dask"
            )
        from fillgap.distributed.processes import ProcessPool

        return ProcessPool(n_workers)
    from fillgap.distributed.dask import DaskCluster

    return DaskCluster(address, n_workers)
