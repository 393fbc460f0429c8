"""Draw the figures of the documentation, from the bundled data and the closed forms of the theory.

    python scripts/docs_figures.py [--out docs/assets/figures]

Equal data and libraries give equal files.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fillgap import BalancedAligner, EmbeddingPair, load_digit_scenes
from fillgap.papers.theory import anchor_loss, pair_limit, subspace_limit, theorem4_printed

OUT = Path(__file__).resolve().parents[1] / "docs" / "assets" / "figures"
IMAGES, TEXTS, GREY = "#0072b2", "#d55e00", "#8a8a8a"
STYLE = {
    "svg.hashsalt": "fillgap", "font.size": 10, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "axes.titlesize": 11,
    "axes.titlelocation": "left", "image.cmap": "Greys", "figure.constrained_layout.use": True,
}  # fmt: skip

Array = NDArray[np.float64]


def held_out() -> tuple[EmbeddingPair, EmbeddingPair]:
    """Return the evaluation scenes as they are, and as an aligner fitted on other scenes maps them.

    Nothing that is drawn was fitted on, and no pairs were used.
    """
    fitting, raw = load_digit_scenes("fitting"), load_digit_scenes("evaluation")
    aligner = BalancedAligner().fit(fitting.images, fitting.texts)
    return raw, raw.with_vectors(*aligner.transform_pair(raw.images, raw.texts))


# The bundled scenes -------------------------------------------------------------------------------


def scenes(raw: EmbeddingPair, _: EmbeddingPair) -> Figure:
    """Draw four scenes with both captions."""
    figure = Figure(figsize=(8, 2.9))
    for place, axes in enumerate(figure.subplots(1, 4)):
        thumbnail(axes, raw, place)
        captions = [str(raw.captions[2 * place + i]) for i in range(2)]
        told = "\n\n".join(textwrap.fill(caption, 24) for caption in captions)
        axes.set_title(told, loc="left", y=-0.1, va="top", fontsize=8.5)
    return figure


def seen(raw: EmbeddingPair, aligned: EmbeddingPair) -> Figure:
    """Draw the first ten results of one text query, before and after."""
    query = typical_query(raw, aligned)
    own = int(np.asarray(raw.image_index)[query])
    figure = Figure(figsize=(7.4, 6.4))
    grid = figure.subplots(4, 5)
    for rows, pair, name in ((grid[:2], raw, "raw"), (grid[2:], aligned, "aligned")):
        for rank, (axes, item) in enumerate(zip(rows.flat, first_ten(pair, query), strict=True), 1):
            show_item(axes, pair, int(item), own)
            axes.set_title(f"{rank}", fontsize=9, loc="center")
        rows[0, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
    figure.suptitle(f"“{raw.captions[query]}”", fontsize=12)
    return figure


def typical_query(raw: EmbeddingPair, aligned: EmbeddingPair) -> int:
    """Return the first caption that finds its scene once aligned, and sees as many images as most.

    Most: the median number of images among the first ten of such captions.
    """
    found = {}
    for query in range(100):
        items = first_ten(aligned, query)
        if int(np.asarray(raw.image_index)[query]) in items:
            found[query] = int(np.sum(items < raw.n_images))
    typical = int(np.median(list(found.values())))
    return next(query for query, images in found.items() if images == typical)


def first_ten(pair: EmbeddingPair, query: int) -> NDArray[np.intp]:
    """Return the numbers of the nearest items in the pool, images first; not the query itself."""
    cosines = np.concatenate([pair.images, pair.texts]) @ pair.texts[query]
    cosines[pair.n_images + query] = -np.inf
    return np.argsort(-cosines, kind="stable")[:10]


def show_item(axes: Axes, pair: EmbeddingPair, item: int, own: int) -> None:
    """Draw an image or a caption; a frame marks those of the query's own scene."""
    scene = (
        item if item < pair.n_images else int(np.asarray(pair.image_index)[item - pair.n_images])
    )
    color = IMAGES if item < pair.n_images else TEXTS
    if item < pair.n_images:
        thumbnail(axes, pair, item)
    else:
        caption = textwrap.fill(str(pair.captions[item - pair.n_images]), 17)
        axes.text(0.5, 0.5, caption, ha="center", va="center", fontsize=8.5, color="#333333")
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect=1)
    for spine in axes.spines.values():
        spine.set(visible=True, color=color, linewidth=4 if scene == own else 1.2)


def thumbnail(axes: Axes, pair: EmbeddingPair, image: int) -> None:
    assert pair.thumbnails is not None
    axes.imshow(pair.thumbnails[image], interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(True)


def scatter(raw: EmbeddingPair, aligned: EmbeddingPair) -> Figure:
    """Draw both modalities along the gap and the widest direction across it, before and after."""
    figure = Figure(figsize=(9, 4.6))
    panels = figure.subplots(1, 2)
    for axes, pair, title in zip(panels, (raw, aligned), ("raw", "aligned"), strict=True):
        images, texts = pair.images[:400], pair.texts[:800:2]
        center, directions = along_and_across(images, texts)
        for rows, color, label in ((images, IMAGES, "images"), (texts, TEXTS, "texts")):
            x, y = directions @ (rows - center).T
            axes.scatter(x, y, s=9, color=color, alpha=0.55, linewidth=0, label=label)
        axes.set(title=title, xlabel="from centroid to centroid", aspect="equal")
        axes.set(xlim=(-0.9, 0.9), ylim=(-0.9, 0.9))
    panels[0].set_ylabel("first principal component across")
    panels[0].legend(loc="best", markerscale=2)
    return figure


def along_and_across(images: Array, texts: Array) -> tuple[Array, Array]:
    """Return the middle of both centroids, the direction between them, and the widest across it."""
    means = images.mean(axis=0), texts.mean(axis=0)
    along = (means[1] - means[0]) / np.linalg.norm(means[1] - means[0])
    centred = np.concatenate([images - means[0], texts - means[1]]).astype(np.float64)
    across = np.linalg.svd(centred - np.outer(centred @ along, along), full_matrices=False)[2][0]
    return (means[0] + means[1]) / 2, np.stack([along, across])


def histogram(raw: EmbeddingPair, aligned: EmbeddingPair) -> Figure:
    """Draw cosines of pairs, of all combinations, and within modalities, before and after."""
    figure = Figure(figsize=(9, 3.4))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, pair, title in zip(panels, (raw, aligned), ("raw", "aligned"), strict=True):
        images, texts = pair.images[:1000], pair.texts[:2000:2]
        upper = np.triu_indices(len(images), 1)
        shown = (
            ("an image and its caption", np.sum(images * texts, axis=1), "black", "-"),
            ("an image and any caption", (images @ texts.T)[upper], GREY, "-"),
            ("two images", (images @ images.T)[upper], IMAGES, "--"),
            ("two captions", (texts @ texts.T)[upper], TEXTS, "--"),
        )
        for label, cosines, color, line in shown:
            density, edges = np.histogram(cosines, bins=60, range=(-1, 1), density=True)
            axes.stairs(density, edges, color=color, linestyle=line, linewidth=1.6, label=label)
        axes.set(title=title, xlabel="cosine", xlim=(-1, 1), yticks=[])
    panels[0].set_ylabel("density")
    panels[0].legend(loc="upper left", fontsize=8.5)
    return figure


# The theory ---------------------------------------------------------------------------------------

POINT: dict[str, Any] = {"n_features": 8, "tau": 0.3}
PHI, KAPPA = 0.7, 5.0


def tilt() -> Figure:
    """Draw theorem 3: the loss of two centres that lean towards C, with sampling."""
    angles, points = np.linspace(0, np.pi / 2, 181), np.array([0.0, 0.3, 0.6, 0.9, 1.2, 1.5])
    loss = subspace_limit(PHI, angles, kappa_x=KAPPA, kappa_y=KAPPA, **POINT)
    found = 2 * np.array([sampled(*leaning(angle, angle)) for angle in points])
    figure, axes = one_panel()
    axes.plot(np.degrees(angles), loss, color=IMAGES, label="closed form")
    axes.plot(np.degrees(points), found, "o", color=TEXTS, label="sampling")
    axes.axhline(loss[0], color=GREY, linestyle=":", label="bound of theorem 3")
    axes.set(xlabel="angle of both centres towards C (degrees)", ylabel="loss − 2 log N (nats)")
    axes.legend()
    return figure


def theorem4() -> Figure:
    """Draw theorem S5 and both printed forms of theorem 4, with sampling."""
    angles, points = np.linspace(0, np.pi / 2, 181), np.array([0.0, 0.3, 0.6, 0.9, 1.2, 1.5])
    parameters = {**POINT, "kappa": KAPPA}
    shown = (
        ("theorem S5", pair_limit(angles, PHI, **parameters), IMAGES, "-"),
        ("theorem 4, by its proof", theorem4_printed(angles, PHI, **parameters), "#009e73", "--"),
        ("theorem 4, as printed",
         theorem4_printed(angles, PHI, misprint=True, **parameters), GREY, ":"),
    )  # fmt: skip
    figure, axes = one_panel()
    for label, loss, color, line in shown:
        axes.plot(np.degrees(angles), loss, color=color, linestyle=line, label=label)
    found = [sampled(*leaning(angle, 0.0)) for angle in points]
    axes.plot(np.degrees(points), found, "o", color=TEXTS, label="sampling")
    axes.set(
        xlabel="angle θ of the pair with its centres (degrees)",
        ylabel="loss of one direction − log N (nats)",
    )
    axes.legend()
    return figure


def one_panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.6))
    return figure, figure.subplots()


def leaning(angle: float, centre_angle: float) -> tuple[Array, Array, Array]:
    """Return x, its partner y, and the centre of y's cloud, leaning towards C by these angles."""
    shared, off_a = np.eye(8)[0], np.eye(8)[-2]
    off_b = np.cos(PHI) * off_a + np.sin(PHI) * np.eye(8)[-1]
    x, y = (np.sin(angle) * shared + np.cos(angle) * off for off in (off_a, off_b))
    return x, y, np.sin(centre_angle) * shared + np.cos(centre_angle) * off_b


def sampled(x: Array, y: Array, centre: Array) -> float:
    """Return the loss of one direction by sampling the cloud of y within its hyperplane."""
    basis = np.eye(8)[:, :-1].copy()
    basis[-2:, -1] = np.cos(PHI), np.sin(PHI)
    return anchor_loss(
        x, y, centre, kappa=KAPPA, tau=POINT["tau"], basis=basis, n_samples=200_000
    ).value


# Writing ------------------------------------------------------------------------------------------

OF_DATA: dict[str, Callable[[EmbeddingPair, EmbeddingPair], Figure]] = {
    "scenes": scenes, "seen": seen, "scatter": scatter, "histogram": histogram,
}  # fmt: skip
OF_THEORY: dict[str, Callable[[], Figure]] = {"tilt": tilt, "theorem4": theorem4}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    pairs = held_out()
    with mpl.rc_context(STYLE):
        figures = {name: draw(*pairs) for name, draw in OF_DATA.items()}
        figures |= {name: draw() for name, draw in OF_THEORY.items()}
        for name, figure in figures.items():
            figure.savefig(out / f"{name}.svg", metadata={"Date": None, "Creator": None})
            print(out / f"{name}.svg")


if __name__ == "__main__":
    main()
