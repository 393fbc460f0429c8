"""Mixed search judged by the judgements of a folder, each query by a fit that did not see it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap.aligners.base import Aligner
from fillgap.aligners.methods import make_aligner
from fillgap.bench.folders import EmbeddedItems
from fillgap.bench.mixed import ALIGNERS, calibrations_to_bench
from fillgap.calibration.base import MODALITIES, Calibration, Modality, Sides
from fillgap.calibration.pairwise import fit_together
from fillgap.datasets.judged import Judged
from fillgap.errors import CANNOT_RUN, InputError, check_integer, check_random_state
from fillgap.evaluation.combine import FUSIONS
from fillgap.evaluation.judge import fit_clone
from fillgap.evaluation.leaderboard import EXPOSURE, Combination, Leaderboard, Tally
from fillgap.evaluation.shortlists import ndcg_of_lists, ranks_among
from fillgap.kernel import copies
from fillgap.metrics.pool import Array
from fillgap.pair import EmbeddingPair
from fillgap.runtime import Progress, silent
from fillgap.space import MixedSpace

Mask = NDArray[np.bool_]

#: Mean centring with a mean of the queries' own, as that paper has it.
GR_CLIP: Final = "gr-clip"
#: Scores held at a time.
_BLOCK_SCORES: Final = 2**25


@dataclass(frozen=True, eq=False)
class JudgedSplit:
    """One part of the queries, and the documents that may be fitted to for it."""

    queries: EmbeddedItems
    documents: EmbeddedItems
    relevant: NDArray[np.intp]  # (n_pairs, 2): query and document of every judgement
    mine: Mask  # the queries that are judged
    free: Mask  # the documents that are relevant to none of them

    def judge(
        self,
        name: str,
        aligner: Aligner | None,
        calibrations: Mapping[str, Calibration | None],
        add: Callable[[Combination, Array, Array], None],
    ) -> dict[Combination, str]:
        """Fit one aligner, judge it with each calibration and fusion, and say what cannot run.

        Each is told by add(combination, numbers of queries, their scores with all documents).
        """
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
            means = Sides(*map(_mean_unit_row, map(self._other_queries, MODALITIES)))
        return MixedSpace(fitted, n_features=n_features, query_means=means)

    def _pair(self, *, needs_pairs: bool) -> EmbeddingPair:
        """Return what an aligner is fitted to: documents, and queries where they have no such."""
        images, texts = (self.documents.part(side, self.free) for side in MODALITIES)
        if needs_pairs:
            both = np.intersect1d(images[1], texts[1])
            sides = [rows[np.isin(of, both)] for rows, of in (images, texts)]
            return EmbeddingPair(sides[0], sides[1])
        found = [
            rows if len(rows) > 1 else self._other_queries(side)
            for side, (rows, _) in zip(MODALITIES, (images, texts), strict=True)
        ]
        return EmbeddingPair(found[0], found[1], paired=False)

    def _other_queries(self, side: Modality) -> Array:
        return self.queries.part(side, ~self.mine)[0]

    def _sample(
        self, space: MixedSpace, side: Modality, rows: Mapping[Modality, Array]
    ) -> Array | None:
        """Return sample queries: those of the other parts, else documents."""
        others = self._other_queries(side)
        return space.align_queries(others, side) if len(others) > 1 else self._free(side, rows)

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
                    asks = np.searchsorted(asked, query[both])
                    answers = np.searchsorted(there, document[both])
                    known[asking, found] = np.column_stack([asks, answers])
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


def _mean_unit_row(rows: Array) -> Array | None:
    if not len(rows):
        return None
    wide = rows.astype(np.float64)
    return np.asarray((wide / np.linalg.norm(wide, axis=1, keepdims=True)).mean(axis=0))


_K: Final = 10


def bench_judged(
    judged: Judged,
    queries: EmbeddedItems,
    documents: EmbeddedItems,
    *,
    aligners: Sequence[str] | None = None,
    calibrations: Mapping[str, Calibration | None] | None = None,
    n_splits: int = 4,
    n_resamples: int = 1000,
    random_state: int = 0,
    progress: Progress | None = None,
) -> Leaderboard:
    """Judge all combinations on the judgements of a folder; the items are embedded by one model.

    Without `aligners` these are `gr-clip` and `ALIGNERS`, without `calibrations`
    `calibrations_to_bench()`; raw embeddings are always among them. The queries are dealt into
    `n_splits` parts, and each part is judged by a fit that saw none of it.
    """
    sizes = {rows.shape[1] for items in (queries, documents) for rows in items.rows.values()}
    if len(sizes) > 1:
        listed = " and ".join(map(str, sorted(sizes)))
        raise InputError(
            f"queries and documents must be of one dimension, got {listed}. Embed all of them with "
            "one model."
        )
    there = {*queries.rows, *documents.rows}
    if len(there) < 2:
        raise InputError(
            f"queries and documents must be of two modalities between them, got {there.pop()}s "
            "alone. There is no gap in such a search."
        )
    of_query, of_document, _ = _columns(judged)
    pairs = np.column_stack([of_query, of_document])
    asked = np.unique(of_query)
    check_integer(n_splits, "n_splits", low=2)
    if len(asked) < 2 * n_splits:
        raise InputError(
            f"judged queries must be at least {2 * n_splits}, for {n_splits} parts, got "
            f"{len(asked)}. Use fewer parts (--splits), or more data."
        )
    part_of = _parts(judged, n_splits, random_state)
    named: dict[str, Aligner | None] = {"raw": None}
    for name in aligners or (GR_CLIP, *ALIGNERS):
        named[name] = make_aligner("mean-centering" if name == GR_CLIP else name)
    table, tally = _Table(judged, documents.kinds), Tally()
    scored = calibrations_to_bench() if calibrations is None else dict(calibrations)
    for part in range(n_splits):
        mine = part_of == part
        held_out = np.zeros(len(judged.documents), dtype=bool)
        held_out[of_document[mine[of_query]]] = True
        split = JudgedSplit(queries, documents, pairs, mine, ~held_out)
        tally.n_fit, tally.n_test = int((~mine).sum()), int(mine.sum())
        for place, (name, aligner) in enumerate(named.items()):
            (progress or silent)(part * len(named) + place, n_splits * len(named), name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                tally.failures |= split.judge(name, aligner, {"none": None, **scored}, table.add)
    kinds = ", ".join(f"{(documents.kinds == k).sum()} {k}" for k in np.unique(documents.kinds))
    return Leaderboard.from_values(
        judged.folder.name,
        table.without(tally.failures),
        tally,
        about=f"{len(asked)} judged queries, {len(documents.kinds)} documents ({kinds}). Each "
        f"query is judged by one of {n_splits} fits, which saw neither it nor what is relevant.",
        n_judged=len(asked),
        n_resamples=n_resamples,
        random_state=random_state,
    )


def _parts(judged: Judged, n_parts: int, random_state: int) -> NDArray[np.intp]:
    """Return the part of each query, -1 where nothing is relevant to it.

    Queries to which the same documents are relevant ask for one thing, and stay together.
    """
    wanted: dict[int, set[int]] = {}
    for query, document, _ in judged.relevant:
        wanted.setdefault(query, set()).add(document)
    groups: dict[frozenset[int], list[int]] = {}
    for query, documents in wanted.items():
        groups.setdefault(frozenset(documents), []).append(query)
    part_of = np.full(len(judged.queries), -1)
    order = check_random_state(random_state).permutation(len(groups))
    for place, members in zip(order, groups.values(), strict=True):
        part_of[members] = place % n_parts
    return part_of


def _columns(judged: Judged) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return the query, the document and the grade of each judgement."""
    queries, documents, grades = zip(*judged.relevant, strict=True)
    return np.array(queries), np.array(documents), np.array(grades, dtype=np.float64)


class _Table:
    """The values of all queries, filled in part by part."""

    def __init__(self, judged: Judged, kinds: Array) -> None:
        self.of_query, self.of_document, self.grades = _columns(judged)
        self.n = len(judged.queries)
        self.of_kind = {kind: kinds == kind for kind in np.unique(kinds)}
        self.values: dict[Combination, dict[str, Array]] = {}

    def add(self, what: Combination, rows: Array, scores: Array) -> None:
        """Add the queries in `rows`, whose scores with all documents are given."""
        found = self.values.setdefault(what, {})
        number = np.full(self.n, -1)
        number[rows] = np.arange(len(rows))
        mine = np.flatnonzero(number[self.of_query] >= 0)
        query, document = number[self.of_query[mine]], self.of_document[mine]
        ranks = ranks_among((scores,), query, scores[query, document])
        ndcg = ndcg_of_lists(ranks, query, len(rows), _K, self.grades[mine])
        self._put(found, f"mixed_ndcg_at_{_K}", rows, ndcg)
        best = min(_K, scores.shape[1])
        first = np.argpartition(-scores, best - 1, axis=1)[:, :best]
        for kind, of_kind in self.of_kind.items() if len(self.of_kind) > 1 else ():
            others = np.bincount(query, ~of_kind[document], minlength=len(rows)) > 0
            self._put(found, f"mixed_ndcg_at_{_K}.{kind}", rows, np.where(others, np.nan, ndcg))
            share = of_kind[first].mean(axis=1) / of_kind.mean()
            self._put(found, f"{EXPOSURE}{kind}", rows, share)

    def without(self, failures: Mapping[Combination, str]) -> dict[Combination, dict[str, Array]]:
        """Return the values of all others, by the measures that some query has."""
        raw = self.values[Combination()]
        seen = [name for name, values in raw.items() if np.isfinite(values).any()]
        return {
            what: {name: found[name] for name in seen}
            for what, found in self.values.items()
            if what not in failures
        }

    def _put(self, found: dict[str, Array], name: str, rows: Array, values: Array) -> None:
        found.setdefault(name, np.full(self.n, np.nan))[rows] = values
