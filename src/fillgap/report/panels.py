"""Which rows a report draws, where there are too many, and the rows as unit vectors."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fillgap.errors import InputError, check_random_state, require, unit_rows
from fillgap.linalg import random_cosines
from fillgap.metrics.geometry import (
    both_moments,
    explained_variance,
    principal_angles,
    subspace_overlap,
)
from fillgap.moments import to_numpy
from fillgap.pair import EmbeddingPair
from fillgap.report.data import (
    Hit,
    Item,
    Modality,
    ProjectedPair,
    Projection,
    Query,
    Similarities,
    Subspaces,
)
from fillgap.runtime import Progress

#: Images that a report reads at most, with their texts; of unpaired sets as many texts.
MAX_IMAGES: Final = 10_000


def draw_rows(n: int, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return `most` of n rows at random, in their order; all where there are no more."""
    return np.arange(n) if n <= most else np.sort(rng.permutation(n)[:most])


def draw_pair(pair: EmbeddingPair, *, random_state: int) -> tuple[EmbeddingPair, str | None]:
    """Return the rows that a report reads, with a name for each, and a sentence about the draw."""
    rng = check_random_state(random_state)
    images = draw_rows(pair.n_images, MAX_IMAGES, rng)
    if pair.image_index is None:
        texts = draw_rows(pair.n_texts, MAX_IMAGES, rng)
    else:
        texts = np.flatnonzero(np.isin(np.asarray(pair.image_index), images))
    whole = len(images) == pair.n_images and len(texts) == pair.n_texts
    drawn = pair if whole else pair.take(images, texts)
    if not whole and pair.image_index is not None:
        drawn = pair.take_images(images)
    named = replace(
        drawn,
        image_ids=_names(drawn.image_ids, "image", images),
        text_ids=_names(drawn.text_ids, "text", texts),
    )
    if whole:
        return named, None
    return named, (
        f"Drawn at random: {named.n_images} of {pair.n_images} images, and {named.n_texts} of "
        f"{pair.n_texts} texts."
    )


def _names(known: Sequence[str] | None, what: str, rows: NDArray[np.intp]) -> Sequence[str]:
    return [f"{what} {row}" for row in rows] if known is None else known


def unit(rows: Any) -> NDArray[np.float64]:
    """Return rows of length one in float64."""
    return unit_rows(to_numpy(rows), "rows")


Array = NDArray[np.float64]


def umap_points(rows: Array, random_state: int) -> Array:
    """Return unit rows in two dimensions by UMAP of their cosines (arXiv:1802.03426)."""
    with _quiet("umap"):
        umap = require("umap", "viz", "UMAP")
        reducer = umap.UMAP(metric="cosine", random_state=random_state, n_jobs=1)
        return np.asarray(reducer.fit_transform(rows), dtype=np.float64)


def pacmap_points(rows: Array, random_state: int) -> Array:
    """Return unit rows in two dimensions by PaCMAP (arXiv:2012.04456)."""
    with _quiet("pacmap.pacmap"):
        pacmap = require("pacmap", "viz", "PaCMAP")
        reducer = pacmap.PaCMAP(n_components=2, random_state=random_state)
        return np.asarray(reducer.fit_transform(rows.astype(np.float32)), dtype=np.float64)


#: In the order in which a report shows them.
MANIFOLDS: Final[dict[str, Callable[[Array, int], Array]]] = {
    "UMAP": umap_points,
    "PaCMAP": pacmap_points,
}


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Keep to itself what these packages say of missing packages, seeds and threads."""
    speaker = logging.getLogger(logger)
    spoke = not speaker.disabled
    speaker.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        speaker.disabled = not spoke


#: Pixels of the longer side at most.
MAX_SIDE: Final = 96


def check_thumbnails(thumbnails: Any) -> None:
    """Refuse what are not grey or coloured pictures of one byte a pixel and channel."""
    shape, kind = np.shape(thumbnails), getattr(thumbnails, "dtype", None)
    grey, colour = len(shape) == 3, len(shape) == 4 and shape[3] == 3
    if kind != np.uint8 or not (grey or colour) or 0 in shape:
        raise InputError(
            "thumbnails must be uint8 of shape (n_images, height, width) or (n_images, height, "
            f"width, 3), got {kind} of shape {shape}. Convert them, one picture for each image."
        )


def small_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture of shape (height, width) or (height, width, 3) as a PNG file.

    Parameters
    ----------
    pixels : array of uint8
        A large picture is made smaller: every n-th pixel is the mean of n × n.
    """
    step = -(-max(pixels.shape[:2]) // MAX_SIDE)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).reduce(step).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


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
    some = next(iter(views.values()))
    if min(some.n_images, some.n_texts) < FEWEST_POINTS:
        names = " and ".join(MANIFOLDS)
        return (), f"{names} not drawn: they need {FEWEST_POINTS} rows of each modality."
    found, missing = [], []
    for name, embed in MANIFOLDS.items():
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


#: Queries of each modality, and results of each query.
N_QUERIES: Final = 2
N_HITS: Final = 6


def ask(views: Mapping[str, EmbeddingPair], *, random_state: int) -> tuple[Query, ...]:
    """Return queries that are drawn at random, texts first, and what each representation finds.

    Parameters
    ----------
    views : mapping from label to EmbeddingPair
        The same rows in several representations.
    random_state : int
        Seed of the draw.
    """
    some = next(iter(views.values()))
    rng = check_random_state(random_state)
    pools = {
        label: np.vstack([unit(pair.images), unit(pair.texts)]) for label, pair in views.items()
    }
    counts = (some.n_texts, some.n_images)
    texts, images = (rng.permutation(n)[: min(N_QUERIES, n)] for n in counts)
    return tuple(_query(some, pools, row) for row in (*(some.n_images + texts), *images))


def _query(pair: EmbeddingPair, pools: Mapping[str, NDArray[np.float64]], number: int) -> Query:
    """Ask with one item of the pool: images come first in it, then texts."""
    own = _own(pair, number)
    hits = {}
    for label, pool in pools.items():
        cosines = pool @ pool[number]
        cosines[number] = -np.inf
        best = np.argsort(-cosines, kind="stable")[:N_HITS]
        hits[label] = tuple(Hit(_item(pair, k), float(cosines[k]), int(k) in own) for k in best)
    return Query(_item(pair, number), hits)


def _own(pair: EmbeddingPair, number: int) -> set[int]:
    """Return the numbers of the items that belong to an item."""
    if pair.image_index is None:
        return set()
    index = np.asarray(pair.image_index)
    if number >= pair.n_images:
        return {int(index[number - pair.n_images])}
    return {int(row) for row in pair.n_images + np.flatnonzero(index == number)}


def _item(pair: EmbeddingPair, number: Any) -> Item:
    modality: Modality = "image" if number < pair.n_images else "text"
    row = int(number) if modality == "image" else int(number) - pair.n_images
    names = pair.image_ids if modality == "image" else pair.text_ids
    name = f"{modality} {row}" if names is None else str(names[row])
    if modality == "image":
        picture = None if pair.thumbnails is None else small_png(pair.thumbnails[row])
        return Item(modality, name, picture=picture)
    return Item(modality, name, caption=None if pair.captions is None else str(pair.captions[row]))


#: Pairs that are compared at most, so that all combinations stay a few million.
MAX_PAIRS: Final = 2000
BINS: Final = 50


def compare_similarities(
    views: Mapping[str, EmbeddingPair], *, random_state: int
) -> tuple[Similarities, ...]:
    """Return the histograms of each representation, over the same bins.

    Parameters
    ----------
    views : mapping from label to EmbeddingPair
        The same pairs in several representations.
    random_state : int
        Seed of the texts that are drawn; each is compared with the images of all of them.
    """
    some = next(iter(views.values()))
    texts = draw_rows(some.n_texts, MAX_PAIRS, check_random_state(random_state))
    images, own = np.unique(np.asarray(some.image_index)[texts], return_inverse=True)
    found = {}
    for label, pair in views.items():
        cosines = unit(pair.texts[texts]) @ unit(pair.images[images]).T
        found[label] = cosines[np.arange(len(texts)), own], np.sort(cosines, axis=None)
    low = min(every[0] for _, every in found.values())
    high = max(every[-1] for _, every in found.values())
    edges = np.linspace(low, high, BINS + 1)
    return tuple(_counted(label, edges, *cosines) for label, cosines in found.items())


def _counted(
    label: str, edges: NDArray[np.float64], pairs: NDArray[np.float64], every: NDArray[np.float64]
) -> Similarities:
    """Count pairs and all combinations; the latter are sorted."""
    below, level = (np.searchsorted(every, pairs, side=side) for side in ("left", "right"))
    shares = [np.histogram(values, edges)[0] / len(values) for values in (pairs, every)]
    return Similarities(
        label=label,
        edges=edges,
        pairs=shares[0],
        combinations=shares[1],
        pairs_mean=float(pairs.mean()),
        combinations_mean=float(every.mean()),
        better=float((below + level).mean() / (2 * len(every))),
    )


#: Simulated pairs of random subspaces.
N_DRAWS = 5


def compare_subspaces(label: str, pair: EmbeddingPair, *, random_state: int) -> Subspaces:
    """Return what is drawn of the subspaces of a representation, and what it says."""
    moments = both_moments(pair)
    images, texts = explained_variance(moments)
    overlap = subspace_overlap(moments, n_draws=N_DRAWS, random_state=random_state)
    cosines = random_cosines(
        pair.n_features,
        overlap.images_dimension,
        overlap.texts_dimension,
        n_draws=N_DRAWS,
        random_state=random_state,
    )
    chance = np.degrees(np.arccos(cosines))
    return Subspaces(
        label=label,
        n_images=pair.n_images,
        n_texts=pair.n_texts,
        images_spectrum=images,
        texts_spectrum=texts,
        angles=principal_angles(moments),
        random_low=chance.min(axis=0),
        random_mean=chance.mean(axis=0),
        random_high=chance.max(axis=0),
        sentence=overlap.sentence,
        warning=overlap.warning,
    )
