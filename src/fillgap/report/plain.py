"""A report as what JSON holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from fillgap.report.data import ReportData

__all__ = ["render_json", "to_plain"]


def render_json(data: ReportData) -> str:
    """Return a report as a JSON document, without its pictures.

    NaN and infinity are null.
    """
    return json.dumps(to_plain(data), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def to_plain(value: Any) -> Any:
    """Return lists, dicts, text, numbers and None that say the same."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    elif is_dataclass(value):
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    elif isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
