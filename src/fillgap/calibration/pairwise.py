"""Calibrations with one map for each (query modality, document modality), and what they sum."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
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
from fillgap.runtime import Progress, silent

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


@dataclass(kw_only=True, eq=False, repr=False)
class PairwiseCalibration(Calibration):
    """Base of calibrations that look only at the score and at the two modalities.

    The map of a score rises. `after` is a calibration that is fitted and applied first, such as
    `NNN`: the map is then one of the corrected scores. Two maps that fold make one that folds.
    What one score is corrected to depends on all queries, so that `partial_fit` keeps them in
    memory then, and asks all of them of the documents that it is given.
    """

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


#: Which scores of the sample queries a calibration looks at.
ON = ("pseudo-positives", "all")


@dataclass(kw_only=True, eq=False, repr=False)
class ZScore(PairwiseCalibration):
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

    def _check_parameters(self) -> None:
        check_choice(self.on, "on", ON)

    @property
    def _wants_best(self) -> bool:
        return self.on == "pseudo-positives"

    def _add_block(self, sample: Sample, block: Block) -> None:
        if self.on == "all":
            self._merge((sample.query, sample.document), block.values)

    def _add_best(self, sample: Sample, best: Array) -> None:
        self._merge((sample.query, sample.document), best)

    def _merge(self, key: tuple[Modality, Modality], values: Array) -> None:
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


#: What came of a calibration.
_Fitted: TypeAlias = Calibration | Exception


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
    done: dict[Hashable, _Fitted] = {}
    levels: dict[int, dict[Hashable, Calibration]] = {}
    for calibration in calibrations.values():
        for depth, part in enumerate(reversed(list(_chain(calibration)))):
            levels.setdefault(depth, {}).setdefault(_key(part), part)
    for depth in sorted(levels):
        groups: dict[Hashable, dict[Hashable, PairwiseCalibration]] = {}
        for key, part in levels[depth].items():
            if key in done:
                continue
            if isinstance(part, PairwiseCalibration) and _is_shared(part):
                after = None if part.after is None else _key(part.after)
                groups.setdefault(after, {})[key] = clone(part)
            else:
                done[key] = _alone(part, queries, documents, relevant)
        for after, members in groups.items():
            first = None if after is None else done[after]
            done |= _fit_group(members, first, queries, documents, relevant or {})
    return {name: done[_key(calibration)] for name, calibration in calibrations.items()}


def _chain(calibration: Calibration) -> Iterator[Calibration]:
    """Yield a calibration, what it is applied after, and so on."""
    yield calibration
    if isinstance(calibration, PairwiseCalibration) and _is_shared(calibration):
        yield from () if calibration.after is None else _chain(calibration.after)


def _is_shared(calibration: PairwiseCalibration) -> bool:
    """Return whether it is fitted as all are: a class with a fit of its own is left to it."""
    own = type(calibration)
    return (
        own.fit is Calibration.fit
        and own._learn is PairwiseCalibration._learn
        and isinstance(calibration.after, Calibration | None)
    )


def _key(calibration: Calibration) -> Hashable:
    """Return what is equal for calibrations of one kind with equal parameters."""
    found: list[Any] = [type(calibration)]
    for name, value in sorted(calibration.get_params(deep=False).items()):
        found.append((name, _key(value) if isinstance(value, Calibration) else value))
    try:
        hash(tuple(found))
    except TypeError:
        return id(calibration)
    return tuple(found)


def _alone(
    calibration: Calibration, queries: Sides, documents: Sides, relevant: Relevant | None
) -> _Fitted:
    try:
        return clone(calibration).fit(queries, documents, relevant=relevant)
    except CANNOT_RUN as error:
        return error


def _fit_group(
    members: dict[Hashable, PairwiseCalibration],
    first: _Fitted | None,
    queries: Sides,
    documents: Sides,
    relevant: Relevant,
) -> dict[Hashable, _Fitted]:
    """Fit calibrations that are applied after the same one, which is fitted."""
    if isinstance(first, Exception):
        return dict.fromkeys(members, first)
    done: dict[Hashable, _Fitted] = {}
    try:
        queries, documents, n_features = check_samples(queries, documents, None)
    except InputError as refused:
        return dict.fromkeys(members, refused)
    for key, member in members.items():
        if first is not None:
            member.after_ = first
        if (error := _raised(member._begin, n_features, relevant)) is not None:
            done[key] = error
    for sample in samples_of(queries, documents, relevant, first, silent):
        streamed: dict[Hashable, PairwiseCalibration] = {}
        for key, member in members.items():
            if key in done:
                continue
            in_stream = type(member)._add is PairwiseCalibration._add
            error = _raised(member._check if in_stream else member._add, sample)
            if error is not None:
                done[key] = error
            elif in_stream:
                streamed[key] = member
        error = _raised(add_to_all, list(streamed.values()), sample) if streamed else None
        done |= dict.fromkeys(streamed, error) if error is not None else {}
    for key, member in members.items():
        if key not in done:
            done[key] = _raised(member._solve) or member
    return done


def _raised(function: Any, *arguments: Any) -> Exception | None:
    try:
        function(*arguments)
    except CANNOT_RUN as error:
        return error
    return None
