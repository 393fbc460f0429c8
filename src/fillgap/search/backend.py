"""What the engine behind an index must do: keep vectors by field, and find the largest products."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

#: What a document may be.
Kind = Literal["image", "text", "image+text"]
MODALITIES: tuple[Kind, ...] = ("image", "text", "image+text")

Vectors = NDArray[np.float32]

#: An engine that cannot add two products is asked for lists this many times longer.
_LONGER = 10


@dataclass(frozen=True, eq=False)
class Batch:
    """Documents of one modality on their way into an engine.

    Attributes
    ----------
    modality : {"image", "text", "image+text"}
    ids : list of str
        Distinct.
    payloads : list of str
        JSON, one text a document.
    vectors : mapping from str to array of shape (n_documents, dimension)
        Every field of the index, float32.
    """

    modality: Kind
    ids: list[str]
    payloads: list[str]
    vectors: Mapping[str, Vectors]


class Term(NamedTuple):
    """Queries against one field: a score is the sum of the products of all terms."""

    field: str
    queries: Vectors


@dataclass(frozen=True, eq=False)
class Found:
    """A document that an engine returns; `vectors` by field, where they were asked for."""

    id: str
    modality: str
    payload: str
    score: float
    vectors: Mapping[str, Vectors] = field(default_factory=dict)


class Backend(Protocol):
    """An engine. Documents are added, replaced by id, found, fetched and deleted.

    It is opened as `Engine(folder, fields, create=..., **options)`. Options that an index must keep
    beyond those given are in its attribute `kept_options`, where it has one.
    """

    def add(self, batch: Batch) -> None:
        """Keep a batch, whole or not at all; a document with a known id takes its place."""
        ...

    def search(
        self,
        terms: Sequence[Term],
        k: int,
        modalities: Collection[str] | None,
        *,
        with_vectors: bool = False,
    ) -> list[list[Found]]:
        """Return the k best documents of each query, best first; all where there are fewer."""
        ...

    def get(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Found]:
        """Return the documents of these ids that there are, in any order."""
        ...

    def sample(self, modality: str, n: int) -> list[Found]:
        """Return at most n documents of one modality with their vectors, the same each time."""
        ...

    def count(self) -> dict[str, int]:
        """Return the number of documents of each modality that occurs."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Remove documents, and return how many there were."""
        ...

    def optimise(self) -> None:
        """Build or bring up to date what makes searches fast, after much was added."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...

    def drop(self) -> None:
        """Remove what lies outside the folder of the index."""
        ...


class ListEngine:
    """Base of engines that give a list for one field at a time and keep all in their folder.

    Parameters
    ----------
    exact : bool
        Whether graphs are left aside in a search.
    """

    def __init__(self, *, exact: bool) -> None:
        self._exact = exact

    def search(
        self,
        terms: Sequence[Term],
        k: int,
        modalities: Collection[str] | None,
        *,
        with_vectors: bool = False,
    ) -> list[list[Found]]:
        """Return the k best documents of each query."""
        search_one = partial(self._lists, modalities)
        return search_by_lists(search_one, terms, k, with_vectors=with_vectors)

    def drop(self) -> None:
        """Do nothing: all there is lies in the folder."""

    def _lists(
        self, modalities: Collection[str] | None, term: Term, k: int, with_vectors: bool
    ) -> list[list[Found]]:
        """Return the k best documents of each query by one field."""
        raise NotImplementedError

    def _extent(self, k: int, total: int) -> tuple[int, bool]:
        """Return how many to ask for, and whether exactly: long lists have no use for a graph."""
        limit = max(1, min(k, total))
        return limit, self._exact or 10 * limit > total


def search_by_lists(
    search_one: Callable[[Term, int, bool], list[list[Found]]],
    terms: Sequence[Term],
    k: int,
    *,
    with_vectors: bool,
) -> list[list[Found]]:
    """Add the products of several terms for an engine that searches one field at a time.

    Each field gives a longer list with vectors; the union of the lists is scored exactly.

    Parameters
    ----------
    search_one : callable
        (term, k, with vectors) to the k best documents of each query.
    terms : sequence of Term
    k : int
        Documents to return for each query.
    """
    if len(terms) == 1:
        return search_one(terms[0], k, with_vectors)
    lists = [search_one(term, _LONGER * k + 100, True) for term in terms]
    return [
        sum_terms([found[i] for found in lists], [(t.field, t.queries[i]) for t in terms])[:k]
        for i in range(len(terms[0].queries))
    ]


def sum_terms(lists: Sequence[list[Found]], query: Sequence[tuple[str, Any]]) -> list[Found]:
    """Return the union of lists for one query, scored by the sum of its terms, best first."""
    union = {found.id: found for found in (one for single in lists for one in single)}
    scored = [
        Found(
            found.id,
            found.modality,
            found.payload,
            float(sum(vector @ found.vectors[name] for name, vector in query)),
            found.vectors,
        )
        for found in union.values()
    ]
    return sorted(scored, key=lambda found: -found.score)
