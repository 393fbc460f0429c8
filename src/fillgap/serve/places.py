"""Names without the place on this machine."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["without_place"]

#: An absolute path, of any system, with the kind of a model before it or without.
_PLACE = re.compile(
    r"(?P<kind>[a-z0-9-]+:(?!//))?(file://)?"
    r"([A-Za-z]:[\\/]([^\n]*[\\/])?|(\\\\|~?/)[^\n]*[\\/])(?P<last>[^\n\\/]+)[\\/]*"
)


def without_place(value: Any) -> Any:
    """Return a value of a payload or a description, of a place on a machine its last part alone.

    Embeddings that name their rows by the paths of pictures, and models in a folder, would
    otherwise tell how this machine is laid out.
    """
    if not isinstance(value, str) or not (found := _PLACE.fullmatch(value)):
        return value
    return (found["kind"] or "") + found["last"]
