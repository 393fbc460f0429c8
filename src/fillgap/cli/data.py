"""From the words of a command to embeddings and parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fillgap._checks import InputError

if TYPE_CHECKING:
    from fillgap.embeddings import EmbeddingPair

__all__ = ["parse_parameters", "read_pair"]


def read_pair(
    images: str,
    texts: str | None,
    *,
    image_index: str | None,
    captions: str | None,
    unpaired: bool,
    max_images: int | None = None,
    seed: int = 0,
) -> EmbeddingPair:
    """Read both sides, with what belongs to them; of more images than `max_images` a sample."""
    from fillgap.io import load_pair

    return load_pair(
        images,
        texts,
        image_index=image_index,
        captions=captions,
        paired=False if unpaired else None,
        max_images=max_images,
        random_state=seed,
    )


def parse_parameters(words: list[str] | None) -> dict[str, Any]:
    """Return {"n_components": 120, ...} of ["n_components=120", ...]; values are JSON or words."""
    parameters: dict[str, Any] = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InputError(
                f"--set must be NAME=VALUE, got {word!r}. Write for example --set ridge=0.3"
            )
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            parsed = {"None": None, "True": True, "False": False}.get(value, value)
        parameters[name.replace("-", "_")] = parsed
    return parameters
