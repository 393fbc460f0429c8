"""Wrappers give aligned embeddings through the real libraries, and refuse in one sentence."""

from __future__ import annotations

import asyncio
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
def scenes() -> np.ndarray:
    side = DigitSceneEncoder().size
    pixels = np.zeros((3, side, side), np.uint8)
    pixels[:, 5:12, 5:9] = 200
    pixels[1, 15:20, 2:9] = 255
    return pixels


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


def test_langchain(encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray) -> None:
    own = OnlyTexts(encoder)
    wrapped = LangChainEmbeddings(own, space)
    documents = wrapped.embed_documents(TEXTS)
    expected = space.align_documents(encoder.encode_texts(TEXTS), "text")
    assert np.allclose(documents, expected, atol=1e-6)
    assert all(type(value) is float for value in documents[0])
    asked = np.array([own.embed_query(TEXTS[0])])
    assert np.allclose(wrapped.embed_query(TEXTS[0]), space.align_queries(asked, "text")[0])
    assert asyncio.run(wrapped.aembed_documents(TEXTS)) == documents
    assert asyncio.run(wrapped.aembed_query(TEXTS[0])) == wrapped.embed_query(TEXTS[0])
    assert wrapped.embed_documents([]) == []
    with pytest.raises(InputTypeError, match="to encode images, got OnlyTexts without"):
        wrapped.embed_images(scenes)
    both = LangChainEmbeddings(encoder, space)
    assert both.embed_image(scenes) == both.embed_images(scenes)
    assert len(both.embed_image_query(scenes[0])) == space.n_components


@pytest.mark.filterwarnings("ignore")
def test_a_vector_store_of_langchain_takes_it(
    encoder: DigitSceneEncoder, space: MixedSpace
) -> None:
    stores = needed("langchain_core.vectorstores")
    wrapped = LangChainEmbeddings(encoder, space)
    store = stores.InMemoryVectorStore(wrapped)
    store.add_texts(TEXTS)
    cosines = np.array(wrapped.embed_documents(TEXTS)) @ np.array(wrapped.embed_query(TEXTS[1]))
    found = store.similarity_search_with_score(TEXTS[1], k=3)
    assert [document.page_content for document, _ in found] == [
        TEXTS[i] for i in np.argsort(-cosines)
    ]


@pytest.mark.filterwarnings("ignore")
def test_llama_index(encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray) -> None:
    core = needed("llama_index.core.embeddings")
    wrapped = llama_index_embedding(encoder, space)
    assert isinstance(wrapped, core.MultiModalEmbedding)
    assert wrapped.model_name == "digit-scenes"
    rows = encoder.encode_texts(TEXTS)
    assert np.allclose(
        wrapped.get_text_embedding_batch(TEXTS), space.align_documents(rows, "text"), atol=1e-6
    )
    assert np.allclose(
        wrapped.get_query_embedding(TEXTS[0]), space.align_queries(rows[:1], "text")[0], atol=1e-6
    )
    assert np.allclose(
        wrapped.get_image_embedding_batch(list(scenes)),
        space.align_documents(encoder.encode_images(scenes), "image"),
        atol=1e-6,
    )
    assert asyncio.run(wrapped.aget_query_embedding(TEXTS[0])) == wrapped.get_query_embedding(
        TEXTS[0]
    )


@pytest.mark.filterwarnings("ignore")
def test_haystack(encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray) -> None:
    haystack = needed("haystack")
    rows, pictures = encoder.encode_texts(TEXTS), encoder.encode_images(scenes)
    documents = [
        haystack.Document(content=text, embedding=row.tolist())
        for text, row in zip(TEXTS, rows, strict=True)
    ]
    blob = haystack.dataclasses.ByteStream(b"", mime_type="image/png")
    for place, says in ((1, {"meta": {"modality": "image"}}), (4, {"blob": blob})):
        documents.insert(place, haystack.Document(**says, embedding=pictures[0].tolist()))
    pipeline = haystack.Pipeline()
    pipeline.add_component("align", haystack_document_aligner(space))
    found = pipeline.run({"align": {"documents": documents}})["align"]["documents"]
    assert [document.id for document in found] == [document.id for document in documents]
    for place in (1, 4):
        aligned = space.align_documents(pictures[:1], "image")[0]
        assert np.allclose(found[place].embedding, aligned)
    assert np.allclose(found[2].embedding, space.align_documents(rows, "text")[1], atol=1e-6)
    assert documents[0].embedding == rows[0].tolist()
    asked = haystack.Pipeline()
    asked.add_component("align", haystack_query_aligner(space))
    found = asked.run({"align": {"embedding": rows[0].tolist()}})["align"]["embedding"]
    assert np.allclose(found, space.align_queries(rows[:1], "text")[0], atol=1e-6)
    with pytest.raises(InputError, match="must be embedded before they are aligned"):
        haystack_document_aligner(space).run(documents=[haystack.Document(content="x")])


def test_mteb_batches(encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray) -> None:
    wrapped = MTEBEncoder(encoder, space)
    rows, pictures = encoder.encode_texts(TEXTS), encoder.encode_images(scenes)
    context = {"task_metadata": None, "hf_split": "test", "hf_subset": "default", "batch_size": 2}
    texts = wrapped.encode([{"text": TEXTS[:2]}, {"text": TEXTS[2:]}], **context)
    assert texts == pytest.approx(space.align_documents(rows, "text"), abs=1e-6)
    queries = wrapped.encode([{"text": TEXTS}], prompt_type="query", **context)
    assert queries == pytest.approx(space.align_queries(rows, "text"), abs=1e-6)
    images = wrapped.encode([{"image": list(scenes)}], **context)
    assert images == pytest.approx(space.align_documents(pictures, "image"), abs=1e-6)
    both = wrapped.encode([{"image": list(scenes), "text": TEXTS}], **context)
    assert both == pytest.approx(images + texts, abs=1e-6)
    assert wrapped.similarity(both, texts).shape == (3, 3)
    assert wrapped.similarity_pairwise(texts, texts) == pytest.approx(1.0)
    with pytest.raises(InputError, match="a batch must have images or texts, got audio"):
        wrapped.encode([{"audio": []}], **context)
    with pytest.raises(InputError, match="at least one batch"):
        wrapped.encode([], **context)


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


def test_mteb_models(encoder: DigitSceneEncoder, space: MixedSpace) -> None:
    wrapped = MTEBEncoder(ModelOfMTEB(encoder), space)
    assert wrapped.mteb_model_meta == "meta"
    found = wrapped.encode([{"text": TEXTS}], hf_split="test")
    rows = encoder.encode_texts(TEXTS)
    assert found == pytest.approx(space.align_documents(rows, "text"), abs=1e-6)


def test_refusals(encoder: DigitSceneEncoder, space: MixedSpace, scenes: np.ndarray) -> None:
    short = SimpleNamespace(encode_texts=lambda _: np.ones((1, 128), np.float32))
    for call, words in (
        (lambda: SpaceEncoder(encoder, "space.safetensors"), "be a MixedSpace .* got str"),
        (lambda: SpaceEncoder(encoder, space, queries="x"), "the modality must be one of"),
        (
            lambda: SpaceEncoder(encoder, space, queries="text").query(scenes, "image"),
            "queries must be text queries, .* got image",
        ),
        (
            lambda: SpaceEncoder(object(), space).documents(TEXTS, "text"),
            "to encode texts, got object without",
        ),
        (
            lambda: SpaceEncoder(short, space).documents(TEXTS, "text"),
            "one row for each item, got 1 for 3",
        ),
        (
            lambda: SpaceEncoder(encoder, space).document_rows(np.ones((2, 5), "f4"), "text"),
            f"must be of dimension {space.n_features}",
        ),
    ):
        with pytest.raises((InputError, InputTypeError), match=words):
            call()
