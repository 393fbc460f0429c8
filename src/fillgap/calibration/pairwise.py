"""Calibrations with one map for each (query modality, document modality), and what they sum."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self, TypeGuard

import numpy as np
from sklearn.base import clone

from fillgap.calibration.base import (
    MODALITIES,
    Calibration,
    Modality,
    Relevant,
    Sides,
    check_samples,
    more_queries,
    score_blocks,
)
from fillgap.errors import CANNOT_RUN, InputError, InputTypeError, check_choice
from fillgap.linalg import Array
from fillgap.runtime import Progress, silent


@dataclass(frozen=True, eq=False)
class Sample:
    """Sample queries of one modality, asked of documents of one modality."""

    query: Modality
    document: Modality
    queries: Array  # unit rows
    documents: Any
    relevant: Any | None  # numbers of queries and of documents, (n_pairs, 2)
    first: Calibration | None  # fitted, and applied to every score
    progress: Progress

    def blocks(self) -> Iterator[Block]:
        """Yield the scores with the documents, some documents at a time."""
        query, document = self.query, self.document
        same = query == document
        for start, rows, scores, allowed in score_blocks(self.queries, self.documents, same=same):
            if self.first is not None:
                scores = self.first.calibrate(  # noqa: PLW2901
                    scores, query=query, document=document, documents=rows
                )
            yield Block(start, scores, allowed, everything=not same)
            what = f"{query} queries, {document} documents"
            self.progress(start + len(rows), int(self.documents.shape[0]), what)


@dataclass(frozen=True, eq=False)
class Block:
    """The scores of sample queries with some of the documents."""

    first_row: int  # number of the first of these documents
    scores: Array  # (n_queries, n_block)
    allowed: Array  # which documents are no copy of the query
    everything: bool  # whether all are allowed

    @cached_property
    def values(self) -> Array:
        """The scores that are allowed, one after the other."""
        return self.scores.ravel() if self.everything else self.scores[self.allowed]

    def best(self) -> Array:
        """Return the best score of each query, -inf where none is allowed."""
        inside = self.scores if self.everything else np.where(self.allowed, self.scores, -np.inf)
        return np.asarray(inside.max(axis=1))


@dataclass(kw_only=True, eq=False, repr=False)
class PairwiseCalibration(Calibration):
    """Base of calibrations that look only at the score and at the two modalities.

    The map of a score rises. `after` is a calibration that is fitted and applied first, such as
    `NNN`. What one score is corrected to depends on all queries then, so that `partial_fit` keeps
    them in memory, and asks all of them of the documents that it is given.
    """

    #: Whether `_add_block` and `_add_best` learn from the scores of the sample.
    reads_scores: ClassVar[bool] = True
    _affine: ClassVar[bool] = True

    after: Calibration | None = None

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
            if hasattr(self, "asked_"):
                queries, relevant = more_queries(*self.asked_, queries, relevant)
            elif hasattr(self, "after_"):
                raise InputError(
                    f"{type(self).__name__} must be fitted alone to go on, got one that was fitted "
                    "together with others. Fit it anew with all queries."
                )
            if not isinstance(self.after, Calibration):
                raise InputTypeError(
                    f"after must be a calibration or None, got {self.after!r}. "
                    "Pass for example NNN()."
                )
            first = self.after_ = clone(self.after).fit(queries, documents, relevant=relevant)
            self.sums_.clear()  # they are of scores that the first map does not give any more
        for sample in _samples(queries, documents, relevant, first, progress):
            self._check(sample)
            if self.reads_scores:
                _add_to_all([self], sample)
        self._solve()
        if self.after is not None:
            self.asked_: tuple[Sides, Relevant] = queries, relevant

    def _check(self, sample: Sample) -> None:
        """Refuse a sample that makes no sense."""

    @property
    def _wants_best(self) -> bool:
        return False

    def _add_block(self, sample: Sample, block: Block) -> None:
        """Add the scores of a sample with some documents to `sums_`."""

    def _add_best(self, sample: Sample, best: Array) -> None:
        """Add the best score of each query of a sample, of those that have one, to `sums_`."""

    def _solve(self) -> None:
        """Set `fitted_` from `sums_`."""
        raise NotImplementedError

    def _slope_and_offset(self, query: Modality, document: Modality) -> tuple[float, float]:
        raise NotImplementedError

    def _map(self, scores: Array, query: Modality, document: Modality) -> Array:
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


def _samples(
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


def _add_to_all(calibrations: Sequence[PairwiseCalibration], sample: Sample) -> None:
    """Add the scores of a sample to several calibrations in one pass over them."""
    wanting = [calibration for calibration in calibrations if calibration._wants_best]
    best = np.full(len(sample.queries), -np.inf)
    for block in sample.blocks():
        for calibration in calibrations:
            calibration._add_block(sample, block)
        if wanting:
            np.maximum(best, block.best(), out=best)
    for calibration in wanting:
        calibration._add_best(sample, best[np.isfinite(best)])


@dataclass(kw_only=True, eq=False, repr=False)
class ScoreCalibration(PairwiseCalibration):
    """Base of maps learnt from all scores of the sample queries, or from the best of each."""

    on: str = "all"

    def _check_parameters(self) -> None:
        check_choice(self.on, "on", ("pseudo-positives", "all"))

    @property
    def _wants_best(self) -> bool:
        return self.on == "pseudo-positives"

    def _add_block(self, sample: Sample, block: Block) -> None:
        if self.on == "all":
            self._add((sample.query, sample.document), block.values)

    def _add_best(self, sample: Sample, best: Array) -> None:
        self._add((sample.query, sample.document), best)

    def _add(self, key: tuple[Modality, Modality], values: Array) -> None:
        raise NotImplementedError


@dataclass(kw_only=True, eq=False, repr=False)
class ZScore(ScoreCalibration):
    """Subtract the mean and divide by the standard deviation: s' = (s − μ) / σ.

    Parameters
    ----------
    on : {"pseudo-positives", "all"}
        Over which scores of sample queries μ and σ are taken: the best score of each query only,
        which stands for the score of what is relevant, or all of its scores.
    after : Calibration, optional
        Applied first, for example `NNN()`.

    References
    ----------
    The best score in place of judgements: arXiv:2511.22141.

    Examples
    --------
    >>> import numpy as np
    >>> from fillgap.calibration import Sides
    >>> rng = np.random.default_rng(0)
    >>> rows = Sides(rng.normal(size=(50, 8)) + 1, rng.normal(size=(50, 8)) - 1)
    >>> z = ZScore(on="all").fit(rows, rows)
    >>> scores = np.array([[0.1, 0.2]])
    >>> z.calibrate(scores, query="text", document="image").shape
    (1, 2)
    """

    on: str = "pseudo-positives"

    def _add(self, key: tuple[Modality, Modality], values: Array) -> None:
        """Merge values into (count, mean, sum of squared deviations)."""
        if not len(values):
            return
        wide = values.astype(np.float64, copy=False)
        mean = float(wide.mean())
        n, before, scatter = self.sums_.get(key, (0, 0.0, 0.0))
        total, delta = n + len(wide), mean - before
        scatter += float(((wide - mean) ** 2).sum()) + delta**2 * n * len(wide) / total
        self.sums_[key] = (total, before + delta * len(wide) / total, scatter)

    def _solve(self) -> None:
        for (query, document), (count, mean, scatter) in self.sums_.items():
            spread = float(np.sqrt(scatter / count))
            if not spread > 1e-9:
                raise InputError(
                    f"scores of {query} queries with {document} documents must differ, got a "
                    f"standard deviation of {spread:.1g} over {count}. Use more sample queries."
                )
            self.fitted_[f"{query}.{document}.mean"] = np.array(mean)
            self.fitted_[f"{query}.{document}.deviation"] = np.array(spread)

    def _slope_and_offset(self, query: Modality, document: Modality) -> tuple[float, float]:
        mean = float(self._get(query, document, "mean"))
        spread = float(self._get(query, document, "deviation"))
        return 1 / spread, -mean / spread


def fit_together(
    calibrations: Mapping[str, Calibration],
    queries: Sides,
    documents: Sides,
    *,
    relevant: Relevant | None = None,
) -> dict[str, Calibration | Exception]:
    """Return clones of calibrations fitted to one sample, as `fit` would fit each.

    Scores are computed once for all that look at the same ones, and a calibration that several are
    applied after is fitted once: they share it, so that none of them should be fitted further.

    Parameters
    ----------
    calibrations : mapping from name to Calibration
    queries, documents, relevant
        As for `Calibration.fit`.

    Returns
    -------
    dict from name to Calibration or Exception
        What a fit raised because of the data stands in the place of its calibration.
    """
    if not isinstance(calibrations, Mapping):
        raise InputTypeError(
            f"calibrations must be a mapping from names, got {type(calibrations).__name__}. "
            "Pass for example {'nnn': NNN()}."
        )
    for name, calibration in calibrations.items():
        if not isinstance(calibration, Calibration):
            raise InputTypeError(
                f"calibrations must be calibrations by name, got {calibration!r} as {name!r}. "
                "Pass for example {'nnn': NNN()}."
            )
    parts: dict[Hashable, Calibration] = {}
    for calibration in calibrations.values():
        part: Calibration | None = calibration
        while part is not None:
            parts.setdefault(_key(part), part)
            part = part.after if _is_shared(part) else None
    done: dict[Hashable, Calibration | Exception] = {}
    while left := {key: part for key, part in parts.items() if key not in done}:
        groups: dict[Hashable, dict[Hashable, PairwiseCalibration]] = defaultdict(dict)
        for key, part in left.items():
            fresh = clone(part)
            if not _is_shared(part):
                done[key] = fresh
                _attempt(done, [key], fresh.fit, queries, documents, relevant=relevant)
            elif part.after is None or _key(part.after) in done:
                groups[None if part.after is None else _key(part.after)][key] = fresh
        for after, members in groups.items():
            first = None if after is None else done[after]
            if isinstance(first, Exception):
                done |= dict.fromkeys(members, first)
            else:
                done |= _fit_group(members, first, queries, documents, relevant or {})
    return {name: done[_key(calibration)] for name, calibration in calibrations.items()}


def _is_shared(calibration: Calibration) -> TypeGuard[PairwiseCalibration]:
    """Return whether it is fitted as all are: a class with a fit of its own is left to it."""
    own = type(calibration)
    return (
        isinstance(calibration, PairwiseCalibration)
        and own.fit is Calibration.fit
        and own._learn is PairwiseCalibration._learn
        and isinstance(calibration.after, Calibration | None)
    )


def _key(calibration: Calibration) -> Hashable:
    """Return what is equal for calibrations of one kind with equal parameters."""
    parts: list[Any] = [type(calibration)]
    for name, value in sorted(calibration.get_params(deep=False).items()):
        parts.append((name, _key(value) if isinstance(value, Calibration) else value))
    try:
        hash(tuple(parts))
    except TypeError:
        return id(calibration)
    return tuple(parts)


def _fit_group(
    members: dict[Hashable, PairwiseCalibration],
    first: Calibration | None,
    queries: Sides,
    documents: Sides,
    relevant: Relevant,
) -> dict[Hashable, Calibration | Exception]:
    """Fit calibrations that are applied after the same one, which is fitted."""
    failed: dict[Hashable, Any] = {}
    try:
        queries, documents, n_features = check_samples(queries, documents, None)
    except InputError as refused:
        return dict.fromkeys(members, refused)
    for key, member in members.items():
        if first is not None:
            member.after_ = first
        _attempt(failed, [key], member._begin, n_features, relevant)
    for sample in _samples(queries, documents, relevant, first, silent):
        for key, member in members.items():
            if key not in failed:
                _attempt(failed, [key], member._check, sample)
        left = {k: one for k, one in members.items() if one.reads_scores and k not in failed}
        if left:
            _attempt(failed, left, _add_to_all, list(left.values()), sample)
    for key, member in members.items():
        if key not in failed:
            _attempt(failed, [key], member._solve)
    return {**members, **failed}


def _attempt(
    failed: dict[Hashable, Any],
    keys: Iterable[Hashable],
    function: Callable[..., Any],
    *arguments: Any,
    **options: Any,
) -> None:
    """Call a function, and keep under these keys what it raises because of the data."""
    try:
        function(*arguments, **options)
    except CANNOT_RUN as error:
        failed |= dict.fromkeys(keys, error)
