"""What all calibrations share: fitting, merging, folding, and their refusals."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from fillgap._checks import InputError, InputTypeError, as_array
from fillgap._progress import Progress, silent
from fillgap.scores.samples import (
    Modality,
    Relevant,
    Sides,
    check_modality,
    check_relevant,
    check_samples,
)

__all__ = ["Calibration"]

Array: TypeAlias = NDArray[Any]


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
        """Make ready to learn; refuse where that cannot be."""
        self._check_parameters()
        if relevant is not None:
            check_relevant(relevant)
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
        """Return a and b of each document, with calibrated score = a · cosine + b.

        Parameters
        ----------
        documents : array of shape (n_documents, n_components)
            Aligned rows.
        document, query : {"image", "text"}
            The modalities.

        Returns
        -------
        tuple of array of shape (n_documents,)
            In float64.

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
        a, b = self._coefficients(documents, document, query)
        return a * scores + b

    def _check_fitted(self) -> None:
        if not hasattr(self, "fitted_"):
            name = type(self).__name__
            raise NotFittedError(f"{name} must be fitted before it is applied. Call fit first.")

    def _get(self, *key: str) -> Array:
        """Return a fitted array, or say for which modalities the calibration is not fitted."""
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
    """Refuse what is no matrix, in memory or in a stream."""
    shape = getattr(documents, "shape", None)
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise InputTypeError(
            "documents must be an array of shape (n_documents, n_components), got "
            f"{type(documents).__name__ if shape is None else f'shape {shape}'}. "
            "Pass the aligned rows."
        )
