"""Encoders that run in PyTorch, on tiny models of the real architectures, against libraries."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import tiny_models as tiny  # noqa: E402
from fillgap.encoders import open_encoder  # noqa: E402
from fillgap.encoders.torch_models import find_weights  # noqa: E402
from fillgap.errors import InputError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries, about each other
TEXTS = ["a three", "a large three at the top left and a small seven", "five"]
#: By folder: the kind, the name and the dimension of the encoder.
KINDS = {
    "clip": ("clip", "clip", 12),
    "siglip": ("siglip", "siglip", 16),
    "siglip2": ("siglip", "siglip2", 16),
    "llm2clip": ("llm2clip", "llm2clip behind llama", 12),
    "st": ("sentence-transformers", "st", 12),
    "colpali": ("multi-vector", "colpali (mean)", 12),
}


def pictures(n: int = 5) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    shapes = [(20, 24 + 9 * i, 3) for i in range(n)]
    return [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tiny.save_llm2clip(root / "llm2clip", root / "llama")
    tiny.save_clip(root / "clip")
    tiny.save_siglip(root / "siglip")
    tiny.save_siglip2(root / "siglip2")
    tiny.save_sentence_transformer(root / "st", root / "st-clip")
    tiny.save_colpali(root / "colpali")
    return root


def opened(root, name: str, **options):
    if name == "llm2clip":
        options = {"language_model": str(root / "llama"), **options}
    return open_encoder(f"{KINDS[name][0]}:{root / name}", device="cpu", **options)


def assert_encodes(encoder, images, texts) -> None:
    np.testing.assert_allclose(encoder.encode_images(pictures()), images, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), texts, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_rows_do_not_depend_on_the_batch_and_say_which_weights_they_are_of(root, name):
    encoder = opened(root, name, batch_size=2)
    n = KINDS[name][2]
    assert (encoder.name, encoder.n_features) == (KINDS[name][1], n)
    folders = [name, "llama"] if name == "llm2clip" else [name]
    revisions = [find_weights(root / folder).revision for folder in folders]
    assert encoder.revision == "+".join(revisions)
    assert len(set(revisions)) == len(folders)
    images, texts = encoder.encode_images(pictures()), encoder.encode_texts(TEXTS)
    assert (images.shape, texts.shape) == ((5, n), (3, n))
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    for i, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode_texts([text])[0], texts[i], atol=1e-5)
    for i, picture in enumerate(pictures()):
        np.testing.assert_allclose(encoder.encode_images([picture])[0], images[i], atol=1e-5)
    assert np.linalg.norm(texts[0] - texts[1]) > 1e-3
    assert np.linalg.norm(images[0] - images[1]) > 1e-3


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2"])
def test_values_against_a_direct_forward_pass(root, name):
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    padding = {"padding": True} if name == "clip" else {"padding": "max_length", "max_length": 24}
    model = AutoModel.from_pretrained(root / name).eval()
    tokens = AutoTokenizer.from_pretrained(root / name)(TEXTS, return_tensors="pt", **padding)
    processor = AutoImageProcessor.from_pretrained(root / name, backend="pil")
    with torch.no_grad():
        texts = model.get_text_features(**tokens).pooler_output
        images = model.get_image_features(**processor(pictures(), return_tensors="pt"))
    assert_encodes(opened(root, name), unit(images.pooler_output), unit(texts))


def test_sentence_transformers_gives_what_the_library_gives(root):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(root / "st"), device="cpu")
    assert_encodes(opened(root, "st"), model.encode(pictures()), model.encode(TEXTS))


@pytest.mark.parametrize("pooling", ["mean", "max", "first", "last"])
def test_a_multi_vector_model_is_pooled_as_asked(root, pooling):
    from transformers import ColPaliForRetrieval, ColPaliProcessor

    model = ColPaliForRetrieval.from_pretrained(root / "colpali").eval()
    processor = ColPaliProcessor.from_pretrained(root / "colpali")

    def alone(inputs) -> np.ndarray:  # one item has no padding
        with torch.no_grad():
            rows = model(**inputs).embeddings[0].numpy()
        return {"first": rows[0], "last": rows[-1], "mean": rows.mean(0), "max": rows.max(0)}[
            pooling
        ]

    texts = unit([alone(processor.process_queries(text=[text])) for text in TEXTS])
    images = unit([alone(processor.process_images(images=[picture])) for picture in pictures()])
    assert_encodes(opened(root, "colpali", pooling=pooling), images, texts)


@pytest.mark.parametrize("framed", [False, True])
def test_llm2clip_is_the_published_composition(root, tmp_path, framed):
    """By formula: each text alone, full attention by an explicit mask, the adapter in NumPy."""
    from transformers import (
        AutoImageProcessor,
        AutoTokenizer,
        CLIPVisionModelWithProjection,
        LlamaModel,
    )

    tower, language = root / "llm2clip", tmp_path / "llama"
    shutil.copytree(root / "llama", language)
    tokenizer = AutoTokenizer.from_pretrained(language)
    before, behind = "", ""
    if framed:
        frame = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
        tokenizer.add_special_tokens({"additional_special_tokens": frame})
        tokenizer.save_pretrained(language)
        before, behind = "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"
    model = LlamaModel.from_pretrained(language, attn_implementation="eager").eval()
    pooled = []
    for text in TEXTS:
        ids = tokenizer(before + text + behind, return_tensors="pt")["input_ids"]
        n_pooled = len(tokenizer(text + behind, add_special_tokens=False)["input_ids"])
        n_tokens = ids.shape[1]
        with torch.no_grad():
            hidden = model(ids, attention_mask=torch.zeros(1, 1, n_tokens, n_tokens))
        pooled.append(hidden.last_hidden_state[0, -n_pooled:].mean(dim=0).numpy())
    texts = unit(adapted(unit(pooled), load_file(tower / "model.safetensors")))
    processor = AutoImageProcessor.from_pretrained(tower, backend="pil")
    with torch.no_grad():
        vision = CLIPVisionModelWithProjection.from_pretrained(tower)
        images = vision(**processor(pictures(), return_tensors="pt")).image_embeds
    encoder = opened(root, "llm2clip", language_model=str(language))
    assert_encodes(encoder, unit(images), texts)


def adapted(rows: np.ndarray, tensors) -> np.ndarray:
    """x + W₂ GELU(W₁ LN(x) + b₁) + b₂ twice, a normalisation, a projection."""
    from scipy.special import erf

    def part(key):
        return tensors[f"text_adapter.text_adaptor.{key}"].double().numpy()

    def normalised(x, name):
        centred = x - x.mean(axis=1, keepdims=True)
        deviation = np.sqrt(centred.var(axis=1, keepdims=True) + 1e-5)
        return centred / deviation * part(f"{name}weight") + part(f"{name}bias")

    for block in (0, 1):
        inner = normalised(rows, f"{block}.ln.") @ part(f"{block}.fn.0.weight").T
        inner += part(f"{block}.fn.0.bias")
        inner *= (1 + erf(inner / np.sqrt(2))) / 2
        rows = rows + inner @ part(f"{block}.fn.3.weight").T + part(f"{block}.fn.3.bias")
    return normalised(rows, "2.") @ part("3.weight").T + part("3.bias")


@pytest.mark.parametrize("name", ["clip", "siglip2", "st"])
def test_a_long_text_is_cut_at_the_length_of_the_tower(root, name):
    rows = opened(root, name).encode_texts(["a five " * 30, "a five " * 60, "a five"])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)
    assert np.linalg.norm(rows[0] - rows[2]) > 1e-4


def test_the_revision_is_of_the_weights_in_subfolders_too(tmp_path):
    (tmp_path / "0_CLIPModel").mkdir()
    weights = tmp_path / "0_CLIPModel" / "model.safetensors"
    weights.write_bytes(b"one")
    before = find_weights(tmp_path).revision
    weights.write_bytes(b"two")
    assert find_weights(tmp_path).revision != before


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ("clpi:x", {}, "Did you mean clip"),
        ("{}", {}, "Say what is in that folder, for example clip:"),
        ("clip", {}, "must be followed by a model"),
        ("siglip:{}/clip", {}, "must be a model of the type siglip or siglip2, got 'clip'"),
        ("multi-vector:{}/clip", {}, "must be a model of the type colpali, colqwen2,"),
        ("multi-vector:{}/colpali", {"pooling": "median"}, "pooling must be one of"),
        ("clip:{}/clip", {"device": "nonsense"}, "device must be one that PyTorch can use"),
        ("clip:{}/none", {}, "must be a file or folder that exists"),
        ("clip:nobody/nothing", {}, r"no config\.json and model\.safetensors in"),
        ("llm2clip:{}/clip", {"language_model": "{}/llama"}, "must hold a text adapter, got none"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_sentence(root, spec, options, said):
    options = {"device": "cpu", **{key: str(v).format(root) for key, v in options.items()}}
    with pytest.raises(InputError, match=said):
        open_encoder(spec.format(root), **options)


def test_a_model_without_some_weights_or_of_texts_alone_is_refused(tmp_path):
    folder = tiny.save_clip(tmp_path / "clip")
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"got none for text_projection.weight"):
        open_encoder(f"clip:{folder}", device="cpu")
    folder = tiny.save_text_model(tmp_path / "st", tmp_path / "bert")
    with pytest.raises(InputError, match="st must be a model of pictures and texts, got one that"):
        open_encoder(f"sentence-transformers:{folder}", device="cpu")


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
def test_a_batch_out_of_memory_is_halved_and_said_once(root, error):
    encoder = opened(root, "clip", batch_size=8)
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


def test_another_failure_is_not_taken_for_memory(root, monkeypatch):
    encoder = opened(root, "clip")

    def fail(items):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(encoder, "_encode_texts", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        encoder.encode_texts(TEXTS)
