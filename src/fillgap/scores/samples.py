"""Two modalities that ask and two that are found: rows of both, and their scores in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import (
    InputError,
    InputTypeError,
    as_array,
    check_choice,
    check_matrix,
    unit_rows,
)
from fillgap.rows import BLOCK_ROWS, iter_blocks

__all__ = [
    "ITSELF",
    "MODALITIES",
    "Modality",
    "Relevant",
    "Sides",
    "check_documents",
    "check_modality",
    "check_relevant",
    "check_samples",
    "more_queries",
    "others",
    "score_blocks",
]

Array: TypeAlias = NDArray[Any]
Modality = Literal["image", "text"]
MODALITIES: Final[tuple[Modality, Modality]] = ("image", "text")
#: From (query modality, document modality) to rows (number of the query, number of the document).
Relevant: TypeAlias = Mapping[tuple[Modality, Modality], Any]

#: A document of the query's own modality at least this similar is the query itself, or a copy.
ITSELF: Final = 1 - 1e-5
#: Bytes that a block of scores may take.
_BLOCK_BYTES: Final = 32 * 2**20


class Sides(NamedTuple):
    """Rows of the two modalities in one space; a side that is None is not there.

    Attributes
    ----------
    images, texts : array of shape (n, n_components), `RowSource` or None
        Aligned embeddings. Rows need not be normalised.
    """

    images: Any | None = None
    texts: Any | None = None

    def of(self, modality: Modality) -> Any | None:
        """Return the rows of one modality."""
        return self.images if modality == "image" else self.texts


def check_modality(value: object) -> Modality:
    """Return `value` if it is a modality."""
    return cast("Modality", check_choice(value, "the modality", MODALITIES))


def check_relevant(relevant: object) -> None:
    """Refuse what is no mapping from pairs of modalities."""
    if not isinstance(relevant, Mapping):
        raise InputTypeError(
            f"relevant must be a mapping, got {type(relevant).__name__}. "
            "Its keys are (query modality, document modality)."
        )
    for key in relevant:
        if not (isinstance(key, tuple) and len(key) == 2 and set(key) <= set(MODALITIES)):
            raise InputError(
                "a key of relevant must be (query modality, document modality), got "
                f"{key!r}. Both are 'image' or 'text'."
            )


def check_documents(documents: Any) -> None:
    """Refuse rows that are zero or not finite in the fit, not when the calibration is asked."""
    for start, block in iter_blocks(documents, "documents"):
        unit_rows(block, "documents", first_row=start)


def score_blocks(
    Q: Array, documents: Any, *, same: bool
) -> Iterator[tuple[int, Array, Array, Array]]:
    """Yield (first row, block, scores, allowed) over the documents in blocks.

    Parameters
    ----------
    Q : array of shape (n_queries, n_components)
        Unit rows.
    documents : array or RowSource
    same : bool
        Whether both are of one modality: a document equal to a query is then not allowed.

    Yields
    ------
    tuple
        Number of the first document, the unit rows, the scores (n_queries, n_block), and which of
        them are no copy of the query.
    """
    rows = min(BLOCK_ROWS, max(16, _BLOCK_BYTES // (8 * len(Q))))
    for start, raw in iter_blocks(documents, "documents", rows):
        block = np.asarray(unit_rows(raw, "documents", first_row=start))
        scores = Q @ block.T
        yield start, block, scores, others(scores, same=same)


def others(cosines: Array, *, same: bool) -> NDArray[np.bool_]:
    """Return which documents are no copy of the query; all, unless both are of one modality."""
    return cosines < ITSELF if same else np.ones(cosines.shape, dtype=bool)


def check_samples(
    queries: Sides, documents: Sides, n_features: int | None
) -> tuple[Sides, Sides, int]:
    """Return both as sides of one dimension, the queries as unit rows in memory, and it."""
    found: list[Sides] = []
    for what, sides in (("queries", queries), ("documents", documents)):
        if not isinstance(sides, tuple) or len(sides) != 2:
            raise InputTypeError(
                f"{what} must be Sides(images, texts), got {type(sides).__name__}. "
                "Pass None for a modality that is not there."
            )
        if sides[0] is None and sides[1] is None:
            raise InputError(
                f"{what} must be of at least one modality, got none. Pass images, texts or both."
            )
        found.append(Sides(*(_matrix(side, what) for side in sides)))
    dimensions = {side.shape[1] for sides in found for side in sides if side is not None}
    if n_features is not None:
        dimensions.add(n_features)
    if len(dimensions) > 1:
        listed = " and ".join(map(str, sorted(dimensions)))
        raise InputError(
            f"queries and documents must be of one dimension, got {listed}. "
            "Align both with one aligner."
        )
    units = (None if side is None else np.asarray(unit_rows(side, "queries")) for side in found[0])
    return Sides(*units), found[1], int(dimensions.pop())


def more_queries(
    before: Sides, relevant_before: Relevant, queries: Sides, relevant: Relevant
) -> tuple[Sides, dict[tuple[Modality, Modality], Any]]:
    """Return two samples of queries as one, and what is relevant to them, of the same documents."""
    pairs: dict[tuple[Modality, Modality], Any] = dict(relevant_before)
    for key, rows in relevant.items():
        earlier = before.of(key[0])
        start = 0 if earlier is None else len(earlier)
        later = as_array(rows, "relevant pairs")
        if later.dtype.kind not in "iu" or later.shape[1:] != (2,) or later.min(initial=0) < 0:
            pairs[key] = later  # as it is, and refused as it is
            continue
        later = later.astype(np.int64) + np.array([start, 0])
        pairs[key] = np.concatenate([pairs[key], later]) if key in pairs else later
    sides = []
    for known, new in zip(before, queries, strict=True):
        given = [side for side in (known, new) if side is not None]
        sides.append(np.concatenate(given) if given else None)
    return Sides(*sides), pairs


def _matrix(side: Any, what: str) -> Any:
    if side is None or hasattr(side, "iter_blocks"):
        return (
            side
            if what == "documents" or side is None
            else np.concatenate([block for _, block in iter_blocks(side, what)])
        )
    return check_matrix(side, what, min_rows=2)
