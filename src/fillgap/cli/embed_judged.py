"""fillgap embed judged:FOLDER: queries and documents to embeddings, beside their judgements."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fillgap.cli.output import print_json, progress_bar, say

if TYPE_CHECKING:
    from fillgap.encoders import Encoder

__all__ = ["embed_folder"]


def embed_folder(
    dataset: str,
    encoder: Any,
    out: Any,
    *,
    unknown: list[str],
    shard_rows: int | None,
    dtype: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Embed the folder named after the colon; `unknown` are options that do not go with it."""
    from fillgap._checks import InputError
    from fillgap.experiments.embed_judged import embed_judged

    folder = dataset.partition(":")[2]
    if unknown:
        raise InputError(
            f"{', '.join(unknown)} must be given with images and captions, got {dataset}. "
            "Leave them out."
        )
    if not folder:
        raise InputError(
            f"this dataset must be written judged:FOLDER, got {dataset!r}. Name its folder."
        )
    opened: Encoder = encoder.open()
    with progress_bar(quiet=quiet) as progress:
        found = embed_judged(
            folder,
            opened,
            out,
            dtype=dtype,
            progress=progress,
            **({} if shard_rows is None else {"shard_rows": shard_rows}),
        )
    if as_json:
        print_json(asdict(found) | {"out": str(out)})
        return
    listed = ", ".join(f"{n} {part.replace('_', ' ')}" for part, n in found.rows.items())
    say(f"{found.name} embedded by {found.model}: {listed} in {found.n_features} dimensions: {out}")
    say(f"Next: fillgap bench mixed {out}")
