"""Whether a linear probe can tell the modalities apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from fillgap._checks import InputError, check_integer, check_random_state, check_real, unit_rows
from fillgap.metrics.pool import as_pair
from fillgap.metrics.structure import choose_rows
from fillgap.moments import to_numpy

__all__ = ["linear_separability"]


def linear_separability(
    X: Any,
    Y: Any = None,
    *,
    C: float = 1.0,
    n_folds: int = 5,
    max_rows: int = 2000,
    random_state: int | None = 0,
) -> float:
    """Compute the held-out balanced accuracy of a logistic regression that names the modality.

    1: one hyperplane separates images from texts; .5: a guess does as well.

    Parameters
    ----------
    X : array of shape (n_images, n_features) or EmbeddingPair
        Image embeddings, or both; rows are scaled to length one.
    Y : array of shape (n_texts, n_features), optional
        Text embeddings.
    C : float
        Inverse strength of the penalty, as in scikit-learn.
    n_folds : int
        Folds of the cross-validation.
    max_rows : int
        Rows of each modality that are used at most; more are sampled.
    random_state : int or None
        Seed of the sample and of the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    check_real(C, "C", low=0.0, open_low=True)
    check_integer(n_folds, "n_folds", low=2)
    pair = as_pair(X, Y)
    fewest = min(pair.n_images, pair.n_texts)
    if fewest < n_folds:
        raise InputError(
            f"each modality must be at least {n_folds} rows for {n_folds} folds, got {fewest}. "
            "Use more rows or fewer folds."
        )
    rng = check_random_state(random_state)
    rows = [
        unit_rows(to_numpy(side[choose_rows(len(side), max_rows, rng)]), what)
        for side, what in ((pair.images, "images"), (pair.texts, "texts"))
    ]
    labels = np.repeat([0, 1], [len(side) for side in rows])
    accuracy = cross_val_score(
        LogisticRegression(C=C, max_iter=1000, class_weight="balanced"),
        np.concatenate(rows),
        labels,
        cv=StratifiedKFold(n_folds, shuffle=True, random_state=random_state),
        scoring="balanced_accuracy",
    )
    return float(accuracy.mean())
