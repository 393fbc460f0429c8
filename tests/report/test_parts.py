"""The parts of a report against slow, obvious computations of the same."""

from __future__ import annotations

import io
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from conftest import make_gapped
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


def views_of(pair: EmbeddingPair) -> dict[str, EmbeddingPair]:
    centred = pair.with_vectors(
        pair.images - pair.images.mean(axis=0), pair.texts - pair.texts.mean(axis=0)
    )
    return {"raw": pair, "centred": centred}


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# Which rows are drawn


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 9))
def test_drawn_rows_are_in_order_and_different(n: int, most: int, seed: int) -> None:
    rows = panels.draw_rows(n, most, np.random.default_rng(seed))
    assert len(rows) == min(n, most)
    assert list(rows) == sorted(set(rows.tolist()))
    assert rows[0] >= 0
    assert rows[-1] < n


# Scatter plots


def test_principal_components_keep_as_much_variance_as_two_axes_can() -> None:
    pair = pair_with_everything()
    found = project(views_of(pair), random_state=0)
    assert [some.label for some in found.pairs] == ["raw", "centred"]
    rows = np.vstack([unit(pair.images), unit(pair.texts)])
    values = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
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


def test_without_the_optional_packages_one_sentence_says_how_to_get_them(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setitem(sys.modules, "pacmap", None)
    found, missing = project_more(
        views_of(pair_with_everything()), random_state=0, progress=lambda *_: None
    )
    assert found == ()
    assert missing == ("UMAP and PaCMAP not drawn: not installed. Run: pip install 'fillgap[viz]'")
    few = {"raw": pair_with_everything(10)}
    found, sentence = project_more(few, random_state=0, progress=lambda *_: None)
    assert found == ()
    assert sentence == "UMAP and PaCMAP not drawn: they need 30 rows of each modality."


def test_the_optional_packages_are_asked_for_two_seeded_dimensions(monkeypatch) -> None:
    asked = []

    class Reducer:
        def __init__(self, **options: object) -> None:
            asked.append(options)

        def fit_transform(self, rows: np.ndarray) -> np.ndarray:
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
            return rows[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Reducer))
    monkeypatch.setitem(sys.modules, "pacmap", types.SimpleNamespace(PaCMAP=Reducer))
    pair = pair_with_everything()
    found, missing = project_more({"raw": pair}, random_state=5, progress=lambda *_: None)
    assert missing is None
    assert [some.name for some in found] == list(MANIFOLDS) == ["UMAP", "PaCMAP"]
    assert all(options["random_state"] == 5 for options in asked)
    np.testing.assert_allclose(found[0].pairs[0].images, unit(pair.images)[:, :2])
    np.testing.assert_allclose(found[0].pairs[0].texts, unit(pair.texts)[:, :2])


@pytest.mark.parametrize("name", MANIFOLDS)
def test_real_packages_say_nothing_and_repeat_themselves(name: str, capfd) -> None:
    pytest.importorskip(name.lower(), reason=f"{name} comes with fillgap[viz]")
    rows = unit(pair_with_everything().images)
    first, second = MANIFOLDS[name](rows, 0), MANIFOLDS[name](rows, 0)
    assert first.shape == (60, 2)
    np.testing.assert_array_equal(first, second)
    assert capfd.readouterr() == ("", "")


# Histograms


def test_similarities_are_those_of_pairs_and_of_all_combinations() -> None:
    pair = pair_with_everything()
    raw, centred = compare_similarities(views_of(pair), random_state=0)
    cosines = unit(pair.texts) @ unit(pair.images).T
    own = cosines[np.arange(pair.n_texts), pair.image_index]
    assert raw.pairs_mean == pytest.approx(own.mean())
    assert raw.combinations_mean == pytest.approx(cosines.mean())
    assert raw.better == pytest.approx(
        np.mean(own[:, None, None] > cosines) + np.mean(own[:, None, None] == cosines) / 2
    )
    np.testing.assert_array_equal(raw.edges, centred.edges)
    np.testing.assert_allclose(raw.pairs * len(own), np.histogram(own, raw.edges)[0])
    for some in (raw, centred):
        assert some.pairs.sum() == pytest.approx(1)
        assert some.combinations.sum() == pytest.approx(1)


def test_of_many_texts_some_are_compared_with_the_images_of_all_of_them(monkeypatch) -> None:
    monkeypatch.setattr(panels, "MAX_PAIRS", 11)
    (found,) = compare_similarities({"raw": pair_with_everything()}, random_state=0)
    assert np.rint(found.pairs * 11) == pytest.approx(found.pairs * 11)
    counts = [found.combinations * 11 * n_images for n_images in range(6, 12)]
    assert any(np.allclose(some, np.rint(some), atol=1e-9) for some in counts)


# Spectra


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


def test_random_angles_are_those_of_random_subspaces() -> None:
    """Two lines in a plane: the angle is uniform; two planes in space always share a line."""
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(300, 2)) @ np.array([[1.0, 0, 0], [0, 1, 0]])
    found = compare_subspaces("raw", EmbeddingPair(flat, flat[:, [2, 0, 1]]), random_state=0)
    assert found.random_high[0] == pytest.approx(0, abs=1e-5)
    assert 0 < found.random_low[1] < found.random_high[1] <= 90


# Nearest neighbours


def test_neighbours_are_the_nearest_of_the_whole_pool() -> None:
    pair = pair_with_everything()
    found = ask(views_of(pair), random_state=0)
    assert [query.item.modality for query in found] == ["text", "text", "image", "image"]
    names = [*pair.image_ids, *pair.captions]
    for label, some in views_of(pair).items():
        pool = np.vstack([unit(some.images), unit(some.texts)])
        for query in found:
            number = names.index(query.item.words)
            cosines = pool @ pool[number]
            cosines[number] = -2
            order = np.argsort(-cosines)[: panels.N_HITS]
            hits = query.hits[label]
            assert [hit.item.words for hit in hits] == [names[k] for k in order]
            np.testing.assert_allclose([hit.cosine for hit in hits], cosines[order])


def test_an_items_own_are_marked() -> None:
    pair = pair_with_everything()
    same = pair.with_vectors(pair.images, pair.images[pair.image_index])
    for query in ask({"raw": same}, random_state=1):
        scene = query.item.words.removeprefix("scene ").split()[0]
        scene = scene.removeprefix("photo-").removesuffix(".jpg")
        own = [hit for hit in query.hits["raw"] if hit.is_own]
        assert len(own) == (1 if query.item.modality == "text" else 2)
        assert all(hit.item.modality != query.item.modality for hit in own)
        assert all(
            f"scene {scene} " in hit.item.words or f"-{scene}." in hit.item.words for hit in own
        )


def test_unpaired_items_without_captions_and_pictures_have_names() -> None:
    pair = replace(unpaired_pair(), captions=None, thumbnails=None, text_ids=["t"] * 40)
    for query in ask({"raw": pair}, random_state=0):
        for item in (query.item, *(hit.item for hit in query.hits["raw"])):
            assert item.picture is None
            assert item.words == ("t" if item.modality == "text" else item.name)
    assert Item("text", "text 3", caption="").words == "text 3"


# Pictures


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
            lambda size: st.sampled_from([size, (*size, 3)])
        ),
    )
)
def test_pictures_come_back_from_their_files(pixels: np.ndarray) -> None:
    with Image.open(io.BytesIO(small_png(pixels))) as image:
        assert image.mode == ("L" if pixels.ndim == 2 else "RGB")
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_a_smaller_picture_is_the_mean_of_squares() -> None:
    pixels = np.arange(200 * 150, dtype=np.int64).reshape(200, 150).astype(np.uint8)
    with Image.open(io.BytesIO(small_png(pixels))) as image:
        small = np.asarray(image)
    assert small.shape == (67, 50)
    for shape in ((97, 20, 3), (96, 96, 3), (1000, 2)):
        with Image.open(io.BytesIO(small_png(np.full(shape, 77, np.uint8)))) as image:
            assert max(image.size) <= MAX_SIDE
            assert np.all(np.asarray(image) == 77)
    assert small[5, 7] == round(float(pixels[15:18, 21:24].mean()))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((3, 4, 4)), np.zeros((3, 4), np.uint8), np.zeros((3, 4, 4, 4), np.uint8),
        np.zeros((3, 0, 4), np.uint8), [[1, 2], [3, 4]],
    ],
    ids=["floats", "flat", "with alpha", "empty", "a list"],
)  # fmt: skip
def test_what_are_no_pictures_is_refused(bad: object) -> None:
    with pytest.raises(
        InputError, match=r"^thumbnails must be uint8 of shape .*, got .*\. Convert"
    ):
        check_thumbnails(bad)
