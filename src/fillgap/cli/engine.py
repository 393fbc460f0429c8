"""Options of commands that many workers can run, and the engine that they name."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import typer

__all__ = ["Address", "Engine", "SkipBadShards", "Workers", "engine_of", "refuse_index"]

Engine: TypeAlias = Annotated[
    Literal["processes", "dask"] | None,
    typer.Option(
        "--engine",
        help="Who reads the shards: processes of this machine, or workers of Dask. "
        "Left out, this process alone, unless another option asks for workers.",
        show_default=False,
    ),
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="How many workers to start; left out, one for each core.",
        show_default=False,
    ),
]
Address: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Of a cluster that runs, for example tcp://10.0.0.1:8786.",
        show_default=False,
    ),
]
SkipBadShards: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--skip-bad-shards",
        help="With workers: leave out shards that cannot be read, list them, and exit with 3.",
    ),
]


def engine_of(
    engine: str | None,
    workers: int | None,
    address: str | None,
    *,
    skip_bad_shards: bool = False,
    device: str | None = None,
) -> Any:
    """Return the executor that the options ask for, or None for this process alone."""
    if (engine, workers, address) == (None, None, None) and not skip_bad_shards:
        return None
    if device is not None and address is None:  # elsewhere only workers can tell
        from fillgap._device import choose_device

        choose_device(device)
    from fillgap.distributed import make_executor

    return make_executor(engine or "processes", n_workers=workers, address=address)


def refuse_index(image_index: str | None) -> None:
    """Refuse an index of rows where it cannot be followed."""
    if image_index is not None:
        from fillgap._checks import InputError

        raise InputError(
            "--image-index must be left out where workers read the shards or bad ones are skipped, "
            f"which pairs row i with row i, got {image_index}. Repeat image rows in their shards, "
            "or use one process."
        )
