"""Encoders that run in PyTorch, on tiny models of the real architectures."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fillgap.encoders import open_encoder  # noqa: E402
from fillgap.errors import InputError  # noqa: E402
from tiny_models import save_clip, save_llm2clip, save_siglip  # noqa: E402

TEXTS = ["a three", "a large three at the top left and a small seven", "five"]


def pictures(n: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20, 24 + i, 3), dtype=np.uint8) for i in range(n)]


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    tower, language = save_llm2clip(root / "llm2clip", root / "llama")
    return {
        "clip": (f"clip:{save_clip(root / 'clip')}", {}),
        "siglip": (f"siglip:{save_siglip(root / 'siglip')}", {}),
        "llm2clip": (f"llm2clip:{tower}", {"language_model": str(language)}),
    }


@pytest.mark.parametrize("kind", ["clip", "siglip", "llm2clip"])
def test_rows_are_those_of_the_model_whatever_the_batch(folders, kind):
    spec, options = folders[kind]
    encoder = open_encoder(spec, device="cpu", batch_size=2, **options)
    images, texts = encoder.encode_images(pictures()), encoder.encode_texts(TEXTS)
    assert images.shape == (5, encoder.n_features)
    assert texts.shape == (3, encoder.n_features)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    for i, text in enumerate(TEXTS):
        np.testing.assert_allclose(encoder.encode_texts([text])[0], texts[i], atol=1e-5)
    for i, picture in enumerate(pictures()):
        np.testing.assert_allclose(encoder.encode_images([picture])[0], images[i], atol=1e-5)
    assert np.linalg.norm(texts[0] - texts[1]) > 1e-3


@pytest.mark.parametrize(("kind", "padding"), [("clip", True), ("siglip", "max_length")])
def test_values_against_a_direct_forward_pass(folders, kind, padding):
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    spec, _ = folders[kind]
    folder = spec.partition(":")[2]
    encoder = open_encoder(spec, device="cpu")
    model = AutoModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=padding, return_tensors="pt")
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")(
        [Image.fromarray(picture) for picture in pictures()], return_tensors="pt"
    )
    with torch.no_grad():
        texts = model.get_text_features(**tokens).pooler_output
        images = model.get_image_features(**pixels).pooler_output
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(texts), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(pictures()), unit(images), atol=1e-5)


@pytest.mark.parametrize("framed", [False, True])
def test_llm2clip_is_the_published_composition(folders, tmp_path, framed):
    """By formula: each text alone, full attention by an explicit mask, the adapter in NumPy."""
    import shutil

    from PIL import Image
    from safetensors.torch import load_file
    from transformers import (
        AutoImageProcessor,
        AutoTokenizer,
        CLIPVisionModelWithProjection,
        LlamaModel,
    )

    tower = folders["llm2clip"][0].partition(":")[2]
    language = tmp_path / "llama"
    shutil.copytree(folders["llm2clip"][1]["language_model"], language)
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
    expected = unit(adapted(unit(pooled), load_file(f"{tower}/model.safetensors")))

    encoder = open_encoder(f"llm2clip:{tower}", device="cpu", language_model=str(language))
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-5)
    pixels = AutoImageProcessor.from_pretrained(tower, backend="pil")(
        [Image.fromarray(picture) for picture in pictures()], return_tensors="pt"
    )
    with torch.no_grad():
        images = CLIPVisionModelWithProjection.from_pretrained(tower)(**pixels).image_embeds
    np.testing.assert_allclose(encoder.encode_images(pictures()), unit(images), atol=1e-5)


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


@pytest.mark.parametrize("kind", ["clip", "siglip", "llm2clip"])
def test_name_and_revision_tell_which_weights_they_are(folders, tmp_path, kind):
    from fillgap.encoders.torch_models import find_weights

    spec, options = folders[kind]
    folder = spec.partition(":")[2]
    encoder = open_encoder(spec, device="cpu", **options)
    if kind == "llm2clip":
        language = options["language_model"]
        assert encoder.name == "llm2clip behind llama"
        parts = [find_weights(folder).revision, find_weights(language).revision]
        assert encoder.revision == "+".join(parts)
    else:
        assert (encoder.name, encoder.revision) == (kind, find_weights(folder).revision)
    assert len(set(encoder.revision.split("+"))) == 1 + (kind == "llm2clip")


def test_a_model_without_some_weights_is_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_clip(tmp_path / "clip")
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"got none for text_projection.weight"):
        open_encoder(f"clip:{folder}", device="cpu")


def test_what_cannot_be_had_is_refused_in_one_sentence(folders, tmp_path, monkeypatch):
    clip = folders["clip"][0]
    with pytest.raises(InputError, match="Did you mean clip"):
        open_encoder("clpi:x")
    with pytest.raises(InputError, match="must be followed by a model"):
        open_encoder("clip")
    with pytest.raises(InputError, match="must be a model of the type siglip"):
        open_encoder(clip.replace("clip:", "siglip:", 1), device="cpu")
    with pytest.raises(InputError, match="device must be one that PyTorch can use"):
        open_encoder(clip, device="nonsense")
    with pytest.raises(InputError, match="must be a file or folder that exists"):
        open_encoder(f"clip:{tmp_path}/none")
    with pytest.raises(InputError, match=r"no config\.json and model\.safetensors in"):
        open_encoder("clip:nobody/nothing", device="cpu")
