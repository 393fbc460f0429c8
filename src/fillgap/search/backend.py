"""What the engine behind an index does: keep vectors by field, and find the largest products."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from fillgap.errors import InputError

#: What a document may be.
Kind = Literal["image", "text", "image+text"]
MODALITIES: tuple[Kind, ...] = get_args(Kind)

Vectors = NDArray[np.float32]

#: An engine that cannot add two products is asked for lists this many times longer.
_LONGER = 10


class Batch(NamedTuple):
    """Documents of one modality on their way into an engine."""

    modality: Kind
    ids: list[str]  # distinct
    payloads: list[str]  # JSON
    vectors: Mapping[str, Vectors]  # every field of the index, one row a document


class Term(NamedTuple):
    """Queries against one field: a score is the sum of the products of all terms."""

    field: str
    queries: Vectors


class Found(NamedTuple):
    """A document that an engine returns; `vectors` by field, where they were asked for."""

    id: str
    modality: str
    payload: str
    score: float
    vectors: Mapping[str, Vectors]


class Backend:
    """An engine: documents are added, replaced by id, found, fetched and deleted.

    It is opened as `Engine(folder, fields, create=..., **options)`: `fields` are dimensions by
    name, `create` says whether it is made or must exist; `exact=True` leaves graphs aside.
    """

    #: Options that an index must keep beyond those given.
    kept_options: Mapping[str, Any] = {}

    def __init__(self, fields: Mapping[str, int], *, exact: bool) -> None:
        self._fields, self._exact = dict(fields), exact

    def add(self, batch: Batch) -> None:
        """Keep a batch, whole or not at all; a document with a known id takes its place."""
        raise NotImplementedError

    def search(
        self,
        terms: Sequence[Term],
        k: int,
        modalities: Collection[str] | None,
        *,
        with_vectors: bool = False,
    ) -> list[list[Found]]:
        """Return the k best documents of each query, best first; all where there are fewer.

        An engine that searches one field at a time gives a longer list of each, with vectors; the
        union of the lists is scored exactly.
        """
        if len(terms) == 1:
            return self._nearest(terms[0], k, modalities, with_vectors)
        lists = [self._nearest(term, _LONGER * k + 100, modalities, True) for term in terms]
        best = []
        for i in range(len(terms[0].queries)):
            scored = []
            for found in {found.id: found for single in lists for found in single[i]}.values():
                score = sum(term.queries[i] @ found.vectors[term.field] for term in terms)
                scored.append(found._replace(score=float(score)))
            best.append(sorted(scored, key=lambda found: -found.score)[:k])
        return best

    def _nearest(
        self, term: Term, k: int, modalities: Collection[str] | None, with_vectors: bool
    ) -> list[list[Found]]:
        """Return the k best documents of each query by one field."""
        raise NotImplementedError

    def _extent(self, k: int) -> tuple[int, bool]:
        """Return how many to ask for, and whether exactly: long lists have no use for a graph."""
        total = self._total()
        limit = max(1, min(k, total))
        return limit, self._exact or 10 * limit > total

    def _total(self, modality: str | None = None) -> int:
        """Return the number of documents, or of those of one modality."""
        raise NotImplementedError

    def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Found]:
        """Return the documents of these ids that there are, in any order."""
        raise NotImplementedError

    def sample(self, modality: str, n: int) -> list[Found]:
        """Return at most n documents of one modality with their vectors, the same each time."""
        raise NotImplementedError

    def count(self) -> dict[str, int]:
        """Return the number of documents of each modality that occurs."""
        totals = {modality: self._total(modality) for modality in MODALITIES}
        return {modality: n for modality, n in totals.items() if n}

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and return how many there were."""
        known = [found.id for found in self.get(ids)]
        if known:
            self._remove(known)
        return len(known)

    def _remove(self, ids: Sequence[str]) -> None:
        """Remove documents that there are."""
        raise NotImplementedError

    def optimise(self) -> None:
        """Build or bring up to date what makes searches fast, after much was added."""

    def close(self) -> None:
        """Let go of files and connections."""

    def drop(self) -> None:
        """Remove what lies outside the folder of the index."""


@contextmanager
def told(*kinds: type[Exception]) -> Iterator[None]:
    """Say in one sentence what an engine says in errors of these kinds."""
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        raise InputError(
            "the vectors of the index must be whole, got "
            f"{str(error).partition(chr(10))[0][:200]}. Build the index again."
        ) from error
