"""The form of answers, and the ranks in them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from fastapi.responses import JSONResponse

from fillgap.search import Hit

__all__ = ["AsciiJSON", "without"]


class AsciiJSON(JSONResponse):
    """JSON that holds any text, half of a pair of surrogates too: payloads come as they were."""

    def render(self, content: Any) -> bytes:
        """Return an answer as bytes."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def without(hits: list[Hit], identity: str | None) -> list[Hit]:
    """Return the hits less one document, ranked as if it were not there."""
    gone = next((hit for hit in hits if hit.id == identity), None)
    if gone is None:
        return hits
    return [
        replace(
            hit,
            rank=hit.rank - (hit.rank > gone.rank),
            rank_in_modality=hit.rank_in_modality
            - (hit.modality == gone.modality and hit.rank > gone.rank),
        )
        for hit in hits
        if hit is not gone
    ]
