"""A space inside a SentenceTransformer: appended, saved, loaded again, and the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export_spaces import calibrated, hubness_space, needed
from fillgap import InputError
from fillgap.aligners import MeanCentering
from fillgap.calibration import NNN, Sides, ZScore
from fillgap.export import export_space, sentence_transformer_module
from fillgap.space import MixedSpace
from worlds import make_gapped

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries, about each other
SIZE = 12
TEXTS = ["a large three", "seven on the left", "five"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of random weights, as its authors would publish it."""
    for library in ("torch", "transformers", "sentence_transformers"):
        needed(library)
    from tiny_models import save_sentence_transformer

    out = tmp_path_factory.mktemp("clip")
    save_sentence_transformer(out / "model", out / "parts")
    return out / "model"


@pytest.fixture
def model(folder: Path) -> Any:
    return needed("sentence_transformers").SentenceTransformer(str(folder), device="cpu")


def pictures() -> list[Any]:
    pixels = np.random.default_rng(0).integers(0, 255, size=(3, 16, 16, 3), dtype=np.uint8)
    return [needed("PIL.Image").fromarray(picture) for picture in pixels]


def reloaded(model: Any, folder: Path) -> Any:
    model.save(str(folder), create_model_card=False)
    return type(model)(str(folder), device="cpu", trust_remote_code=True)


def space(*, query_means: bool = False) -> MixedSpace:
    """Return a calibrated space of the model's dimension, whatever its rows look like."""
    X, Y = make_gapped(60, SIZE, seed=1)
    aligner = MeanCentering().fit(X, Y)
    means = Sides(None, aligner.mean_y_ * 0.5) if query_means else None
    return calibrated(aligner, X, Y, query_means=means)


def test_a_module_knows_images_from_texts_and_is_kept(model: Any, tmp_path: Path) -> None:
    made = space(query_means=True)
    images, texts = model.encode(pictures()), model.encode(TEXTS)
    model.append(sentence_transformer_module(made))
    assert model.get_embedding_dimension() == SIZE
    loaded = reloaded(model, tmp_path / "aligned")
    for ask, items, expected in (
        ("encode", pictures(), made.align_documents(images, "image")),
        ("encode", TEXTS, made.align_documents(texts, "text")),
        ("encode_query", TEXTS, made.align_queries(texts, "text")),
    ):
        found = getattr(model, ask)(items)
        assert found == pytest.approx(expected, abs=1e-5)
        assert np.array_equal(getattr(loaded, ask)(items), found)
    assert not list((tmp_path / "aligned").rglob("*.bin"))
    listed = json.loads((tmp_path / "aligned" / "modules.json").read_text())
    config = json.loads((tmp_path / "aligned" / listed[-1]["path"] / "config.json").read_text())
    assert config["fingerprint"] == made.fingerprint


def test_calibrated_scores_are_inner_products(model: Any) -> None:
    made, images, texts = space(), model.encode(pictures()), model.encode(TEXTS)
    model.append(sentence_transformer_module(made, queries="text"))
    found = model.encode_query(TEXTS) @ model.encode(pictures()).T
    cosines = made.align_queries(texts, "text") @ made.align_documents(images, "image").T
    expected = made.calibrate(cosines, query="text", document="image")
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    with pytest.raises(InputError, match="queries must be text queries"):
        model.encode_query(pictures())


def test_an_offset_after_nnn_is_saved_with_the_model(model: Any, tmp_path: Path) -> None:
    made = hubness_space(ZScore(on="all", after=NNN(k=5)))
    images, texts = model.encode(pictures()), model.encode(TEXTS)
    model.append(sentence_transformer_module(made, queries="text"))
    loaded = reloaded(model, tmp_path / "aligned")
    for modality, rows, items in (("image", images, pictures()), ("text", texts, TEXTS)):
        expected = made.stored(rows, document=modality, query="text")
        assert model.encode(items) == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert np.array_equal(loaded.encode(items), model.encode(items))


def test_the_command_writes_a_whole_model(folder: Path, model: Any, tmp_path: Path) -> None:
    expected = space().align_documents(model.encode(TEXTS), "text")
    out = tmp_path / "aligned"
    written = export_space(space(), "sentence-transformers", out, model=folder)
    assert out / "modules.json" in written
    loaded = type(model)(str(out), device="cpu", trust_remote_code=True)
    assert loaded.encode(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_a_space_of_another_model_is_refused(folder: Path, model: Any, tmp_path: Path) -> None:
    aligner = MeanCentering().fit(*make_gapped(30, SIZE + 1, seed=2))
    model.append(sentence_transformer_module(aligner))
    with pytest.raises(InputError, match="embeddings must be of dimension 13, .* got 12"):
        model.encode(TEXTS)
    for given, words in (
        ({"model": folder}, "must give embeddings of dimension 13, .* got 12"),
        ({}, "the model must be given"),
        ({"model": tmp_path / "none"}, "must be a file or folder that exists"),
    ):
        with pytest.raises(InputError, match=words):
            export_space(aligner, "sentence-transformers", tmp_path / "x", **given)
    assert not (tmp_path / "x").exists()
