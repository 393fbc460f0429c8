"""Calibrations with one map for each (query modality, document modality), and what they sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from fillgap._checks import InputError, InputTypeError
from fillgap._progress import Progress
from fillgap.scores.base import Calibration
from fillgap.scores.samples import (
    MODALITIES,
    Modality,
    Relevant,
    Sides,
    more_queries,
    score_blocks,
)

__all__ = ["Block", "PairwiseCalibration", "Sample", "add_to_all", "samples_of"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Sample:
    """Sample queries of one modality, asked of documents of one modality.

    Attributes
    ----------
    query, document : {"image", "text"}
    queries : array of shape (n_queries, n_components)
        Unit rows.
    documents : array or RowSource
    relevant : array of int of shape (n_pairs, 2) or None
        Numbers of queries and of documents.
    first : Calibration or None
        Applied to every score, fitted.
    progress : callable
    """

    query: Modality
    document: Modality
    queries: Array
    documents: Any
    relevant: Any | None
    first: Calibration | None
    progress: Progress

    def blocks(self) -> Iterator[Block]:
        """Yield the scores with the documents, some documents at a time."""
        total = int(self.documents.shape[0])
        what = f"{self.query} queries, {self.document} documents"
        same = self.query == self.document
        for start, block, cosines, allowed in score_blocks(self.queries, self.documents, same=same):
            yield Block(start, self._through_first(cosines, block), allowed, everything=not same)
            self.progress(start + len(block), total, what)

    def _through_first(self, cosines: Array, documents: Array) -> Array:
        if self.first is None:
            return cosines
        return self.first.calibrate(
            cosines, query=self.query, document=self.document, documents=documents
        )


@dataclass(frozen=True, eq=False)
class Block:
    """The scores of sample queries with some of the documents.

    Attributes
    ----------
    first_row : int
        Number of the first of these documents.
    scores : array of shape (n_queries, n_block)
    allowed : array of bool of shape (n_queries, n_block)
        Which documents are no copy of the query.
    everything : bool
        Whether all are allowed.
    """

    first_row: int
    scores: Array
    allowed: Array
    everything: bool

    @cached_property
    def values(self) -> Array:
        """The scores that are allowed, one after the other."""
        return self.scores.ravel() if self.everything else self.scores[self.allowed]

    def best(self) -> Array:
        """Return the best score of each query, -inf where none is allowed."""
        inside = self.scores if self.everything else np.where(self.allowed, self.scores, -np.inf)
        return np.asarray(inside.max(axis=1))


class PairwiseCalibration(Calibration):
    """Base of calibrations that look only at the score and at the two modalities.

    The map of a score rises. `after` is a calibration that is fitted and applied first, such as
    `NNN`: the map is then one of the corrected scores. Two maps that fold make one that folds.
    What one score is corrected to depends on all queries, so that `partial_fit` keeps them in
    memory then, and asks all of them of the documents that it is given.
    """

    after: Calibration | None
    after_: Calibration
    asked_: tuple[Sides, Relevant]

    @property
    def folds(self) -> bool:  # type: ignore[override]
        """Whether the map is affine in the score."""
        return self._affine and (self.after is None or bool(self.after.folds))

    @property
    def needs_documents(self) -> bool:  # type: ignore[override]
        """Whether the map that is applied first looks at the documents."""
        return self.after is not None and self.after.needs_documents

    @property
    def reads_list(self) -> bool:  # type: ignore[override]
        """Whether the map that is applied first looks at the other documents."""
        return self.after is not None and self.after.reads_list

    @property
    def _affine(self) -> bool:
        return True

    def rest(self) -> Self:
        """Return the map of scores that the calibration applied first has corrected."""
        rest = copy(self)
        rest.after = None
        return rest

    def _learn(
        self, queries: Sides, documents: Sides, relevant: Relevant, progress: Progress
    ) -> None:
        first = None
        if self.after is not None:
            queries, relevant = self._with_earlier(queries, relevant)
            first = self._fit_first(queries, documents, relevant)
            self.sums_.clear()  # they are of scores that the first map does not give any more
        for sample in samples_of(queries, documents, relevant, first, progress):
            self._add(sample)
        self._solve()
        if self.after is not None:
            self.asked_ = queries, relevant

    def _with_earlier(self, queries: Sides, relevant: Relevant) -> tuple[Sides, Relevant]:
        """Return the queries of earlier fits and these, and what is relevant to them."""
        if not hasattr(self, "after_"):
            return queries, relevant
        if not hasattr(self, "asked_"):
            raise InputError(
                f"{type(self).__name__} must be fitted alone to go on, got one that was fitted "
                "together with others. Fit it anew with all queries."
            )
        return more_queries(*self.asked_, queries, relevant)

    def _fit_first(self, queries: Sides, documents: Sides, relevant: Relevant) -> Calibration:
        if not isinstance(self.after, Calibration):
            raise InputTypeError(
                f"after must be a calibration or None, got {self.after!r}. Pass for example NNN()."
            )
        self.after_ = clone(self.after).fit(queries, documents, relevant=relevant)
        return self.after_

    def _add(self, sample: Sample) -> None:
        """Add the scores of a sample to `sums_`."""
        self._check(sample)
        add_to_all([self], sample)

    def _check(self, sample: Sample) -> None:
        """Refuse parameters or a sample that make no sense."""

    @property
    def _wants_best(self) -> bool:
        """Whether `_add_best` is to be called."""
        return False

    def _add_block(self, sample: Sample, block: Block) -> None:
        """Add the scores of a sample with some documents to `sums_`."""

    def _add_best(self, sample: Sample, best: Array) -> None:
        """Add the best score of each query of a sample, of those that have one, to `sums_`."""

    def _solve(self) -> None:
        """Set `fitted_` from `sums_`."""
        raise NotImplementedError

    def _slope_and_offset(self, query: Modality, document: Modality) -> tuple[float, float]:
        """Return the affine map of one pair of modalities."""
        raise NotImplementedError

    def _map(self, scores: Array, query: Modality, document: Modality) -> Array:
        """Return the map of scores as the first map left them."""
        a, b = self._slope_and_offset(query, document)
        return a * scores + b

    def _calibrate(
        self, scores: Array, query: Modality, document: Modality, documents: Any | None
    ) -> Array:
        self._check_fitted()
        if self.after is not None:
            scores = self.after_.calibrate(
                scores, query=query, document=document, documents=documents
            )
        return self._map(scores, query, document)

    def _coefficients(
        self, documents: Any, document: Modality, query: Modality
    ) -> tuple[Array, Array]:
        a, b = self._slope_and_offset(query, document)
        if self.after is not None:
            first_a, first_b = self.after_.coefficients(documents, document=document, query=query)
            return a * first_a, a * first_b + b
        n = documents.shape[0]
        return np.full(n, a), np.full(n, b)


def samples_of(
    queries: Sides,
    documents: Sides,
    relevant: Relevant,
    first: Calibration | None,
    progress: Progress,
) -> Iterator[Sample]:
    """Yield the sample of every two modalities that are there."""
    for query in MODALITIES:
        for document in MODALITIES:
            Q, D = queries.of(query), documents.of(document)
            if Q is not None and D is not None:
                pairs = relevant.get((query, document))
                yield Sample(query, document, Q, D, pairs, first, progress)


def add_to_all(calibrations: Sequence[PairwiseCalibration], sample: Sample) -> None:
    """Add the scores of a sample to several calibrations in one pass over them."""
    wanting = [one for one in calibrations if one._wants_best]
    best = np.full(len(sample.queries), -np.inf)
    for block in sample.blocks():
        for one in calibrations:
            one._add_block(sample, block)
        if wanting:
            np.maximum(best, block.best(), out=best)
    for one in wanting:
        one._add_best(sample, best[np.isfinite(best)])
