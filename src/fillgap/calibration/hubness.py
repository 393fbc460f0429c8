"""Corrections of hubs: documents that are near to every query, whatever it asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from fillgap.calibration.base import (
    MODALITIES,
    Calibration,
    Modality,
    Relevant,
    Sides,
    check_documents,
    check_modality,
    others,
    score_blocks,
)
from fillgap.errors import InputError, check_flag, check_integer, check_real
from fillgap.kernel import level_columns
from fillgap.linalg import Array
from fillgap.runtime import Progress

_BANK: Final = "bank"
#: Scores turned at a time, so that both copies stay in the cache.
_CACHED: Final = 2**18


class BankCalibration(Calibration):
    """Base of corrections by a bank of reference queries: unit rows in float32, which are kept.

    What a document is to the whole bank tells how much of a hub it is, whichever document it is.
    """

    needs_documents: ClassVar[bool] = True

    def _learn(
        self,
        queries: Sides,
        documents: Sides,
        relevant: Relevant,  # noqa: ARG002  (a bank needs no judgements)
        progress: Progress,  # noqa: ARG002
    ) -> None:
        for side in documents:
            if side is not None:
                check_documents(side)
        for query in MODALITIES:
            rows = queries.of(query)
            if rows is not None:
                before = self.sums_.setdefault(query, [])
                before.append(rows.astype(np.float32))
                self.fitted_[f"{query}.{_BANK}"] = np.concatenate(before)

    def is_fitted_for(self, query: Modality, document: Modality) -> bool:
        """Return whether there are reference queries of that modality; any document will do."""
        self._check_fitted()
        check_modality(query)
        check_modality(document)
        return f"{query}.{_BANK}" in self.fitted_

    def _bias(self, scores: Array, allowed: Array) -> Array:
        raise NotImplementedError

    def biases(self, documents: Any, *, document: Modality, query: Modality) -> Array:
        """Return what is subtracted from each document's score, of shape (n_documents,)."""
        bank = self._get(query, _BANK)
        if documents.shape[1] != bank.shape[1]:
            raise InputError(
                f"documents must be of dimension {bank.shape[1]}, as in the fit, got "
                f"{documents.shape[1]}. Align them with the aligner of this calibration."
            )
        parts = [
            self._bias(scores, allowed)
            for _, _, scores, allowed in score_blocks(bank, documents, same=query == document)
        ]
        biases = np.concatenate(parts)
        return level_columns(biases, documents) if isinstance(documents, np.ndarray) else biases

    def _coefficients(
        self, documents: Any, document: Modality, query: Modality
    ) -> tuple[Array, Array]:
        bias = self.biases(documents, document=document, query=query)
        return np.ones(len(bias)), -bias

    def _calibrate(
        self, scores: Array, query: Modality, document: Modality, documents: Any | None
    ) -> Array:
        return np.asarray(scores - self.biases(documents, document=document, query=query))


@dataclass(kw_only=True, eq=False, repr=False)
class NNN(BankCalibration):
    """Nearest neighbour normalisation: s' = s − α · mean of the document's k best bank scores.

    Parameters
    ----------
    k : int
        How many of the nearest reference queries count; all, where there are fewer.
    alpha : float
        α. 0 changes nothing.

    References
    ----------
    Chowdhury et al., "Nearest Neighbor Normalization Improves Multimodal Retrieval"
    (arXiv:2410.24114).
    """

    k: int = 16
    alpha: float = 0.5

    def _check_parameters(self) -> None:
        check_integer(self.k, "k", low=1)
        check_real(self.alpha, "alpha", low=0)

    def _bias(self, scores: Array, allowed: Array) -> Array:
        return self.alpha * mean_of_largest(scores, allowed, self.k)


@dataclass(kw_only=True, eq=False, repr=False)
class CSLS(BankCalibration):
    """Cross-domain similarity local scaling: s' = 2s − r(document) − r(query).

    r(document) is the mean of the document's k best scores with the bank; r(query) is the mean of
    the query's k best scores among the documents that it is asked of, which must be the whole
    collection or its best. r(query) differs between images and texts, so that the two lists become
    comparable, and for the same reason this does not fold.

    Parameters
    ----------
    k : int
        Neighbours in both means; all, where there are fewer.

    References
    ----------
    Conneau et al., "Word Translation Without Parallel Data" (ICLR 2018).
    """

    folds = False
    reads_list = True

    k: int = 10

    def _check_parameters(self) -> None:
        check_integer(self.k, "k", low=1)

    def _bias(self, scores: Array, allowed: Array) -> Array:
        return mean_of_largest(scores, allowed, self.k)

    def _calibrate(
        self, scores: Array, query: Modality, document: Modality, documents: Any | None
    ) -> Array:
        bias = self.biases(documents, document=document, query=query)
        own = mean_of_largest(scores.T, others(scores, same=query == document).T, self.k)
        return 2 * scores - bias - own[:, None]


@dataclass(kw_only=True, eq=False, repr=False)
class QBNorm(BankCalibration):
    """Querybank normalisation: s' = s − (1/β) log of the mean over the bank of exp(β · score).

    This is (1/β) times the logarithm of the inverted softmax, so the ranking is the paper's and
    the unit stays that of a cosine.

    Parameters
    ----------
    beta : float
        β, the inverse temperature: small takes the mean over the bank, large its best score.
    dynamic : bool
        Correct only queries whose best document is a hub, that is the best document of some query
        of the bank; other queries keep their scores, less the mean correction, so that their lists
        stay comparable. Such a map looks at the query's whole list and does not fold.

    References
    ----------
    Bogolin et al., "Cross Modal Retrieval with Querybank Normalisation" (CVPR 2022).
    """

    beta: float = 20.0
    dynamic: bool = False

    @property
    def folds(self) -> bool:  # type: ignore[override]
        """Whether the map is affine in the score: the static one is."""
        return not self.dynamic

    @property
    def reads_list(self) -> bool:  # type: ignore[override]
        """Whether the other documents count: the dynamic one asks which is the best."""
        return self.dynamic

    def _check_parameters(self) -> None:
        check_real(self.beta, "beta", low=0, open_low=True)
        check_flag(self.dynamic, "dynamic")

    def _bias(self, scores: Array, allowed: Array) -> Array:
        scaled = np.where(allowed, self.beta * scores.astype(np.float64, copy=False), -np.inf)
        top = scaled.max(axis=0)
        top = np.where(np.isfinite(top), top, 0.0)
        # The mean of exp less one keeps its digits where β is small, and the logarithm is near 0.
        beyond = np.where(allowed, np.expm1(scaled - top), 0.0).sum(axis=0)
        # A document of which every reference query is a copy is no hub of anything else.
        count = np.maximum(allowed.sum(axis=0), 1)
        return np.asarray((top + np.log1p(beyond / count)) / self.beta)

    def _calibrate(
        self, scores: Array, query: Modality, document: Modality, documents: Any | None
    ) -> Array:
        bias = self.biases(documents, document=document, query=query)
        corrected = scores - bias
        if not self.dynamic:
            return corrected
        # A hub is the best document of some query of the bank.
        bank = self._get(query, _BANK)
        best, place = np.full(len(bank), -np.inf), np.zeros(len(bank), dtype=np.intp)
        for start, _, block, allowed in score_blocks(bank, documents, same=query == document):
            inside = np.where(allowed, block, -np.inf)
            at = inside.argmax(axis=1)
            value = inside[np.arange(len(bank)), at]
            better = value > best
            best[better], place[better] = value[better], start + at[better]
        hubs = np.zeros(scores.shape[1], dtype=bool)
        hubs[place[np.isfinite(best)]] = True
        asked = np.where(others(scores, same=query == document), scores, -np.inf)
        of_hub = hubs[asked.argmax(axis=1)]
        return np.where(of_hub[:, None], corrected, scores - bias.mean())


def mean_of_largest(scores: Array, allowed: Array, k: int) -> Array:
    """Return the mean of the k largest allowed scores of each column, of those that there are."""
    means = np.zeros(scores.shape[1])
    step = max(1, _CACHED // max(len(scores), 1))
    for start in range(0, len(means), step):
        part = np.s_[:, start : start + step]
        # Columns in a row each: numpy.partition is fastest along what lies together.
        values = np.ascontiguousarray(np.where(allowed[part], scores[part], -np.inf).T)
        if k < values.shape[1]:
            values = np.partition(values, values.shape[1] - k, axis=1)[:, -k:]
        present = np.isfinite(values)
        total = np.where(present, values, 0.0).sum(axis=1, dtype=np.float64)
        means[part[1]] = total / np.maximum(present.sum(axis=1), 1)
    return means
