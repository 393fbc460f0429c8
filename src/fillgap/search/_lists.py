"""Small things around a search: the sides of a query, modalities, ranks."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from fillgap._checks import InputError, InputTypeError, as_array, check_choice, check_flag
from fillgap.scores import Modality
from fillgap.search._backend import MODALITIES, Found
from fillgap.search.hits import Explanation, Hit

__all__ = ["check_flags", "check_modalities", "given_sides", "number_hits", "one_row"]


def given_sides(image: Any | None, text: Any | None) -> dict[Modality, Any]:
    """Return the sides of a query that are there."""
    sides: dict[Modality, Any] = {"image": image, "text": text}
    given: dict[Modality, Any] = {side: rows for side, rows in sides.items() if rows is not None}
    if not given:
        raise InputError("a query must be an image, a text or both, got neither. Pass a vector.")
    return given


def one_row(row: Any, side: str) -> Any:
    """Return one query as a matrix of one row."""
    vector = as_array(row, f"the {side} query")
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    if vector.ndim != 1:
        raise InputError(
            f"the {side} query must be one vector, got shape {vector.shape}. "
            "Use search_batch for several."
        )
    if vector.dtype.kind == "f":  # other types, and lengths, are refused as those of documents are
        if not vector.size:
            raise InputError(
                f"the {side} query must be a vector, got an empty one. Look for a failed encoding."
            )
        for bad, got in ((~np.isfinite(vector), "NaN or infinity"), (vector == 0, "all zeros")):
            if bad.any() if got.startswith("NaN") else bad.all():
                raise InputError(
                    f"the {side} query must be finite numbers that are not all zero, got {got}. "
                    "Look for a failed encoding."
                )
    return vector[None]


def check_flags(**flags: bool) -> None:
    """Refuse what is neither true nor false."""
    for what, value in flags.items():
        check_flag(value, what)


def check_modalities(modalities: str | Collection[str] | None) -> set[str] | None:
    """Return the modalities that a search is restricted to, or None."""
    if modalities is None:
        return None
    if not isinstance(modalities, str | Collection):
        raise InputTypeError(
            f"modalities must be a name or several, got {modalities!r}. "
            f"Choose of {', '.join(MODALITIES)}."
        )
    listed = [modalities] if isinstance(modalities, str) else list(modalities)
    if not listed:
        raise InputError(
            "modalities must be at least one, got none. Leave it out to search them all."
        )
    return {check_choice(one, "modality", MODALITIES) for one in listed}


def _payload(found: Found) -> Any:
    try:
        return json.loads(found.payload)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the payload of {found.id!r} must be JSON, got something else ({error}). "
            "The index is damaged: copy it again, or build it again."
        ) from error


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
                _payload(one),
                explain(one) if explain else None,
            )
        )
    return hits
