"""Images and texts in two dimensions: principal components, and what optional packages add."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import check_random_state
from fillgap._progress import Progress
from fillgap.embeddings import EmbeddingPair
from fillgap.report.data import ProjectedPair, Projection
from fillgap.report.drawing import draw_rows, unit

__all__ = ["MAX_POINTS", "project", "project_more"]

Array = NDArray[np.float64]

#: Rows of each modality that are drawn at most.
MAX_POINTS: Final = 1000
#: Rows of each modality without which neighbourhoods mean nothing.
FEWEST_POINTS: Final = 30


def project(views: Mapping[str, EmbeddingPair], *, random_state: int) -> Projection:
    """Return each representation on the first two principal components of both modalities.

    Parameters
    ----------
    views : mapping from label to EmbeddingPair
        The same rows in several representations; each has components of its own.
    random_state : int
        Seed of the rows that are drawn.
    """
    return Projection(
        "PCA",
        tuple(
            _split(label, len(images), *_principal_components(np.vstack([images, texts])))
            for label, images, texts in _sides(views, random_state)
        ),
    )


def project_more(
    views: Mapping[str, EmbeddingPair], *, random_state: int, progress: Progress
) -> tuple[tuple[Projection, ...], str | None]:
    """Return the projections of optional packages, and how to install those that are missing."""
    from fillgap.report import manifolds

    some = next(iter(views.values()))
    if min(some.n_images, some.n_texts) < FEWEST_POINTS:
        names = " and ".join(manifolds.METHODS)
        return (), f"{names} not drawn: they need {FEWEST_POINTS} rows of each modality."
    found, missing = [], []
    for name, embed in manifolds.METHODS.items():
        try:
            found.append(_by(name, embed, views, random_state, progress))
        except ImportError as error:
            missing.append((name, str(error)))
    if not missing:
        return tuple(found), None
    names = " and ".join(name for name, _ in missing)
    remedy = missing[0][1].rpartition(". ")[2]
    return tuple(found), f"{names} not drawn: not installed. {remedy}"


def _by(
    name: str,
    embed: Callable[[Any, int], Array],
    views: Mapping[str, EmbeddingPair],
    random_state: int,
    progress: Progress,
) -> Projection:
    pairs: list[ProjectedPair] = []
    for label, images, texts in _sides(views, random_state):
        progress(len(pairs), len(views), name)
        points = embed(np.vstack([images, texts]), random_state)
        pairs.append(_split(label, len(images), points, (f"{name} 1", f"{name} 2")))
    return Projection(name, tuple(pairs))


def _sides(
    views: Mapping[str, EmbeddingPair], random_state: int
) -> Sequence[tuple[str, Array, Array]]:
    """Return the unit rows to draw: the same ones of every representation."""
    some = next(iter(views.values()))
    rng = check_random_state(random_state)
    i, t = (draw_rows(n, MAX_POINTS, rng) for n in (some.n_images, some.n_texts))
    return [(label, unit(pair.images[i]), unit(pair.texts[t])) for label, pair in views.items()]


def _principal_components(rows: Array) -> tuple[Array, tuple[str, str]]:
    centred = rows - rows.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    first = axes[:2]
    # The largest entry of each axis is positive, so that equal data give equal pictures.
    signs = np.sign(first[np.arange(2), np.abs(first).argmax(axis=1)])
    shares = sizes[:2] ** 2 / np.sum(sizes**2)
    names = tuple(f"component {i}, {s:.0%} of variance" for i, s in enumerate(shares, start=1))
    return centred @ (first * signs[:, None]).T, (names[0], names[1])


def _split(label: str, n_images: int, points: Array, axes: tuple[str, str]) -> ProjectedPair:
    return ProjectedPair(label, points[:n_images], points[n_images:], axes)
