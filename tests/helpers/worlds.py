"""Data that several test files are run on: the real embeddings and small synthetic pairs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fillgap import EmbeddingPair

ROOT = Path(__file__).resolve().parents[2]


def data_folder() -> Path:
    """Return the folder of real embeddings; skip without it, but fail in CI."""
    folder = Path(os.environ.get("FILLGAP_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "coco_clip_vitb16_500").is_dir():
        reason = f"no real embeddings in {folder}: set FILLGAP_TEST_DATA to their folder"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


def load_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def make_gapped(n: int, d: int, *, seed: int, gap: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs with a shared signal, an offset of length about `gap`, and private noise."""
    rng = np.random.default_rng(seed)
    scales = 1.0 / np.sqrt(1.0 + np.arange(d))
    meaning = rng.normal(size=(n, d)) * scales
    offset = rng.normal(size=d)
    offset *= 2 * gap / np.linalg.norm(offset)
    X = meaning + 0.3 * rng.normal(size=(n, d)) * scales[::-1] + offset
    Y = meaning + 0.3 * rng.normal(size=(n, d)) * scales - offset
    return X, Y


def captioned(n: int, per_image: int, *, seed: int = 0) -> EmbeddingPair:
    """Make a pair with several texts for each image, in mixed order."""
    X, Y = make_gapped(n, 12, seed=seed)
    rng = np.random.default_rng(seed)
    index = rng.permutation(np.repeat(np.arange(n), per_image))
    texts = Y[index] + 0.05 * rng.normal(size=(len(index), 12))
    return EmbeddingPair(X, texts, image_index=index)


def two_texts(n: int = 160, d: int = 24, *, gap: float = 1.0, seed: int = 0) -> EmbeddingPair:
    """Images with two texts each, a gap between, and texts closer to each other than to images."""
    X, Y = make_gapped(n, d, seed=seed, gap=gap)
    rng = np.random.default_rng(seed + 1)
    texts = np.repeat(Y, 2, axis=0) + 0.15 * rng.normal(size=(2 * n, d))
    index = np.repeat(np.arange(n), 2)
    return EmbeddingPair(X, texts, image_index=index, name=f"gap {gap:g}")


def of_another_kind(pair: EmbeddingPair, n: int = 120) -> EmbeddingPair:
    """Other images with two texts each, where the gap is much the same and nothing else is."""
    rng = np.random.default_rng(5)
    rows = rng.integers(0, pair.n_images, n)
    moved = 0.15 * rng.normal(size=(2, pair.n_features))
    noise = 0.3 * rng.normal(size=(3 * n, pair.n_features))
    texts = pair.texts[np.column_stack([2 * rows, 2 * rows + 1]).ravel()]
    return EmbeddingPair(
        pair.images[rows] + pair.images.std() * (noise[:n] + moved[0]),
        texts + pair.texts.std() * (noise[n:] + moved[1]),
        image_index=np.repeat(np.arange(n), 2),
        name="other kind",
    )
