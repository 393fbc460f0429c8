"""Small things around a search: the sides of a query, modalities, ranks."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from fillgap._checks import InputError, check_choice
from fillgap.scores import Modality
from fillgap.search._backend import MODALITIES, Found
from fillgap.search.hits import Explanation, Hit

__all__ = ["check_modalities", "given_sides", "number_hits", "one_row"]


def given_sides(image: Any | None, text: Any | None) -> dict[Modality, Any]:
    """Return the sides of a query that are there."""
    sides: dict[Modality, Any] = {"image": image, "text": text}
    given: dict[Modality, Any] = {side: rows for side, rows in sides.items() if rows is not None}
    if not given:
        raise InputError("a query must be an image, a text or both, got neither. Pass a vector.")
    return given


def one_row(row: Any, side: str) -> Any:
    """Return one query as a matrix of one row."""
    vector = np.asarray(row)
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    if vector.ndim != 1:
        raise InputError(
            f"the {side} query must be one vector, got shape {vector.shape}. "
            "Use search_batch for several."
        )
    if vector.dtype.kind == "f":  # other types, and lengths, are refused as those of documents are
        for bad, got in ((~np.isfinite(vector), "NaN or infinity"), (vector == 0, "all zeros")):
            if bad.any() if got.startswith("NaN") else bad.all():
                raise InputError(
                    f"the {side} query must be finite numbers that are not all zero, got {got}. "
                    "Look for a failed encoding."
                )
    return vector[None]


def check_modalities(modalities: str | Collection[str] | None) -> set[str] | None:
    """Return the modalities that a search is restricted to, or None."""
    if modalities is None:
        return None
    listed = [modalities] if isinstance(modalities, str) else list(modalities)
    if not listed:
        raise InputError(
            "modalities must be at least one, got none. Leave it out to search them all."
        )
    return {check_choice(one, "modality", MODALITIES) for one in listed}


def number_hits(
    found: Sequence[Found], explain: Callable[[Found], Explanation] | None
) -> list[Hit]:
    """Return hits with their ranks; `explain` says how each score came about."""
    hits: list[Hit] = []
    ranks: dict[str, int] = dict.fromkeys(MODALITIES, 0)
    for rank, one in enumerate(found, start=1):
        ranks[one.modality] += 1
        hits.append(
            Hit(
                one.id,
                one.modality,
                one.score,
                rank,
                ranks[one.modality],
                json.loads(one.payload),
                explain(one) if explain else None,
            )
        )
    return hits
