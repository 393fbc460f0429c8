"""Queries and what they score: raw, aligned, calibrated."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import unit_rows
from fillgap.scores import Modality
from fillgap.search._backend import MODALITIES, Backend, Found, Term
from fillgap.search._documents import ALIGNED, RAW, stored_field
from fillgap.search.hits import Explanation
from fillgap.space import MixedSpace

__all__ = ["Scoring", "Stage"]

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
