"""Wrappers give aligned embeddings through the real libraries, and refuse in one sentence."""

from __future__ import annotations

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from export_spaces import calibrated, needed
from fillgap import InputError, InputTypeError
from fillgap.aligners import MeanCentering
from fillgap.calibration import Sides
from fillgap.datasets import load_digit_scenes
from fillgap.encoders import DigitSceneEncoder
from fillgap.integrations import (
    LangChainEmbeddings,
    MTEBEncoder,
    SpaceEncoder,
    haystack_document_aligner,
    haystack_query_aligner,
    llama_index_embedding,
)
from fillgap.space import MixedSpace

TEXTS = ["a large three at the top", "a small 5 on the left", "two eights"]


@pytest.fixture(scope="module")
def encoder() -> DigitSceneEncoder:
    return DigitSceneEncoder()


@pytest.fixture(scope="module")
def space() -> MixedSpace:
    """A calibrated space over some of the bundled scenes, with a mean of query texts."""
    pair = load_digit_scenes()
    X, Y = pair.images[:150], pair.texts[:300]
    aligner = MeanCentering().fit(X, Y)
    return calibrated(aligner, X, Y, query_means=Sides(None, aligner.mean_y_ * 0.9))


@pytest.fixture(scope="module")
def scenes(encoder: DigitSceneEncoder) -> np.ndarray:
    pixels = np.zeros((3, encoder.size, encoder.size), np.uint8)
    pixels[:, 5:12, 5:9] = 200
    pixels[1, 15:20, 2:9] = 255
    return pixels


def close(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-6)


class OnlyTexts:
    """An embedding in the manner of LangChain, which knows queries from documents."""

    def __init__(self, encoder: DigitSceneEncoder) -> None:
        self._encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._encoder.encode_texts(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self._encoder.encode_texts([f"{text} ,"])[0].tolist()


def test_documents_queries_and_calibrated_vectors(
    encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray
) -> None:
    rows, pictures = encoder.encode_texts(TEXTS), encoder.encode_images(scenes)
    aligned = SpaceEncoder(encoder, space)
    assert np.array_equal(aligned.documents(TEXTS, "text"), space.align_documents(rows, "text"))
    assert np.array_equal(aligned.query(TEXTS, "text"), space.align_queries(rows, "text"))
    images = aligned.documents(scenes, "image")
    assert np.array_equal(images, space.align_documents(pictures, "image"))
    scored = SpaceEncoder(encoder, space, queries="text")
    assert scored.n_outputs == aligned.n_outputs + 1 == images.shape[1] + 1
    found = scored.query(TEXTS, "text") @ scored.documents(scenes, "image").T
    cosines = aligned.query(TEXTS, "text") @ images.T
    expected = space.calibrate(cosines, query="text", document="image")
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_langchain(encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray) -> None:
    own = OnlyTexts(encoder)
    wrapped = LangChainEmbeddings(own, space)
    documents, query = wrapped.embed_documents(TEXTS), wrapped.embed_query(TEXTS[1])
    close(documents, space.align_documents(encoder.encode_texts(TEXTS), "text"))
    close([query], space.align_queries(np.array([own.embed_query(TEXTS[1])]), "text"))
    assert all(type(value) is float for value in documents[0])
    assert asyncio.run(wrapped.aembed_documents(TEXTS)) == documents
    assert asyncio.run(wrapped.aembed_query(TEXTS[1])) == query
    assert wrapped.embed_documents([]) == []
    with pytest.raises(InputTypeError, match="to encode images, got OnlyTexts without"):
        wrapped.embed_images(scenes)
    both = LangChainEmbeddings(encoder, space)
    assert both.embed_image(scenes) == both.embed_images(scenes)
    assert len(both.embed_image_query(scenes[0])) == space.n_components
    store = needed("langchain_core.vectorstores").InMemoryVectorStore(wrapped)
    store.add_texts(TEXTS)
    found = store.similarity_search_with_score(TEXTS[1], k=3)
    order = np.argsort(-(np.array(documents) @ np.array(query)))
    assert [document.page_content for document, _ in found] == [TEXTS[i] for i in order]


@pytest.mark.filterwarnings("ignore")
def test_llama_index(encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray) -> None:
    core = needed("llama_index.core.embeddings")
    wrapped = llama_index_embedding(encoder, space)
    assert isinstance(wrapped, core.MultiModalEmbedding)
    assert wrapped.model_name == "digit-scenes"
    rows, pictures = encoder.encode_texts(TEXTS), encoder.encode_images(scenes)
    query = wrapped.get_query_embedding(TEXTS[0])
    close(wrapped.get_text_embedding_batch(TEXTS), space.align_documents(rows, "text"))
    close([query], space.align_queries(rows[:1], "text"))
    images = wrapped.get_image_embedding_batch(list(scenes))
    close(images, space.align_documents(pictures, "image"))
    assert asyncio.run(wrapped.aget_query_embedding(TEXTS[0])) == query


@pytest.mark.filterwarnings("ignore")
def test_haystack(encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray) -> None:
    haystack = needed("haystack")
    rows, pictures = encoder.encode_texts(TEXTS), encoder.encode_images(scenes)
    blob = haystack.dataclasses.ByteStream(b"", mime_type="image/png")
    says = [{"content": text} for text in TEXTS] + [{"meta": {"modality": "image"}}, {"blob": blob}]
    documents = [
        haystack.Document(**says[i], embedding=row.tolist())
        for i, row in enumerate([*rows, *pictures[:2]])
    ]
    documents.insert(1, documents.pop())  # images among the texts
    pipeline = haystack.Pipeline()
    pipeline.add_component("align", haystack_document_aligner(space))
    found = pipeline.run({"align": {"documents": documents}})["align"]["documents"]
    assert [document.id for document in found] == [document.id for document in documents]
    aligned = np.array([document.embedding for document in found])
    close(aligned[[0, 2, 3]], space.align_documents(rows, "text"))
    close(aligned[[4, 1]], space.align_documents(pictures[:2], "image"))
    assert documents[0].embedding == rows[0].tolist()
    asked = haystack.Pipeline()
    asked.add_component("align", haystack_query_aligner(space))
    found = asked.run({"align": {"embedding": rows[0].tolist()}})["align"]["embedding"]
    close([found], space.align_queries(rows[:1], "text"))
    with pytest.raises(InputError, match="must be embedded before they are aligned"):
        haystack_document_aligner(space).run(documents=[haystack.Document(content="x")])


class ModelOfMTEB:
    """A model that reads batches, as those of MTEB do."""

    mteb_model_meta = "meta"

    def __init__(self, encoder: DigitSceneEncoder) -> None:
        self._encoder = encoder

    def encode(self, inputs: Any, *, prompt_type: Any = None, **context: Any) -> np.ndarray:
        assert context == {"hf_split": "test"}
        found = [
            self._encoder.encode_texts(batch["text"])
            if "text" in inputs.dataset.features
            else self._encoder.encode_images(np.asarray(batch["image"]))
            for batch in inputs
        ]
        return np.concatenate(found)


def test_mteb(encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray) -> None:
    rows, pictures = encoder.encode_texts(TEXTS), encoder.encode_images(scenes)
    context = {"hf_split": "test"}
    for model in (encoder, ModelOfMTEB(encoder)):
        wrapped = MTEBEncoder(model, space)
        assert wrapped.mteb_model_meta == getattr(model, "mteb_model_meta", None)
        texts = wrapped.encode([{"text": TEXTS[:2]}, {"text": TEXTS[2:]}], **context)
        close(texts, space.align_documents(rows, "text"))
        queries = wrapped.encode([{"text": TEXTS}], prompt_type="query", **context)
        close(queries, space.align_queries(rows, "text"))
        images = wrapped.encode([{"image": list(scenes)}], **context)
        close(images, space.align_documents(pictures, "image"))
        both = wrapped.encode([{"image": list(scenes), "text": TEXTS}], **context)
        close(both, images + texts)
    assert wrapped.similarity(both, texts).shape == (3, 3)
    assert wrapped.similarity_pairwise(texts, texts) == pytest.approx(1.0)
    with pytest.raises(InputError, match="a batch must have images or texts, got audio"):
        wrapped.encode([{"audio": []}], **context)
    with pytest.raises(InputError, match="at least one batch"):
        wrapped.encode([], **context)


def test_refusals(encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray) -> None:
    short = SimpleNamespace(encode_texts=lambda _: np.ones((1, 128), np.float32))
    made, narrow = partial(SpaceEncoder, encoder), np.ones((2, 5), "f4")
    for call, words in (
        (lambda: made("space.safetensors"), "be a MixedSpace .* got str"),
        (lambda: made(space, queries="x"), "the modality must be one of"),
        (lambda: made(space, queries="text").query(scenes, "image"), "be text queries, .* image"),
        (lambda: SpaceEncoder(object(), space).documents(TEXTS, "text"), "texts, got object with"),
        (lambda: SpaceEncoder(short, space).documents(TEXTS, "text"), "each item, got 1 for 3"),
        (lambda: made(space).document_rows(narrow, "text"), f"dimension {space.n_features}"),
    ):
        with pytest.raises((InputError, InputTypeError), match=words):
            call()
