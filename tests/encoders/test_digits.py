"""The encoder of the bundled scenes, in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from fillgap.datasets import load_class_prompts, load_digit_scenes
from fillgap.encoders import DigitSceneEncoder, Encoder
from fillgap.encoders.digits import _WEIGHTS, _convolve, tokenise
from fillgap.errors import InputError, InputTypeError
from fillgap.files import read_artifact, write_artifact

SHAPES = [(36, 36), (2, 32, 32), (2, 36, 36, 3), (0, 36, 36)]
OUTSIDE = [-0.1, 1.5, 255.0, np.nan, np.inf]
KINDS = [np.int64, np.bool_, object]


@pytest.fixture(scope="module")
def encoder() -> DigitSceneEncoder:
    return DigitSceneEncoder()


@pytest.fixture(scope="module")
def scenes():
    return load_digit_scenes()


def slow_convolution(maps: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """The definition for one picture (height, width, channels), a loop over every place."""
    n_out, _, size, _ = weight.shape
    half = size // 2
    padded = np.pad(maps, [(half, half), (half, half), (0, 0)])
    rows, columns = (range(0, length, stride) for length in maps.shape[:2])
    out = np.zeros((len(rows), len(columns), n_out))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = padded[row : row + size, column : column + size].transpose(2, 0, 1)
            out[i, j] = (weight * window).sum(axis=(1, 2, 3))
    return out


@pytest.mark.parametrize(("size", "stride", "side"), [(3, 1, 7), (3, 2, 8), (3, 2, 9), (5, 1, 6)])
def test_convolution_is_that_of_the_definition(size, stride, side):
    rng = np.random.default_rng(0)
    maps, weight = rng.normal(size=(2, side, side, 3)), rng.normal(size=(4, 3, size, size))
    expected = [slow_convolution(picture, weight, stride) for picture in maps]
    np.testing.assert_allclose(_convolve(maps, weight, stride), expected, atol=1e-12)
    # Over words it is that over a picture one pixel high.
    tall = np.zeros_like(weight)
    tall[:, :, size // 2] = weight[:, :, 0]
    expected = [slow_convolution(row[None], tall, stride)[0] for row in maps[:, 0]]
    found = _convolve(maps[:, 0], weight[:, :, 0], stride)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_it_is_an_encoder_and_says_which(encoder):
    contract: Encoder = encoder
    assert (contract.name, contract.n_features) == ("digit-scenes", 128)
    _, header = read_artifact(_WEIGHTS, "digit-scene-encoder")
    assert contract.revision == header["revision"] != ""


@pytest.mark.parametrize("split", ["evaluation", "fitting"])
def test_shipped_embeddings_are_what_the_encoder_gives(encoder, split):
    pair, prompts = load_digit_scenes(split), load_class_prompts()
    rows = np.arange(0, pair.n_images, 9)
    images = encoder.encode_images(pair.thumbnails[rows])
    texts = encoder.encode_texts([pair.captions[2 * row + 1] for row in rows])
    for found, shipped in (
        (images, pair.images[rows]),
        (texts, pair.texts[2 * rows + 1]),
        (encoder.encode_texts(prompts.prompts), prompts.texts),
    ):
        assert (found.dtype, found.shape) == (np.float32, shipped.shape)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
        assert (found * shipped).sum(axis=1).min() > 1 - 1e-3


def test_floats_from_0_to_1_and_bytes_are_the_same_pixels(encoder, scenes):
    pixels = scenes.thumbnails[:3].copy()
    floats = encoder.encode_images(pixels / 255)
    np.testing.assert_allclose(floats, encoder.encode_images(pixels), atol=1e-6)
    assert np.array_equal(pixels, scenes.thumbnails[:3])  # they are left as they are


def test_no_row_depends_on_what_else_is_encoded_with_it(encoder, scenes):
    """300 rows cross a block; a long caption makes the others' padding longer."""
    pixels, captions = scenes.thumbnails[:300], [*scenes.captions[:300], "a seven, " * 40]
    for encode, items in ((encoder.encode_images, pixels), (encoder.encode_texts, captions)):
        at = (0, 255, 256, len(items) - 1)
        alone = np.vstack([encode(items[i : i + 1]) for i in at])
        np.testing.assert_allclose(encode(items)[[*at]], alone, atol=1e-5)


def test_words_are_known_or_named_once_in_order_and_left_out(encoder):
    words = ["über", "33", "dots", ";", "a", "5", ",", "end"]
    assert tokenise("Über 33 dots; (a) 5, end!") == words
    assert tokenise("!?") == []
    text = "A purple three, at the zenith; purple 42 ."
    assert encoder.unknown_words(text) == ["purple", "zenith", "42"]
    assert encoder.unknown_words("a large three at the top") == []
    plain, odd = encoder.encode_texts(["a large three", "a purple large three"])
    np.testing.assert_allclose(plain, odd, rtol=0, atol=1e-7)  # rounded by its row in a product


@pytest.mark.parametrize(
    ("texts", "error", "said"),
    [
        (["a three", "purple zebra"], InputError, "words that the encoder knows.*: purple, zebra"),
        ([", ; purple"], InputError, r"a caption must be of words .*\(unknown: purple\)"),
        ([""], InputError, r"unknown: none at all"),
        ([" ,, "], InputError, r"unknown: none at all"),
        ([], InputError, "texts must be at least one caption, got none"),
        ("a three", InputTypeError, "texts must be a list of strings"),
        (["a three", 3], InputTypeError, "texts must be a list of strings"),
        ([b"a three"], InputTypeError, "texts must be a list of strings"),
        (None, InputTypeError, "texts must be a list of strings, got NoneType"),
    ],
)
def test_other_texts_are_refused(encoder, texts, error, said):
    with pytest.raises(error, match=said):
        encoder.encode_texts(texts)


@pytest.mark.parametrize(
    ("pixels", "error", "said"),
    [
        *((np.zeros(shape, np.uint8), InputError, "pixels must be of shape") for shape in SHAPES),
        *((np.full((1, 36, 36), x), InputError, "between 0 and 1 where they are") for x in OUTSIDE),
        *((np.zeros((1, 36, 36), kind), InputTypeError, "pixels must be uint8") for kind in KINDS),
    ],
)
def test_other_pixels_are_refused(encoder, pixels, error, said):
    assert np.isfinite(encoder.encode_images(np.zeros((1, 36, 36)))).all()
    with pytest.raises(error, match=said):
        encoder.encode_images(pixels)


def test_a_file_of_another_kind_is_refused(tmp_path):
    write_artifact(tmp_path / "a.safetensors", "aligner", {"a": np.ones(3)}, {})
    with pytest.raises(InputError, match="aligner"):
        DigitSceneEncoder(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"b\.safetensors"):
        DigitSceneEncoder(tmp_path / "b.safetensors")
