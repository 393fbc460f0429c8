"""Which aligner a report shows, and the rows that it is judged on."""

from __future__ import annotations

import warnings
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from fillgap._checks import InputError, check_random_state
from fillgap.aligners import METHODS, Aligner, make_aligner
from fillgap.embeddings import EmbeddingPair
from fillgap.evaluation import Comparison, held_out_splits
from fillgap.rows import fingerprint

__all__ = [
    "Trial",
    "changed_parameters",
    "choose_aligner",
    "fingerprints_of",
    "try_aligner",
]

#: What is shown where nothing can be compared: it is fitted without pairs, in closed form.
WITHOUT_PAIRS = "balanced"


@dataclass(frozen=True, eq=False)
class Trial:
    """An aligner, and rows that it was not fitted to, as they were and aligned.

    Attributes
    ----------
    aligner : Aligner
        Fitted.
    raw, aligned : EmbeddingPair
        The same rows.
    sentence : str
        What it was fitted to, and what it is shown on.
    """

    aligner: Aligner
    raw: EmbeddingPair
    aligned: EmbeddingPair
    sentence: str


def choose_aligner(comparison: Comparison | None) -> tuple[Aligner, str]:
    """Return the aligner to show where none is given, and why this one."""
    if comparison is None:
        return make_aligner(WITHOUT_PAIRS), (
            f"No method could be compared here; {WITHOUT_PAIRS} is shown, which needs no pairs."
        )
    advice = comparison.recommendation
    if advice.method in METHODS:
        return make_aligner(str(advice.method)), f"{advice.method} is shown, as recommended."
    best = next((name for name in advice.passed_over if name in METHODS), WITHOUT_PAIRS)
    return make_aligner(best), (
        f"No method is recommended; {best} is shown, which scored highest, for what it would do."
    )


def try_aligner(
    aligner: Aligner, pair: EmbeddingPair, fingerprints: Container[str], *, random_state: int
) -> Trial:
    """Return what an aligner does to rows that it was not fitted to.

    Parameters
    ----------
    aligner : Aligner
        One that is fitted is taken as it is, unless it was fitted to these rows; one that is not
        is fitted to one part of `pair`, and shown on the other.
    pair : EmbeddingPair
        The rows of the report.
    fingerprints : container of str
        Of these rows, as a file of an aligner that was fitted to them names them.
    random_state : int
        Seed of the split.
    """
    if not hasattr(aligner, "n_features_in_"):
        return _fit_half(aligner, pair, "", random_state)
    if aligner.n_features_in_ != pair.n_features:
        raise InputError(
            f"embeddings must be of dimension {aligner.n_features_in_}, as in the fit of the "
            f"aligner, got {pair.n_features}. Use embeddings of the model that it was fitted to."
        )
    known = getattr(aligner, "metadata_", {}).get("data_hash")
    if known in fingerprints:
        before = "The file was fitted to these very rows, so the method is fitted again here. "
        return _fit_half(aligner, pair, before, random_state)
    n, m = aligner.n_samples_
    doubt = (
        "not to those here."
        if known
        else "and nothing says to which: if to those here, what follows flatters it."
    )
    return _trial(aligner, pair, f"It was fitted before, to {n} images and {m} texts, {doubt}")


def fingerprints_of(pair: EmbeddingPair, aligner: Aligner) -> set[str]:
    """Return the fingerprints that a fit of this aligner to these rows may have kept."""
    found = {fingerprint(pair.images, pair.texts)}
    if aligner.needs_pairs and pair.is_paired:
        found.add(fingerprint(*pair.matched()))
    return found


def changed_parameters(aligner: Aligner) -> dict[str, Any]:
    """Return the parameters that are not the defaults of the method."""
    defaults: Mapping[str, Any] = type(aligner)().get_params()
    return {
        name: value
        for name, value in aligner.get_params().items()
        if repr(value) != repr(defaults[name])
    }


def _fit_half(aligner: Aligner, pair: EmbeddingPair, before: str, random_state: int) -> Trial:
    """Fit to one part of the images with their texts, and align the other."""
    train, test = _halves(pair, random_state)
    fitted = clone(aligner)
    fitted.fit(*(train.matched() if fitted.needs_pairs else (train.images, train.texts)))
    sentence = (
        f"{before}It was fitted to {train.n_images} images and {train.n_texts} texts, and is shown "
        f"on {test.n_images} and {test.n_texts} others."
    )
    return _trial(fitted, test, " ".join((sentence, *fitted.notes_)))


def _halves(pair: EmbeddingPair, random_state: int) -> tuple[EmbeddingPair, EmbeddingPair]:
    if pair.is_paired:
        split = next(held_out_splits(pair, n_splits=1, random_state=random_state))
        train, test = (pair.take_images(np.sort(rows)) for rows in split)
        return train, test
    rng = check_random_state(random_state)
    orders = [rng.permutation(n) for n in (pair.n_images, pair.n_texts)]
    first = [np.sort(order[: len(order) // 2]) for order in orders]
    second = [np.sort(order[len(order) // 2 :]) for order in orders]
    return pair.take(*first), pair.take(*second)


def _trial(aligner: Aligner, pair: EmbeddingPair, sentence: str) -> Trial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        images, texts = aligner.transform_pair(pair.images, pair.texts)
    return Trial(aligner, pair, pair.with_vectors(images, texts), sentence)
