"""The similarity kernel: one blocked pass of queries over a pool of two modalities.

A block holds the cosines of a few query rows with every item. In NumPy each of its rows is folded
into maxima over groups of items, the k-th largest of which is a lower bound of the k-th largest
cosine. So the few items that reach that bound hold the k nearest, and no block is ever partitioned.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import check_integer
from fillgap._progress import Progress, silent
from fillgap._threads import map_blocks, n_threads

__all__ = ["MEMORY_BYTES", "N_OWN", "Question", "Scores", "answer", "block_rows", "level_within"]

Array = NDArray[Any]

#: Bytes that the similarities of one block may take.
MEMORY_BYTES = 64 * 2**20
#: Neighbours within the own modality that a scan keeps.
N_OWN = 10
#: Cosines that differ by no more are level: in double precision much less than any difference that
#: means something, and more than rounding. In single precision these two are not apart.
_LEVEL: Final = {"float32": 0.0, "float64": 2.0**-44}


@dataclass(frozen=True, eq=False)
class Scores:
    """What the pool says about the queries; arrays have one row for each query or each pair.

    Attributes
    ----------
    nearest_same, nearest_other : array of shape (n_queries,)
        Largest cosine with an item of the query's own modality, and of the other one.
    above, level : array of int of shape (n_queries,)
        Items of the own modality above the best one of the other modality, and level with it.
    values, items : array of shape (n_queries, k)
        Cosines and numbers of the nearest items, best first. Those level with the last have its
        cosine.
    tied_same, tied_other : array of int of shape (n_queries,)
        Items of each modality level with the last of `values`, listed or not.
    own_items : array of int of shape (n_queries, k_own)
        Nearest items of the own modality, best first.
    pair_score : array of shape (n_pairs,)
        Cosine of a query with a relevant item.
    pair_above, pair_level : array of int of shape (n_pairs, 2)
        Items of the own and of the other modality above that cosine, and level with it.
    """

    nearest_same: Array
    nearest_other: Array
    above: Array
    level: Array
    values: Array
    items: Array
    tied_same: Array
    tied_other: Array
    own_items: Array
    pair_score: Array
    pair_above: Array
    pair_level: Array

    @classmethod
    def empty(cls, n_queries: int, n_pairs: int, k: int, k_own: int, dtype: Any) -> Scores:
        """Return arrays to be filled."""
        shapes: dict[str, tuple[int, ...]] = {
            "values": (n_queries, k),
            "items": (n_queries, k),
            "own_items": (n_queries, k_own),
            "pair_score": (n_pairs,),
            "pair_above": (n_pairs, 2),
            "pair_level": (n_pairs, 2),
        }
        cosines = {"nearest_same", "nearest_other", "values", "pair_score"}
        return cls(
            **{
                field.name: np.zeros(
                    shapes.get(field.name, (n_queries,)),
                    dtype if field.name in cosines else np.int32,
                )
                for field in fields(cls)
            }
        )

    def part(self, queries: slice, pairs: slice) -> Scores:
        """Return views of some queries and of their pairs."""
        return Scores(
            **{
                field.name: getattr(self, field.name)[
                    pairs if field.name.startswith("pair") else queries
                ]
                for field in fields(self)
            }
        )


@dataclass(frozen=True, eq=False)
class Question:
    """Which item each query leaves out, and which are relevant to it.

    Attributes
    ----------
    own : array of int of shape (n_queries,) or None
        The item of the own modality that is the query itself.
    start : array of int of shape (n_queries + 1,)
        Pairs start[i] to start[i + 1] belong to query i.
    item : array of int of shape (n_pairs,)
        Number of the relevant item: own modality first, then the other one.
    """

    own: Array | None
    start: Array
    item: Array

    def part(self, queries: slice) -> Question:
        """Return the same for some queries."""
        start = self.start[queries.start : queries.stop + 1]
        own = None if self.own is None else self.own[queries]
        return Question(own, start - start[0], self.item[start[0] : start[-1]])


def level_within(dtype: Any) -> float:
    """Return by how much cosines of a type may differ and be level."""
    return _LEVEL[str(dtype).rpartition(".")[2]]


def block_rows(n_items: int, itemsize: int, memory_bytes: int = MEMORY_BYTES) -> int:
    """Return how many rows a block of similarities within the budget has (at least 16)."""
    check_integer(memory_bytes, "memory_bytes", low=1)
    return max(16, memory_bytes // (n_items * itemsize))


def answer(
    queries: Any,
    same: Any,
    other: Any,
    question: Question,
    *,
    k: int,
    k_own: int,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress | None = None,
) -> Scores:
    """Scan the pool of `same` and `other` for every query.

    Parameters
    ----------
    queries, same, other : array of shape (n, n_features)
        Unit rows of one type: the queries, the items of their own modality, and those of the
        other one. PyTorch tensors are scanned where they lie.
    question : Question
        Which items are the queries themselves, and which are relevant.
    k, k_own : int
        Neighbours to keep in the whole pool, and within `same`; not more than there are.
    memory_bytes : int
        What the similarities of the blocks in work may take; a block has at least 16 rows.
    progress : callable, optional
        Called as progress(done, total, what) after each block.
    """
    n, report = int(queries.shape[0]), progress or silent
    in_numpy = isinstance(same, np.ndarray)
    dtype = same.dtype if in_numpy else np.dtype(str(same.dtype).rpartition(".")[2])
    rows = block_rows(len(same) + len(other), dtype.itemsize, memory_bytes)
    out = Scores.empty(n, len(question.item), k, k_own, dtype)
    pool: Any
    threads = n_threads() if in_numpy else 1
    if in_numpy:
        from fillgap._similarity_numpy import NumpyPool

        rows = max(16, min(rows, n) // threads)
        pool = NumpyPool(same, other, rows, k, k_own)
    else:
        from fillgap._similarity_torch import TorchPool

        rows = max(16, rows // 2)  # its comparisons and the sorted copy take as much again
        pool = TorchPool(same, other, k, k_own)

    def scan(at: int) -> int:
        part = slice(at, min(at + rows, n))
        pairs = slice(int(question.start[at]), int(question.start[part.stop]))
        pool.scan(queries[part], question.part(part), out.part(part, pairs))
        return part.stop

    for done in map_blocks(scan, range(0, n, rows), threads=threads if n > rows else 1):
        report(done, n, "comparing")
    return out
