"""fillgap embed judged:FOLDER: queries and documents to embeddings, beside their judgements."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fillgap.cli.output import print_json, progress_bar, say
from fillgap.cli.plan import say_judged_plan

if TYPE_CHECKING:
    from fillgap.datasets import Judged

__all__ = ["embed_folder"]


def embed_folder(
    dataset: str,
    encoder: Any,
    out: Any,
    *,
    executor: Any,
    shard_rows: int | None,
    dtype: str,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Embed the folder named after the colon."""
    from contextlib import nullcontext

    from fillgap._checks import InputError
    from fillgap.experiments.embed_judged import SHARD_ROWS, embed_judged
    from fillgap.experiments.embed_judged_plan import plan_embed_judged

    folder = dataset.partition(":")[2]
    if not folder:
        raise InputError(
            f"this dataset must be written judged:FOLDER, got {dataset!r}. Name its folder."
        )
    settings: dict[str, Any] = {
        "shard_rows": shard_rows or SHARD_ROWS,
        "dtype": dtype,
        "openers": (JudgedFrom(folder), encoder),
    }
    if dry_run:
        with executor or nullcontext():
            plan = plan_embed_judged(folder, encoder.open(), out, executor=executor, **settings)
        say_judged_plan(plan, out, as_json=as_json)
        return
    with executor or nullcontext(), progress_bar(quiet=quiet) as progress:
        found = embed_judged(
            folder, encoder.open(), out, executor=executor, progress=progress, **settings
        )
    if as_json:
        print_json(asdict(found) | {"out": str(out)})
        return
    listed = ", ".join(f"{n} {part.replace('_', ' ')}" for part, n in found.rows.items())
    say(f"{found.name} embedded by {found.model}: {listed} in {found.n_features} dimensions: {out}")
    say(f"Next: fillgap bench mixed {out}")


@dataclass(frozen=True)
class JudgedFrom:
    """Opens a judged folder in whatever process this is called, once."""

    folder: str

    def __call__(self) -> Judged:
        """Return it."""
        return _opened(self.folder)


@lru_cache(maxsize=1)
def _opened(folder: str) -> Judged:
    from pathlib import Path

    from fillgap.experiments.embed_judged import opened

    return opened(Path(folder))[0]
