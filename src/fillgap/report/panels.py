"""What a report draws: some rows, their places in two dimensions, cosines and neighbours."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

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
    Array,
    Hit,
    Item,
    ProjectedPair,
    Projection,
    Query,
    Similarities,
    Subspaces,
)
from fillgap.runtime import Progress

#: Images that a report reads at most, with their texts; of unpaired sets as many texts.
MAX_IMAGES: Final = 10_000
#: Rows of each modality that are drawn at most.
MAX_POINTS: Final = 1000
#: Rows of each modality without which neighbourhoods mean nothing.
FEWEST_POINTS: Final = 30
#: Pairs that are compared at most, so that all combinations stay a few million.
MAX_PAIRS: Final = 2000
BINS: Final = 50
#: Simulated pairs of random subspaces.
N_DRAWS: Final = 5
#: Queries of each modality, and results of each query.
N_QUERIES: Final = 2
N_HITS: Final = 6
#: Pixels of the longer side of a small picture at most.
MAX_SIDE: Final = 96

#: The same rows in several representations, raw first.
Views: TypeAlias = Mapping[str, EmbeddingPair]


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
    drawn, sentence = pair, None
    if len(images) < pair.n_images or len(texts) < pair.n_texts:
        paired = pair.image_index is not None
        drawn = pair.take_images(images) if paired else pair.take(images, texts)
        sentence = (
            f"Drawn at random: {drawn.n_images} of {pair.n_images} images, and {drawn.n_texts} of "
            f"{pair.n_texts} texts."
        )
    image_ids, text_ids = drawn.image_ids, drawn.text_ids
    if image_ids is None:
        image_ids = [f"image {row}" for row in images]
    if text_ids is None:
        text_ids = [f"text {row}" for row in texts]
    return replace(drawn, image_ids=image_ids, text_ids=text_ids), sentence


def unit(rows: Any) -> Array:
    """Return rows of length one in float64."""
    return unit_rows(to_numpy(rows), "rows")


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
    """Return pixels as a PNG file; of a large picture every n-th is the mean of n × n."""
    step = -(-max(pixels.shape[:2]) // MAX_SIDE)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).reduce(step).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def project(views: Views, *, random_state: int) -> Projection:
    """Return each representation on its own first two principal components."""
    pairs = []
    for label, n_images, rows in _stacked(views, random_state):
        centred = rows - rows.mean(axis=0)
        _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
        first = axes[:2]
        # The largest entry of each axis is positive, so that equal data give equal pictures.
        signs = np.sign(first[np.arange(2), np.abs(first).argmax(axis=1)])
        shares = sizes[:2] ** 2 / np.sum(sizes**2)
        one, two = (f"component {i}, {s:.0%} of variance" for i, s in enumerate(shares, start=1))
        points = centred @ (first * signs[:, None]).T
        pairs.append(ProjectedPair(label, points[:n_images], points[n_images:], (one, two)))
    return Projection("PCA", tuple(pairs))


def project_more(
    views: Views, *, random_state: int, progress: Progress
) -> tuple[tuple[Projection, ...], str | None]:
    """Return the projections of optional packages, and how to install those that are missing."""
    some = next(iter(views.values()))
    if min(some.n_images, some.n_texts) < FEWEST_POINTS:
        names = " and ".join(MANIFOLDS)
        return (), f"{names} not drawn: they need {FEWEST_POINTS} rows of each modality."
    found, missing = [], {}
    for name, embed in MANIFOLDS.items():
        pairs: list[ProjectedPair] = []
        try:
            for label, n, rows in _stacked(views, random_state):
                progress(len(pairs), len(views), name)
                points, axes = embed(rows, random_state), (f"{name} 1", f"{name} 2")
                pairs.append(ProjectedPair(label, points[:n], points[n:], axes))
        except ImportError as error:
            missing[name] = str(error).rpartition(". ")[2]
        else:
            found.append(Projection(name, tuple(pairs)))
    if not missing:
        return tuple(found), None
    remedy = next(iter(missing.values()))
    return tuple(found), f"{' and '.join(missing)} not drawn: not installed. {remedy}"


def _stacked(views: Views, random_state: int) -> Iterator[tuple[str, int, Array]]:
    """Yield the unit rows to draw, images first: the same ones of every representation."""
    some = next(iter(views.values()))
    rng = check_random_state(random_state)
    i, t = (draw_rows(n, MAX_POINTS, rng) for n in (some.n_images, some.n_texts))
    for label, pair in views.items():
        yield label, len(i), np.vstack([unit(pair.images[i]), unit(pair.texts[t])])


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


def ask(views: Views, *, random_state: int) -> tuple[Query, ...]:
    """Return queries that are drawn at random, texts first, and what each representation finds."""
    pair = next(iter(views.values()))
    rng = check_random_state(random_state)
    pools = {
        label: np.vstack([unit(some.images), unit(some.texts)]) for label, some in views.items()
    }
    counts = (pair.n_texts, pair.n_images)
    texts, images = (rng.permutation(n)[: min(N_QUERIES, n)] for n in counts)
    queries = []
    for number in (*(pair.n_images + texts), *images):  # of the pool: images come first in it
        own, hits = _own(pair, number), {}
        for label, pool in pools.items():
            cosines = pool @ pool[number]
            cosines[number] = -np.inf
            best = np.argsort(-cosines, kind="stable")[:N_HITS]
            hits[label] = tuple(Hit(_item(pair, k), float(cosines[k]), int(k) in own) for k in best)
        queries.append(Query(_item(pair, number), hits))
    return tuple(queries)


def _own(pair: EmbeddingPair, number: int) -> set[int]:
    """Return the numbers of the items that belong to an item."""
    if pair.image_index is None:
        return set()
    index = np.asarray(pair.image_index)
    if number >= pair.n_images:
        return {int(index[number - pair.n_images])}
    return {int(row) for row in pair.n_images + np.flatnonzero(index == number)}


def _item(pair: EmbeddingPair, number: int) -> Item:
    if number < pair.n_images:
        name = f"image {number}" if pair.image_ids is None else str(pair.image_ids[number])
        thumbnails = pair.thumbnails
        picture = None if thumbnails is None else small_png(thumbnails[number])
        return Item("image", name, picture=picture)
    row = int(number) - pair.n_images
    name = f"text {row}" if pair.text_ids is None else str(pair.text_ids[row])
    return Item("text", name, caption=None if pair.captions is None else str(pair.captions[row]))


def compare_similarities(views: Views, *, random_state: int) -> tuple[Similarities, ...]:
    """Return the histograms of each representation, over the same bins.

    Texts are drawn at random; each is compared with the images of all of them.
    """
    some = next(iter(views.values()))
    texts = draw_rows(some.n_texts, MAX_PAIRS, check_random_state(random_state))
    images, own = np.unique(np.asarray(some.image_index)[texts], return_inverse=True)
    cosines = {}
    for label, pair in views.items():
        every = unit(pair.texts[texts]) @ unit(pair.images[images]).T
        cosines[label] = every[np.arange(len(texts)), own], np.sort(every, axis=None)
    low = min(every[0] for _, every in cosines.values())
    high = max(every[-1] for _, every in cosines.values())
    edges = np.linspace(low, high, BINS + 1)
    found = []
    for label, (pairs, every) in cosines.items():
        below, level = (np.searchsorted(every, pairs, side=side) for side in ("left", "right"))
        own_share, share = (np.histogram(part, edges)[0] / len(part) for part in (pairs, every))
        means = float(pairs.mean()), float(every.mean())
        better = float((below + level).mean() / (2 * len(every)))
        found.append(Similarities(label, edges, own_share, share, *means, better))
    return tuple(found)


def compare_subspaces(label: str, pair: EmbeddingPair, *, random_state: int) -> Subspaces:
    """Return what is drawn of the subspaces of a representation, and what it says."""
    moments = both_moments(pair)
    images, texts = explained_variance(moments)
    overlap = subspace_overlap(moments, n_draws=N_DRAWS, random_state=random_state)
    sizes = overlap.images_dimension, overlap.texts_dimension
    cosines = random_cosines(pair.n_features, *sizes, n_draws=N_DRAWS, random_state=random_state)
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
