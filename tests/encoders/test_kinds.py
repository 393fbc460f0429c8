"""Encoders of SigLIP 2, sentence-transformers and ColPali, against their libraries."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from PIL import Image  # noqa: E402

from fillgap.encoders import open_encoder  # noqa: E402
from fillgap.encoders.torch_models import find_weights  # noqa: E402
from fillgap.errors import InputError  # noqa: E402
from tiny_models import (  # noqa: E402
    save_clip,
    save_colpali,
    save_sentence_transformer,
    save_siglip2,
    save_text_model,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries, about each other
TEXTS = ["a three", "a large three at the top left and a small seven", "five"]


def pictures(n: int = 5) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    shapes = [(20, 24 + 9 * i, 3) for i in range(n)]
    return [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "siglip": save_siglip2(root / "siglip2"),
        "sentence-transformers": save_sentence_transformer(root / "st", root / "st-clip"),
        "multi-vector": save_colpali(root / "colpali"),
    }


@pytest.mark.parametrize(
    ("kind", "name", "n_features"),
    [
        ("siglip", "siglip2", 16),
        ("sentence-transformers", "st", 12),
        ("multi-vector", "colpali (mean)", 12),
    ],
)
def test_rows_do_not_depend_on_the_batch(folders, kind, name, n_features):
    encoder = open_encoder(f"{kind}:{folders[kind]}", device="cpu", batch_size=2)
    assert (encoder.name, encoder.n_features) == (name, n_features)
    assert encoder.revision == find_weights(folders[kind]).revision
    images, texts = encoder.encode_images(pictures()), encoder.encode_texts(TEXTS)
    assert (images.shape, texts.shape) == ((5, n_features), (3, n_features))
    for i, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode_texts([text])[0], texts[i], atol=1e-5)
    for i, picture in enumerate(pictures()):
        np.testing.assert_allclose(encoder.encode_images([picture])[0], images[i], atol=1e-5)
    assert np.linalg.norm(texts[0] - texts[1]) > 1e-3
    assert np.linalg.norm(images[0] - images[1]) > 1e-3


def test_siglip_2_gives_what_transformers_gives(folders):
    from transformers import AutoImageProcessor, AutoTokenizer, Siglip2Model

    folder = folders["siglip"]
    model = Siglip2Model.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding="max_length", max_length=24, return_tensors="pt"
    )
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")(
        pictures(), return_tensors="pt"
    )
    with torch.no_grad():
        texts = model.get_text_features(**tokens).pooler_output
        images = model.get_image_features(**pixels).pooler_output
    encoder = open_encoder(f"siglip:{folder}", device="cpu")
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(texts), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(pictures()), unit(images), atol=1e-5)


def test_sentence_transformers_gives_what_the_library_gives(folders):
    from sentence_transformers import SentenceTransformer

    folder = folders["sentence-transformers"]
    model = SentenceTransformer(str(folder), device="cpu")
    encoder = open_encoder(f"sentence-transformers:{folder}", device="cpu")
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), model.encode(TEXTS), atol=1e-5)
    images = model.encode(pictures())
    np.testing.assert_allclose(encoder.encode_images(pictures()), images, atol=1e-5)


def test_a_model_of_texts_alone_is_refused(tmp_path):
    folder = save_text_model(tmp_path / "st", tmp_path / "bert")
    with pytest.raises(InputError, match="st must be a model of pictures and texts, got one that"):
        open_encoder(f"sentence-transformers:{folder}", device="cpu")


@pytest.mark.parametrize("pooling", ["mean", "max", "first", "last"])
def test_a_multi_vector_model_is_pooled_as_asked(folders, pooling):
    from transformers import ColPaliForRetrieval, ColPaliProcessor

    folder = folders["multi-vector"]
    model = ColPaliForRetrieval.from_pretrained(folder).eval()
    processor = ColPaliProcessor.from_pretrained(folder)
    pool = {
        "mean": lambda rows: rows.mean(axis=0), "max": lambda rows: rows.max(axis=0),
        "first": lambda rows: rows[0], "last": lambda rows: rows[-1],
    }[pooling]  # fmt: skip

    def alone(inputs) -> np.ndarray:  # one item has no padding
        with torch.no_grad():
            return pool(model(**inputs).embeddings[0].numpy())

    encoder = open_encoder(f"multi-vector:{folder}", device="cpu", pooling=pooling)
    texts = unit([alone(processor.process_queries(text=[text])) for text in TEXTS])
    images = unit([alone(processor.process_images(images=[picture])) for picture in pictures()])
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(pictures()), images, atol=1e-5)
    with pytest.raises(InputError, match="pooling must be one of"):
        open_encoder(f"multi-vector:{folder}", device="cpu", pooling="median")


@pytest.mark.parametrize("kind", ["clip", "siglip", "sentence-transformers"])
def test_a_long_text_is_cut_at_the_length_of_the_tower(folders, tmp_path, kind):
    folder = save_clip(tmp_path / "clip") if kind == "clip" else folders[kind]
    encoder = open_encoder(f"{kind}:{folder}", device="cpu")
    rows = encoder.encode_texts(["a five " * 30, "a five " * 60, "a five"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)
    assert np.linalg.norm(rows[0] - rows[2]) > 1e-4


def test_the_revision_is_of_the_weights_in_subfolders_too(tmp_path):
    (tmp_path / "0_CLIPModel").mkdir()
    weights = tmp_path / "0_CLIPModel" / "model.safetensors"
    weights.write_bytes(b"one")
    before = find_weights(tmp_path).revision
    weights.write_bytes(b"two")
    assert find_weights(tmp_path).revision != before


class _Small:
    """The tower of a model, on a device that holds `most` items at a time."""

    def __init__(self, encode, most: int, error: type[Exception]) -> None:
        self.encode, self.most, self.error = encode, most, error
        self.sizes: list[int] = []

    def __call__(self, items):
        self.sizes.append(len(items))
        if len(items) > self.most:
            raise self.error("out of memory")
        return self.encode(items)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_batch_out_of_memory_is_halved_and_said_once(tmp_path, error):
    encoder = open_encoder(f"clip:{save_clip(tmp_path / 'clip')}", device="cpu", batch_size=8)
    expected = encoder.encode_images(pictures(13)), encoder.encode_texts(TEXTS * 5)
    images = encoder._encode_images = _Small(encoder._encode_images, 3, error)
    encoder._encode_texts = _Small(encoder._encode_texts, 2, error)
    with pytest.warns(UserWarning, match="a batch of 8 did not fit into the memory") as said:
        found = encoder.encode_images(pictures(13)), encoder.encode_texts(TEXTS * 5)
    assert len([w for w in said if "did not fit" in str(w.message)]) == 1
    for here, there in zip(found, expected, strict=True):
        np.testing.assert_allclose(here, there, atol=1e-5)
    assert images.sizes[:3] == [8, 4, 2]
    assert encoder.batch_size == 2
    encoder._encode_texts = _Small(encoder._encode_texts, 0, error)
    with pytest.raises(InputError, match="must fit into the memory of cpu with one item"):
        encoder.encode_texts(TEXTS)


def test_another_failure_is_not_taken_for_memory(tmp_path):
    encoder = open_encoder(f"clip:{save_clip(tmp_path / 'clip')}", device="cpu")

    def fail(items):
        raise RuntimeError("shapes differ")

    encoder._encode_texts = fail
    with pytest.raises(RuntimeError, match="shapes differ"):
        encoder.encode_texts(TEXTS)
