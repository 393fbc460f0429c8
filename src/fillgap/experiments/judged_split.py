"""One part of the queries of a judged folder: what is fitted for it, and what that finds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import CANNOT_RUN
from fillgap._copies import copies
from fillgap.aligners import Aligner
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation.combine import FUSIONS
from fillgap.evaluation.one_split import fit_clone
from fillgap.evaluation.tally import Combination
from fillgap.experiments.judged_embeddings import EmbeddedItems
from fillgap.scores import Calibration, Modality, Sides, fit_together
from fillgap.scores.samples import MODALITIES
from fillgap.space import MixedSpace

__all__ = ["GR_CLIP", "JudgedSplit"]

Array = NDArray[Any]
Mask = NDArray[np.bool_]

#: Mean centring with a mean of the queries' own, as that paper has it.
GR_CLIP: Final = "gr-clip"
#: Scores held at a time.
_BLOCK_SCORES: Final = 2**25


@dataclass(frozen=True, eq=False)
class JudgedSplit:
    """One part of the queries, and the documents that may be fitted to for it.

    Attributes
    ----------
    queries, documents : EmbeddedItems
    relevant : array of int of shape (n_pairs, 2)
        Query and document of every judgement.
    mine : array of bool of shape (n_queries,)
        The queries that are judged.
    free : array of bool of shape (n_documents,)
        The documents that are relevant to none of them.
    """

    queries: EmbeddedItems
    documents: EmbeddedItems
    relevant: NDArray[np.intp]
    mine: Mask
    free: Mask

    def judge(
        self,
        name: str,
        aligner: Aligner | None,
        calibrations: Mapping[str, Calibration | None],
        add: Callable[[Combination, Array, Array], None],
    ) -> dict[Combination, str]:
        """Fit one aligner, and judge it with each calibration and fusion.

        Parameters
        ----------
        name : str
        aligner : Aligner or None
        calibrations : mapping from name to Calibration or None
        add : callable
            Called as add(combination, numbers of queries, their scores with all documents).

        Returns
        -------
        dict
            What cannot run, and why.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return self._judged(name, aligner, calibrations, add)

    def _judged(
        self,
        name: str,
        aligner: Aligner | None,
        calibrations: Mapping[str, Calibration | None],
        add: Callable[[Combination, Array, Array], None],
    ) -> dict[Combination, str]:
        try:
            space = self._space(name, aligner)
            rows = {side: space.align_documents(r, side) for side, r in self.documents.rows.items()}
            samples = Sides(*(self._sample(space, side, rows) for side in MODALITIES))
            documents = Sides(*(self._free(side, rows) for side in MODALITIES))
        except CANNOT_RUN as error:
            return {Combination(name, one): str(error) for one in (*calibrations, *FUSIONS)}
        given = {label: one for label, one in calibrations.items() if one is not None}
        ready = fit_together(given, samples, documents, relevant=self._known())
        equal = {side: copies(r) for side, r in rows.items()}
        failures = {}
        for label in calibrations:
            what, fitted = Combination(name, label), ready.get(label)
            try:
                if isinstance(fitted, Exception):
                    raise fitted
                for block, scores in self._blocks(space, rows, equal, fitted):
                    add(what, block, scores)
                    for fusion, function in FUSIONS.items() if fitted is None else ():
                        add(Combination(name, fusion), block, self._fused(scores, function))
            except CANNOT_RUN as error:
                failures[what] = str(error)
        return failures

    def _space(self, name: str, aligner: Aligner | None) -> MixedSpace:
        n_features = next(iter(self.documents.rows.values())).shape[1]
        if aligner is None:
            return MixedSpace(n_features=n_features)
        fitted = fit_clone(aligner, self._pair(needs_pairs=aligner.needs_pairs))
        means = None
        if name == GR_CLIP:
            means = Sides(*(_mean(self.queries.part(side, ~self.mine)[0]) for side in MODALITIES))
        return MixedSpace(fitted, n_features=n_features, query_means=means)

    def _pair(self, *, needs_pairs: bool) -> EmbeddingPair:
        """Return what an aligner is fitted to: documents, and queries where they have no such."""
        images, texts = (self.documents.part(side, self.free) for side in MODALITIES)
        if needs_pairs:
            both = np.intersect1d(images[1], texts[1])
            sides = [rows[np.isin(of, both)] for rows, of in (images, texts)]
            return EmbeddingPair(sides[0], sides[1])
        found = [
            rows if len(rows) > 1 else self.queries.part(side, ~self.mine)[0]
            for side, (rows, _) in zip(MODALITIES, (images, texts), strict=True)
        ]
        return EmbeddingPair(found[0], found[1], paired=False)

    def _sample(
        self, space: MixedSpace, side: Modality, rows: Mapping[Modality, Array]
    ) -> Array | None:
        """Return sample queries: those of the other parts, else documents."""
        found = self.queries.part(side, ~self.mine)[0]
        return space.align_queries(found, side) if len(found) > 1 else self._free(side, rows)

    def _known(self) -> dict[tuple[Modality, Modality], Array]:
        """Return what is relevant to the queries of the other parts: numbers within the samples."""
        query, document = self.relevant.T
        known = {}
        for asking in MODALITIES:
            asked = self.queries.part(asking, ~self.mine)[1]
            for found in MODALITIES:
                there = self.documents.part(found, self.free)[1]
                both = np.isin(query, asked) & np.isin(document, there)
                if len(asked) > 1 and both.any():
                    known[asking, found] = np.column_stack(
                        [
                            np.searchsorted(asked, query[both]),
                            np.searchsorted(there, document[both]),
                        ]
                    )
        return known

    def _free(self, side: Modality, rows: Mapping[Modality, Array]) -> Array | None:
        if side not in rows:
            return None
        found = rows[side][self.free[self.documents.of[side]]]
        return found if len(found) > 1 else None

    def _blocks(
        self,
        space: MixedSpace,
        rows: Mapping[Modality, Array],
        equal: Mapping[Modality, tuple[Array, Array]],
        calibration: Calibration | None,
    ) -> Iterator[tuple[Array, Array]]:
        """Yield (numbers of queries, their scores with all documents): means over the halves."""
        n_documents, numbers = len(self.documents.kinds), np.flatnonzero(self.mine)
        step = max(16, _BLOCK_SCORES // n_documents)
        for at in range(0, len(numbers), step):
            block = numbers[at : at + step]
            chosen = np.zeros(len(self.mine), dtype=bool)
            chosen[block] = True
            total, halves = np.zeros((len(block), n_documents)), np.zeros((len(block), n_documents))
            for query in self.queries.rows:
                given, of = self.queries.part(query, chosen)
                if not len(given):
                    continue
                asked = space.align_queries(given, query)
                for document, side in rows.items():
                    scores = asked @ side.T
                    copy, first = equal[document]
                    scores[:, copy] = scores[:, first]
                    if calibration is not None:
                        scores = calibration.calibrate(
                            scores, query=query, document=document, documents=side
                        )
                    place = np.ix_(np.searchsorted(block, of), self.documents.of[document])
                    total[place] += scores
                    halves[place] += 1
            yield block, total / halves

    def _fused(self, scores: Array, fusion: Any) -> Array:
        """Return the scores of one search for each kind of document, merged."""
        kinds = self.documents.kinds
        lists = [kinds == kind for kind in np.unique(kinds)]
        out = np.empty_like(scores)
        for chosen, values in zip(lists, fusion([scores[:, one] for one in lists]), strict=True):
            out[:, chosen] = values
        return out


def _mean(rows: Array) -> Array | None:
    if not len(rows):
        return None
    wide = rows.astype(np.float64)
    return np.asarray((wide / np.linalg.norm(wide, axis=1, keepdims=True)).mean(axis=0))
