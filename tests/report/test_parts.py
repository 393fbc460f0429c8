"""The parts of a report against slow, obvious computations of the same."""

from __future__ import annotations

import io
import re
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fillgap.errors import InputError
from fillgap.metrics.geometry import principal_angles, subspace_overlap
from fillgap.pair import EmbeddingPair
from fillgap.report import panels
from fillgap.report.data import Item
from fillgap.report.panels import (
    MANIFOLDS,
    MAX_SIDE,
    ask,
    check_thumbnails,
    compare_similarities,
    compare_subspaces,
    project,
    project_more,
    small_png,
)
from report_pairs import pair_with_everything, unpaired_pair
from worlds import make_gapped


def views_of(pair: EmbeddingPair) -> dict[str, EmbeddingPair]:
    centred = (side - side.mean(axis=0) for side in (pair.images, pair.texts))
    return {"raw": pair, "centred": pair.with_vectors(*centred)}


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def pool_of(pair: EmbeddingPair) -> np.ndarray:
    return np.vstack([unit(pair.images), unit(pair.texts)])


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 9))
def test_drawn_rows_are_in_order_and_different(n: int, most: int, seed: int) -> None:
    rows = panels.draw_rows(n, most, np.random.default_rng(seed))
    assert len(rows) == min(n, most)
    assert list(rows) == sorted(set(rows.tolist()))
    assert 0 <= rows[0] <= rows[-1] < n


# Scatter plots


def test_principal_components_keep_as_much_variance_as_two_axes_can() -> None:
    pair = pair_with_everything()
    found = project(views_of(pair), random_state=0)
    assert [some.label for some in found.pairs] == ["raw", "centred"]
    values = np.linalg.eigvalsh(np.cov(pool_of(pair).T))[::-1]
    points = np.vstack([found.pairs[0].images, found.pairs[0].texts])
    np.testing.assert_allclose(np.var(points, axis=0, ddof=1), values[:2], rtol=1e-10)
    assert found.pairs[0].axes[0] == f"component 1, {values[0] / values.sum():.0%} of variance"


def test_components_do_not_depend_on_the_order_and_show_the_same_rows(monkeypatch) -> None:
    pair = pair_with_everything()
    order = np.random.default_rng(0).permutation(pair.n_images)
    shuffled = pair.take(order, np.arange(pair.n_texts))
    first, second = (project({"raw": some}, random_state=0).pairs[0] for some in (pair, shuffled))
    np.testing.assert_allclose(first.images[order], second.images, atol=1e-10)
    monkeypatch.setattr(panels, "MAX_POINTS", 7)
    same = project({"raw": pair, "again": pair}, random_state=0)
    assert same.pairs[0].images.shape == same.pairs[0].texts.shape == (7, 2)
    np.testing.assert_array_equal(same.pairs[0].texts, same.pairs[1].texts)


def more_of(pair: EmbeddingPair, seed: int = 0) -> tuple:
    return project_more({"raw": pair}, random_state=seed, progress=lambda *_: None)


def test_what_cannot_be_drawn_is_said_in_one_sentence(monkeypatch) -> None:
    for module in ("umap", "pacmap"):
        monkeypatch.setitem(sys.modules, module, None)
    missing, few = (more_of(pair_with_everything(n)) for n in (60, 10))
    start = "UMAP and PaCMAP not drawn: "
    assert missing == ((), f"{start}not installed. Run: pip install 'fillgap[viz]'")
    assert few == ((), f"{start}they need 30 rows of each modality.")


def test_the_optional_packages_are_asked_for_two_seeded_dimensions(monkeypatch) -> None:
    seeds = []

    class Reducer:
        def __init__(self, *, random_state: int, **_: object) -> None:
            seeds.append(random_state)

        def fit_transform(self, rows: np.ndarray) -> np.ndarray:
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
            return rows[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Reducer))
    monkeypatch.setitem(sys.modules, "pacmap", types.SimpleNamespace(PaCMAP=Reducer))
    pair = pair_with_everything()
    found, missing = more_of(pair, seed=5)
    assert (missing, seeds) == (None, [5, 5])
    assert [some.name for some in found] == list(MANIFOLDS) == ["UMAP", "PaCMAP"]
    drawn = found[0].pairs[0]
    np.testing.assert_allclose(np.vstack([drawn.images, drawn.texts]), pool_of(pair)[:, :2])


@pytest.mark.parametrize("name", MANIFOLDS)
def test_real_packages_say_nothing_and_repeat_themselves(name: str, capfd) -> None:
    pytest.importorskip(name.lower(), reason=f"{name} comes with fillgap[viz]")
    rows = unit(pair_with_everything().images)
    first, second = MANIFOLDS[name](rows, 0), MANIFOLDS[name](rows, 0)
    assert first.shape == (60, 2)
    np.testing.assert_array_equal(first, second)
    assert capfd.readouterr() == ("", "")


# Cosines and spectra


def test_similarities_are_those_of_pairs_and_of_all_combinations() -> None:
    pair = pair_with_everything()
    raw, centred = compare_similarities(views_of(pair), random_state=0)
    cosines = unit(pair.texts) @ unit(pair.images).T
    own = cosines[np.arange(pair.n_texts), pair.image_index]
    means = raw.pairs_mean, raw.combinations_mean
    assert means == pytest.approx((own.mean(), cosines.mean()))
    wins = np.sign(own[:, None, None] - cosines).mean()
    assert raw.better == pytest.approx((1 + wins) / 2)
    np.testing.assert_array_equal(raw.edges, centred.edges)
    np.testing.assert_allclose(raw.pairs * len(own), np.histogram(own, raw.edges)[0])
    shares = [part.sum() for some in (raw, centred) for part in (some.pairs, some.combinations)]
    assert shares == pytest.approx([1] * 4)


def test_of_many_texts_some_are_compared_with_the_images_of_all_of_them(monkeypatch) -> None:
    monkeypatch.setattr(panels, "MAX_PAIRS", 11)
    (found,) = compare_similarities({"raw": pair_with_everything()}, random_state=0)
    assert np.rint(found.pairs * 11) == pytest.approx(found.pairs * 11)
    counts = [found.combinations * 11 * n_images for n_images in range(6, 12)]
    assert any(np.allclose(some, np.rint(some), atol=1e-9) for some in counts)


def test_subspaces_stand_beside_random_ones_of_the_same_sizes() -> None:
    X, Y = make_gapped(200, 12, seed=1)
    pair = EmbeddingPair(X, Y)
    found = compare_subspaces("raw", pair, random_state=0)
    np.testing.assert_allclose(found.angles, principal_angles(pair))
    assert found.sentence == subspace_overlap(pair).sentence
    for spectrum, rows in ((found.images_spectrum, X), (found.texts_spectrum, Y)):
        values = np.linalg.svd(unit(rows) - unit(rows).mean(axis=0), compute_uv=False) ** 2
        np.testing.assert_allclose(spectrum, values / values.sum(), atol=1e-12)
    assert found.angles.shape == found.random_mean.shape
    assert np.all(found.random_low <= found.random_mean)
    assert np.all(found.random_mean <= found.random_high)
    assert np.all(np.diff(found.random_mean) >= -1e-9)


# Nearest neighbours


def test_neighbours_are_the_nearest_of_the_whole_pool() -> None:
    pair = pair_with_everything()
    found = ask(views_of(pair), random_state=0)
    assert [query.item.modality for query in found] == ["text", "text", "image", "image"]
    names = [*pair.image_ids, *pair.captions]
    for label, some in views_of(pair).items():
        for query in found:
            number = names.index(query.item.words)
            cosines = pool_of(some) @ pool_of(some)[number]
            cosines[number] = -2
            order = np.argsort(-cosines)[: panels.N_HITS]
            hits = query.hits[label]
            assert [hit.item.words for hit in hits] == [names[k] for k in order]
            np.testing.assert_allclose([hit.cosine for hit in hits], cosines[order])


def test_an_items_own_are_marked() -> None:
    pair = pair_with_everything()
    same = pair.with_vectors(pair.images, pair.images[pair.image_index])
    for query in ask({"raw": same}, random_state=1):
        own = [hit.item for hit in query.hits["raw"] if hit.is_own]
        scenes = {re.search(r"\d+", item.words)[0] for item in (query.item, *own)}
        assert len(scenes) == 1
        others = ["image"] if query.item.modality == "text" else ["text", "text"]
        assert [item.modality for item in own] == others


def test_unpaired_items_without_captions_and_pictures_have_names() -> None:
    pair = replace(unpaired_pair(), captions=None, thumbnails=None, text_ids=["t"] * 40)
    for query in ask({"raw": pair}, random_state=0):
        for item in (query.item, *(hit.item for hit in query.hits["raw"])):
            assert item.picture is None
            assert item.words == ("t" if item.modality == "text" else item.name)
    assert Item("text", "text 3", caption="").words == "text 3"


# Pictures


def png_of(pixels: np.ndarray) -> np.ndarray:
    with Image.open(io.BytesIO(small_png(pixels))) as image:
        return np.asarray(image)


@given(st.tuples(st.integers(1, 20), st.integers(1, 20)), st.booleans(), st.integers(0, 99))
def test_pictures_come_back_from_their_files(size, coloured: bool, seed: int) -> None:
    shape = (*size, 3) if coloured else size
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(png_of(pixels), pixels, strict=True)


def test_a_smaller_picture_is_the_mean_of_squares() -> None:
    pixels = np.arange(200 * 150, dtype=np.int64).reshape(200, 150).astype(np.uint8)
    small = png_of(pixels)
    assert small.shape == (67, 50)
    assert small[5, 7] == round(float(pixels[15:18, 21:24].mean()))
    for shape in ((97, 20, 3), (96, 96, 3), (1000, 2)):
        even = png_of(np.full(shape, 77, np.uint8))
        assert max(even.shape[:2]) <= MAX_SIDE
        assert np.all(even == 77)


def test_what_are_no_pictures_is_refused() -> None:
    flat, alpha, empty = (np.zeros(s, np.uint8) for s in ((3, 4), (3, 4, 4, 4), (3, 0, 4)))
    for bad in (np.zeros((3, 4, 4)), flat, alpha, empty, [[1, 2], [3, 4]]):
        with pytest.raises(InputError, match=r"thumbnails must be uint8 of shape .*, got .*\. Con"):
            check_thumbnails(bad)
