"""Two modalities that ask and two that are found, and what all calibrations of them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from fillgap.errors import (
    InputError,
    InputTypeError,
    as_array,
    check_choice,
    check_matrix,
    unit_rows,
)
from fillgap.linalg import Array
from fillgap.pair import BLOCK_ROWS, iter_blocks
from fillgap.runtime import Progress, silent

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


def check_documents(documents: Any) -> None:
    """Refuse rows that are zero or not finite in the fit, not when the calibration is asked."""
    for start, block in iter_blocks(documents, "documents"):
        unit_rows(block, "documents", first_row=start)


def score_blocks(
    Q: Array, documents: Any, *, same: bool
) -> Iterator[tuple[int, Array, Array, Array]]:
    """Yield (first row, unit rows, scores, allowed) of the documents in blocks.

    `Q` are unit rows. Where both are of one modality (`same`), a document equal to a query is not
    allowed.
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
    checked: list[Sides] = []
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
        rows: list[Any] = []
        for side in sides:
            if side is None or (hasattr(side, "iter_blocks") and what == "documents"):
                rows.append(side)
            elif hasattr(side, "iter_blocks"):
                rows.append(np.concatenate([block for _, block in iter_blocks(side, what)]))
            else:
                rows.append(check_matrix(side, what, min_rows=2))
        checked.append(Sides(*rows))
    dimensions = {side.shape[1] for sides in checked for side in sides if side is not None}
    if n_features is not None:
        dimensions.add(n_features)
    if len(dimensions) > 1:
        listed = " and ".join(map(str, sorted(dimensions)))
        raise InputError(
            f"queries and documents must be of one dimension, got {listed}. "
            "Align both with one aligner."
        )
    units = (
        None if side is None else np.asarray(unit_rows(side, "queries")) for side in checked[0]
    )
    return Sides(*units), checked[1], int(dimensions.pop())


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


class Calibration(BaseEstimator):
    """Base of all calibrations: a map of scores for each (query modality, document modality).

    A score is the cosine of an aligned query and an aligned document. `fit` learns from sample
    queries, which are asked of documents; nobody needs to know what is relevant to them, except
    where `needs_relevant` says so. A document equal to a query is left out: no query is its own
    answer.

    Attributes
    ----------
    folds : bool
        Whether the map is s ↦ a·s + b with a > 0 and a, b of the document and of the query's
        modality. It then costs one more coordinate of the stored vectors and nothing else.
    needs_documents : bool
        Whether a and b depend on the rows of the documents.
    reads_list : bool
        Whether a calibrated score depends on the other documents that the query is asked of.
    needs_relevant : bool
        Whether `fit` must be told what is relevant.
    fitted_ : dict from str to array
        All that `calibrate` needs, for example "text.image.mean"; a file keeps it.
    n_features_in_ : int
        Dimension of the aligned rows.
    """

    folds: bool | property = True
    needs_documents: ClassVar[bool] = False
    reads_list: ClassVar[bool] = False
    needs_relevant: ClassVar[bool] = False

    fitted_: dict[str, Array]
    n_features_in_: int

    def fit(
        self,
        queries: Sides,
        documents: Sides,
        *,
        relevant: Relevant | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Fit to sample queries that are asked of documents.

        Parameters
        ----------
        queries, documents : Sides
            Aligned rows by modality. A side may be missing: what needs it is then not calibrated.
        relevant : mapping, optional
            From (query modality, document modality) to an array of int of shape (n_pairs, 2): the
            number of a query and of a document that is relevant to it. All others are not.
        progress : callable, optional
            Called as progress(rows done, rows in all, what).

        Raises
        ------
        InputError
            If dimensions differ, a row is zero or not finite, or too little is given.
        """
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        return self.partial_fit(queries, documents, relevant=relevant, progress=progress)

    def partial_fit(
        self,
        queries: Sides,
        documents: Sides,
        *,
        relevant: Relevant | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Add more sample queries, asked of these documents, to the fit.

        Where the documents are the same each time, the result is that of one fit to all queries.
        Parameters as for `fit`.
        """
        queries, documents, n_features = check_samples(
            queries, documents, getattr(self, "n_features_in_", None)
        )
        self._begin(n_features, relevant)
        self._learn(queries, documents, relevant or {}, progress or silent)
        return self

    def _begin(self, n_features: int, relevant: Relevant | None) -> None:
        self._check_parameters()
        if relevant is not None and not isinstance(relevant, Mapping):
            raise InputTypeError(
                f"relevant must be a mapping, got {type(relevant).__name__}. "
                "Its keys are (query modality, document modality)."
            )
        for key in relevant or {}:
            if not (isinstance(key, tuple) and len(key) == 2 and set(key) <= set(MODALITIES)):
                raise InputError(
                    "a key of relevant must be (query modality, document modality), got "
                    f"{key!r}. Both are 'image' or 'text'."
                )
        if self.needs_relevant and not relevant:
            raise InputError(
                f"relevant must be given for {type(self).__name__}, got none. "
                "Pass pairs or judgements, or use a calibration that needs none."
            )
        if hasattr(self, "fitted_") and not hasattr(self, "sums_"):
            raise InputError(
                f"{type(self).__name__} must be fitted in this process to go on, got one that was "
                "loaded. Fit again."
            )
        self.n_features_in_ = n_features
        if not hasattr(self, "fitted_"):
            self.fitted_ = {}
            self.sums_: dict[Any, Any] = {}

    def calibrate(
        self, scores: Any, *, query: Modality, document: Modality, documents: Any | None = None
    ) -> Array:
        """Return calibrated scores.

        Parameters
        ----------
        scores : array of shape (n_queries, n_documents)
            Aligned cosines of queries of one modality with documents of one modality.
        query, document : {"image", "text"}
            The modalities.
        documents : array of shape (n_documents, n_components), optional
            The aligned documents, where `needs_documents` says so.
        """
        array = as_array(scores, "scores")
        if array.dtype.kind != "f":
            raise InputTypeError(
                f"scores must be floating point numbers, got {array.dtype}. Pass cosines."
            )
        if array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        check_modality(query)
        check_modality(document)
        if (self.reads_list or self.needs_documents) and array.ndim != 2:
            raise InputError(
                "scores must be of shape (n_queries, n_documents), got shape "
                f"{array.shape}. Pass one row for each query."
            )
        if self.needs_documents and documents is None:
            raise InputError(
                f"documents must be given to {type(self).__name__}, got none. "
                "Pass the aligned rows behind the scores."
            )
        if documents is not None:
            _check_rows_of(documents)
            if array.ndim and array.shape[-1] != documents.shape[0]:
                raise InputError(
                    f"scores must be of one column for each of the {documents.shape[0]} documents, "
                    f"got shape {array.shape}. Pass scores of these documents, in this order."
                )
        return self._calibrate(array, query, document, documents)

    def coefficients(
        self, documents: Any, *, document: Modality, query: Modality
    ) -> tuple[Array, Array]:
        """Return a and b of each document, float64, with calibrated score = a · cosine + b.

        Parameters
        ----------
        documents : array of shape (n_documents, n_components)
            Aligned rows.
        document, query : {"image", "text"}
            The modalities.

        Raises
        ------
        InputError
            If this calibration does not fold, or was not fitted for these modalities.
        """
        if not self.folds:
            raise InputError(
                f"the calibration must be affine in the score to be folded, got {self!r}. "
                "Apply calibrate to a longer list of hits, or use one that folds."
            )
        check_modality(query)
        check_modality(document)
        _check_rows_of(documents)
        return self._coefficients(documents, document, query)

    def is_fitted_for(self, query: Modality, document: Modality) -> bool:
        """Return whether scores of queries of one modality with documents of another are mapped."""
        self._check_fitted()
        check_modality(query)
        check_modality(document)
        return any(name.startswith(f"{query}.{document}.") for name in self.fitted_)

    def _check_parameters(self) -> None:
        """Refuse parameters that make no sense."""

    def _learn(
        self, queries: Sides, documents: Sides, relevant: Relevant, progress: Progress
    ) -> None:
        """Add to `sums_`, and set `fitted_`."""
        raise NotImplementedError

    def _coefficients(
        self, documents: Any, document: Modality, query: Modality
    ) -> tuple[Array, Array]:
        raise NotImplementedError

    def _calibrate(
        self, scores: Array, query: Modality, document: Modality, documents: Any | None
    ) -> Array:
        raise NotImplementedError

    def _check_fitted(self) -> None:
        if not hasattr(self, "fitted_"):
            name = type(self).__name__
            raise NotFittedError(f"{name} must be fitted before it is applied. Call fit first.")

    def _get(self, *key: str) -> Array:
        self._check_fitted()
        for modality in key[:-1]:
            check_modality(modality)
        name = ".".join(key)
        if name not in self.fitted_:
            raise InputError(
                f"the calibration must be fitted for {' queries and '.join(key[:-1])}"
                f"{' queries' if len(key) == 2 else ' documents'}, got one without. "
                "Fit it with both kinds of queries and of documents."
            )
        return self.fitted_[name]


def _check_rows_of(documents: Any) -> None:
    shape = getattr(documents, "shape", None)
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise InputTypeError(
            "documents must be an array of shape (n_documents, n_components), got "
            f"{type(documents).__name__ if shape is None else f'shape {shape}'}. "
            "Pass the aligned rows."
        )
