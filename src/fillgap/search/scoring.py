"""What a search returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fillgap.calibration.base import Modality
from fillgap.errors import InputError, InputTypeError, as_array, check_choice, check_flag, unit_rows
from fillgap.search.backend import MODALITIES, Backend, Found, Term
from fillgap.search.documents import ALIGNED, RAW, stored_field
from fillgap.space import MixedSpace


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


Array = NDArray[Any]
Stage = Literal["raw", "aligned", "calibrated"]

#: Where a calibration does not fold, this many times k documents of each modality are rescored.
_LONGER, _AT_LEAST = 4, 200


class Scoring:
    """The stages of a space, on the documents of an engine."""

    def __init__(self, space: MixedSpace, backend: Backend) -> None:
        self.space, self.backend = space, backend
        stages: list[Stage] = ["raw"]
        if space.aligner is not None:
            stages.append("aligned")
        if space.calibration is not None:
            stages.append("calibrated")
        self.stages = tuple(stages)
        self.aligned_field = ALIGNED if space.aligner is not None else RAW

    def ask(self, rows: Mapping[Modality, Any]) -> Asked:
        """Return queries that can be answered; rows of both modalities belong together."""
        return Asked(self, rows)


class Asked:
    """A block of queries in the form that each stage needs."""

    def __init__(self, scoring: Scoring, rows: Mapping[Modality, Any]) -> None:
        space = scoring.space
        self.scoring, self.sides = scoring, list(rows)
        self.raw = _mean([unit_rows(part, f"{side} queries") for side, part in rows.items()])
        self.of = {side: space.align_queries(part, side) for side, part in rows.items()}
        self.aligned = _mean(list(self.of.values()))
        self._depth, self._lists = _AT_LEAST, dict[str, list[list[Found]]]()

    def best(
        self, stage: Stage, k: int, modalities: Collection[str] | None, *, with_vectors: bool
    ) -> list[list[Found]]:
        """Return the k best documents of each query at a stage."""
        scoring = self.scoring
        self._depth, self._lists = max(_LONGER * k, _AT_LEAST), {}
        if stage == "calibrated" and not scoring.space.folds:
            return self._rescored(k, modalities)
        if stage == "calibrated":
            terms = [
                Term(
                    stored_field(side), (self._with_one(side) / len(self.sides)).astype(np.float32)
                )
                for side in self.sides
            ]
        elif stage == "aligned":
            terms = [Term(scoring.aligned_field, self.aligned)]
        else:
            terms = [Term(RAW, self.raw)]
        return scoring.backend.search(terms, k, modalities, with_vectors=with_vectors)

    def explain(self, found: Found, i: int) -> Explanation:
        """Return how query i and a document, found with its vectors, score at each stage."""
        scoring, space = self.scoring, self.scoring.space
        aligned = found.vectors[scoring.aligned_field]
        return Explanation(
            raw=float(self.raw[i] @ found.vectors[RAW]),
            aligned=None if space.aligner is None else float(self.aligned[i] @ aligned),
            calibrated=None if space.calibration is None else self._calibrated(found, i),
        )

    def _with_one(self, side: Modality) -> Array:
        rows = self.of[side]
        return np.concatenate([rows, np.ones((len(rows), 1), dtype=np.float32)], axis=1)

    def _calibrated(self, found: Found, i: int) -> float:
        space = self.scoring.space
        if space.folds:
            return float(
                np.mean([self._with_one(s)[i] @ found.vectors[stored_field(s)] for s in self.sides])
            )
        beside: list[Found] = []
        if space.calibration is not None and space.calibration.reads_list:
            beside = [one for one in self._list(found.modality)[i] if one.id != found.id]
        return float(self._rescore([*beside, found], i)[-1])

    def _rescored(self, k: int, modalities: Collection[str] | None) -> list[list[Found]]:
        """Take a longer list of each modality by aligned cosine, and calibrate it."""
        lists = [
            self._list(modality)
            for modality in (MODALITIES if modalities is None else sorted(modalities))
        ]
        out = []
        for i in range(len(self.aligned)):
            found: list[Found] = []
            for single in (one[i] for one in lists):
                scores: Any = self._rescore(single, i) if single else []
                found += [
                    Found(one.id, one.modality, one.payload, float(score), one.vectors)
                    for one, score in zip(single, scores, strict=True)
                ]
            out.append(sorted(found, key=lambda one: -one.score)[:k])
        return out

    def _list(self, modality: str) -> list[list[Found]]:
        """Return the longer list of one modality of each query, by aligned cosine."""
        if modality not in self._lists:
            term = Term(self.scoring.aligned_field, self.aligned)
            self._lists[modality] = self.scoring.backend.search(
                [term], self._depth, {modality}, with_vectors=True
            )
        return self._lists[modality]

    def _rescore(self, found: list[Found], i: int) -> Array:
        """Return calibrated scores of documents of one modality, the mean over both where both."""
        rows = np.stack([one.vectors[self.scoring.aligned_field] for one in found])
        halves: tuple[Modality, ...] = ("image", "text")
        return np.mean(
            [
                self.scoring.space.calibrate(
                    (self.of[side][i] @ rows.T)[None], query=side, document=half, documents=rows
                )[0]
                for side in self.sides
                for half in halves
                if half in found[0].modality.split("+")
            ],
            axis=0,
        )


def _mean(parts: list[Any]) -> NDArray[np.float32]:
    total = parts[0] if len(parts) == 1 else sum(parts) / np.float32(len(parts))
    return np.ascontiguousarray(total, dtype=np.float32)


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
