"""The leaderboard of mixed search on queries, documents and judgements of a user.

This is MixBench's protocol: documents that are an image, a text or both in one list, with the
standard NDCG, whose ideal list holds all relevant documents, found or not. Nothing is fitted to
what it is judged by: the queries are dealt into parts, and for each part everything is fitted to
the queries of the other parts and to the documents that are not relevant to any query of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, check_integer, check_random_state
from fillgap._progress import Progress, silent
from fillgap.aligners import Aligner, make_aligner
from fillgap.datasets import Judged
from fillgap.evaluation.leaderboard import EXPOSURE, Leaderboard
from fillgap.evaluation.scored import ndcg_of_lists, ranks_among
from fillgap.evaluation.tally import Combination, Tally
from fillgap.experiments.bench_mixed import ALIGNERS, calibrations_to_bench
from fillgap.experiments.judged_embeddings import EmbeddedItems
from fillgap.experiments.judged_split import GR_CLIP, JudgedSplit
from fillgap.scores import Calibration

__all__ = ["bench_judged"]

Array = NDArray[Any]
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
    """Judge all combinations on the judgements of a folder.

    Parameters
    ----------
    judged : Judged
    queries, documents : EmbeddedItems
        Their embeddings, of one model.
    aligners : sequence of str, optional
        Left out: `gr-clip` and `ALIGNERS`. Raw embeddings are always among them.
    calibrations : mapping from name to Calibration, optional
        Left out: `calibrations_to_bench()`.
    n_splits : int
        Parts that the queries are dealt into, at least 2.
    n_resamples, random_state
        Of the bootstrap over queries, and seed of everything.
    progress : callable, optional
        Called as progress(fits done, fits in all, aligner).

    Raises
    ------
    InputError
        If dimensions differ, one of the two modalities is missing, or too few queries are judged.
    """
    _check(queries, documents)
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
    named |= {name: _aligner(name) for name in aligners or (GR_CLIP, *ALIGNERS)}
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


def _aligner(name: str) -> Aligner:
    return make_aligner("mean-centering" if name == GR_CLIP else name)


def _check(queries: EmbeddedItems, documents: EmbeddedItems) -> None:
    sizes = {rows.shape[1] for items in (queries, documents) for rows in items.rows.values()}
    if len(sizes) > 1:
        listed = " and ".join(map(str, sorted(sizes)))
        raise InputError(
            f"queries and documents must be of one dimension, got {listed}. Embed all of them with "
            "one model."
        )
    there = {side for items in (queries, documents) for side in items.rows}
    if len(there) < 2:
        raise InputError(
            f"queries and documents must be of two modalities between them, got {there.pop()}s "
            "alone. There is no gap in such a search."
        )


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
