"""Zero-shot classification: an image is of the class whose prompts lie nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fillgap.aligners.base import Aligner
from fillgap.errors import (
    InputError,
    InputTypeError,
    check_integer,
    check_matrix,
    check_same_features,
    unit_rows,
)
from fillgap.evaluation.statistics import Estimate, estimates
from fillgap.maps import AffineMap, scale_to_unit
from fillgap.metrics.pool import Values
from fillgap.moments import to_numpy
from fillgap.pair import iter_blocks

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """How well class prompts classify images, and whether one class swallows them.

    Attributes
    ----------
    classes : array of int of shape (n_classes,)
        The classes that prompts name, ascending.
    predicted : array of int of shape (n_images,)
        The nearest class of each image: the first of several that are level.
    correct : mapping from k to array of shape (n_images,)
        1 where an image's own class is among its k nearest, else 0: for tests paired by image.
    accuracy : mapping from k to Estimate
        The means, with 95 % intervals over images.
    hub : int
        The class that is predicted most often.
    hub_share : float
        Share of the images that it is predicted for.
    hub_fair_share : float
        Share of the images that are of that class.
    """

    classes: Labels
    predicted: Labels
    correct: Mapping[int, Values]
    accuracy: Mapping[int, Estimate]
    hub: int
    hub_share: float
    hub_fair_share: float

    @property
    def hub_ratio(self) -> float:
        """Return how much too often the hub is predicted: 1 is fair; infinite without images."""
        return self.hub_share / self.hub_fair_share if self.hub_fair_share else inf

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it; an infinite ratio is null."""
        return {
            "n_images": len(self.predicted),
            "n_classes": len(self.classes),
            "accuracy": {f"top_{k}": item.to_dict() for k, item in self.accuracy.items()},
            "hub": {
                "class": self.hub,
                "share": self.hub_share,
                "fair_share": self.hub_fair_share,
                "ratio": self.hub_ratio if self.hub_fair_share else None,
            },
        }


def zero_shot(
    images: Any,
    labels: ArrayLike,
    prompts: Any,
    prompt_labels: ArrayLike,
    *,
    aligner: Aligner | None = None,
    k: int | Sequence[int] = (1, 5),
    n_resamples: int = 1000,
    random_state: int = 0,
) -> ZeroShot:
    """Classify images by the cosine with the mean prompt of each class.

    Parameters
    ----------
    images : array of shape (n_images, n_features)
        Rows need not be normalised.
    labels : array of int of shape (n_images,)
        The class of each image.
    prompts : array of shape (n_prompts, n_features)
        Embedded sentences that name a class. Where a class has several, their unit rows are
        averaged, and the mean is scaled to length one: a prompt ensemble.
    prompt_labels : array of int of shape (n_prompts,)
        The class that each prompt names.
    aligner : Aligner, optional
        Fitted; it maps the images and, as texts, the prompts before they are averaged.
    k : int or sequence of int
        An image is right where its class is among the k nearest. Values that are no smaller than
        the number of classes are left out: all would be right.
    n_resamples, random_state : int
        Bootstrap resamples over images, and their seed.

    Returns
    -------
    ZeroShot
        The rank of a class is 1 + classes above + half of the others that are level, so that
        embeddings collapsed to one point classify nothing.

    Raises
    ------
    InputError, InputTypeError
        If arrays do not fit together, labels are no integers, an image is of a class without a
        prompt, there are fewer than two classes, or no k is smaller than their number.

    References
    ----------
    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"
    (arXiv:2103.00020), section 3.1.
    """
    images, prompts = check_matrix(images, "images"), check_matrix(prompts, "prompts")
    check_same_features(images, prompts, "images", "prompts")
    truth = _labels(labels, "labels", "images", images.shape[0])
    named = _labels(prompt_labels, "prompt_labels", "prompts", prompts.shape[0])
    classes, members = np.unique(named, return_inverse=True)
    if len(classes) < 2:
        raise InputError(
            f"prompt_labels must name at least 2 classes, got {len(classes)}. "
            "Pass prompts for every class."
        )
    missing = ~np.isin(truth, classes)
    if missing.any():
        raise InputError(
            f"labels must be classes that prompts name, got {int(truth[missing][0])} without a "
            f"prompt ({int(missing.sum())} images of such classes). "
            "Add prompts for them, or leave those images out."
        )
    own = np.searchsorted(classes, truth)
    depths = _depths(k, len(classes))
    named_rows = unit_rows(prompts, "prompts")
    named_rows = named_rows if aligner is None else scale_to_unit(aligner.transform_y(named_rows))
    named_rows = to_numpy(named_rows)
    prototypes = np.zeros((len(classes), named_rows.shape[1]))
    np.add.at(prototypes, members, named_rows)
    weights = AffineMap(matrix=scale_to_unit(prototypes).T)
    ranks, nearest = np.empty(len(truth)), np.empty(len(truth), dtype=np.intp)
    for start, block in iter_blocks(images, "images"):
        rows = unit_rows(block, "images", first_row=start)
        rows = rows if aligner is None else aligner.transform(rows)  # length plays no role
        part = slice(start, start + len(rows))
        scores = to_numpy(weights(rows))
        mine = scores[np.arange(len(rows)), own[part]][:, None]
        above, level = (scores > mine).sum(axis=1), (scores == mine).sum(axis=1) - 1
        ranks[part], nearest[part] = 1 + above + 0.5 * level, np.argmax(scores, axis=1)
    correct = {depth: (ranks <= depth).astype(np.float64) for depth in depths}
    accuracy = estimates(
        {str(depth): values for depth, values in correct.items()},
        np.arange(len(truth)),
        n_resamples=n_resamples,
        random_state=random_state,
    )
    times = np.bincount(nearest, minlength=len(classes))
    hub = int(np.argmax(times))
    return ZeroShot(
        classes=classes,
        predicted=classes[nearest],
        correct=correct,
        accuracy=dict(zip(depths, accuracy.values(), strict=True)),
        hub=int(classes[hub]),
        hub_share=float(times[hub] / len(truth)),
        hub_fair_share=float(np.mean(own == hub)),
    )


def _labels(labels: ArrayLike, what: str, rows: str, count: int) -> Labels:
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise InputTypeError(
            f"{what} must be integers, got {array.dtype}. Number the classes from 0."
        )
    if array.shape != (count,):
        raise InputError(
            f"{what} must be one number for each of the {count} {rows}, got shape {array.shape}. "
            "Pass a 1-D array in the order of the rows."
        )
    return array


def _depths(k: int | Sequence[int], n_classes: int) -> list[int]:
    """Return the values of k that say something, each once, ascending."""
    wanted = [k] if isinstance(k, (int, np.integer)) else list(k)
    depths = sorted({check_integer(depth, "k", low=1) for depth in wanted})
    kept = [depth for depth in depths if depth < n_classes]
    if not kept:
        raise InputError(
            f"k must be smaller than the number of classes, {n_classes}, got {depths}. "
            "Ask for k = 1."
        )
    return kept
