"""What a search returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Explanation", "Hit"]


@dataclass(frozen=True)
class Explanation:
    """How a score came about; a query of both kinds, and a document of both, give means.

    Attributes
    ----------
    raw : float
        Cosine of the embeddings as the model gives them.
    aligned : float or None
        Cosine after alignment; None without a space.
    calibrated : float or None
        Calibrated score; None without a calibration.
    """

    raw: float
    aligned: float | None = None
    calibrated: float | None = None


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Attributes
    ----------
    id : str
    modality : {"image", "text", "image+text"}
    score : float
        In units of the stage that was searched: a cosine, or a calibrated score.
    rank, rank_in_modality : int
        Place in the list, and among the documents of its modality, from 1.
    payload : mapping
        What was added with it.
    explanation : Explanation or None
        Where it was asked for.
    """

    id: str
    modality: str
    score: float
    rank: int
    rank_in_modality: int
    payload: Mapping[str, Any]
    explanation: Explanation | None = None
