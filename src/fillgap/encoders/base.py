"""What an encoder is and how one is opened; pictures decoded, a few ahead of their need."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from difflib import get_close_matches
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fillgap.errors import InputError, InputTypeError
from fillgap.files import missing_path

#: A file, an encoded picture, pixels, or a picture of Pillow.
Picture: TypeAlias = str | Path | bytes | NDArray[np.uint8] | Image.Image

#: A few bytes can claim to be a picture of any size; Pillow warns from this size on.
MAX_PIXELS: Final = 89_478_485

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def load_picture(picture: Picture) -> Image.Image:
    """Return a picture in RGB, upright.

    The orientation that cameras write beside the pixels (EXIF) is applied, grey of 16 bits is
    scaled to 8, and what is transparent shows the colour beneath it.

    Parameters
    ----------
    picture : path, bytes, array of uint8 or PIL image
        A file, an encoded picture, or pixels of shape (height, width) or (height, width, 3).

    Raises
    ------
    InputError
        If there is no such file, it cannot be decoded, or it has more than `MAX_PIXELS` pixels.
    InputTypeError
        If it is nothing of the kind.
    """
    if isinstance(picture, np.ndarray):
        return _from_pixels(picture)
    if isinstance(picture, Image.Image):
        return _upright(picture, "a picture")
    if isinstance(picture, bytes):
        return _opened(io.BytesIO(picture), "an encoded picture")
    if not isinstance(picture, (str, Path)):
        raise InputTypeError(
            f"a picture must be a path, bytes, uint8 pixels or a PIL image, "
            f"got {type(picture).__name__}. Pass one of these."
        )
    path = Path(picture)
    if not path.is_file():
        raise missing_path(path)
    return _opened(path, str(path))


def _from_pixels(pixels: NDArray[Any]) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise InputTypeError(
            f"pixels must be uint8, got {pixels.dtype}. Scale them to 0 … 255 and convert them."
        )
    grey = pixels.ndim == 2
    if not pixels.size or not (grey or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise InputError(
            f"pixels must be of shape (height, width) or (height, width, 3), got {pixels.shape}. "
            "Pass one picture at a time, the colours last."
        )
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def _opened(file: io.BytesIO | Path, name: str) -> Image.Image:
    """Decode a file; whatever a decoder raises over damaged bytes becomes one sentence."""
    try:
        with Image.open(file) as picture:
            return _upright(picture, name)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name} must be of at most {MAX_PIXELS} pixels, got more ({error}). "
            "Scale it down first."
        ) from error
    except Exception as error:  # decoders raise nearly anything: SyntaxError, struct.error, ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"{name} must be a picture that can be decoded, got other or damaged content "
            f"({reason[:120]}). Copy it again, or remove it."
        ) from error


def _upright(picture: Image.Image, name: str) -> Image.Image:
    """Return the picture in RGB, turned as its EXIF says, if it is not too large."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{name} must be of at most {MAX_PIXELS} pixels, got {width} × {height}. "
            "Scale it down first."
        )
    if picture.mode.startswith("I;16"):  # Pillow would cut off at 255 instead of scaling
        wide = np.asarray(picture)
        return Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB")
    return ImageOps.exif_transpose(picture).convert("RGB")


def prefetch(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, n_threads: int, ahead: int
) -> Iterator[_Result]:
    """Yield function(item) in order, computed by threads up to `ahead` items early.

    No more than `ahead` results are held. What is not asked for any more is not begun.
    """
    source, waiting = iter(items), deque[Future[_Result]]()
    pool = ThreadPoolExecutor(n_threads)
    try:
        waiting.extend(pool.submit(function, item) for item in islice(source, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(source, 1))
    finally:
        pool.shutdown(cancel_futures=True)


class Encoder(Protocol):
    """A model that puts pictures and texts into one space.

    Attributes
    ----------
    name : str
        Name of the model.
    revision : str
        Which weights: embeddings of different revisions must not be mixed.
    n_features : int
        Dimension of the embeddings.

    Notes
    -----
    Two more are used where an encoder has them: `batch_size`, how many pictures are best passed at
    once, and `prepare_image(picture)`, which does in a thread what can be done to one picture
    beforehand and returns what `encode_images` takes in its place.
    """

    name: str
    revision: str
    n_features: int

    def encode_images(self, pixels: Any) -> NDArray[np.floating[Any]]:
        """Return one unit row a picture, shape (n_images, n_features)."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.floating[Any]]:
        """Return one unit row a text, shape (n_texts, n_features)."""


def check_texts(texts: Any) -> None:
    """Refuse what is no list of strings, or an empty one."""
    listed = isinstance(texts, Iterable) and not isinstance(texts, str)
    if not listed or not all(isinstance(text, str) for text in texts):
        raise InputTypeError(
            f"texts must be a list of strings, got {type(texts).__name__}. "
            "Put one caption into a list of its own."
        )
    if not len(texts):
        raise InputError("texts must be at least one caption, got none. Pass a list of them.")


def check_batches(encoder: Encoder, *, tolerance: float = 1e-3) -> None:
    """Refuse an encoder that gives a text another vector beside a longer one than alone.

    That is what happens when a model is not told which of its tokens are padding, or was trained
    on padding of a fixed length: no error, and vectors that mean little.

    Parameters
    ----------
    encoder : Encoder
        As it was loaded.
    tolerance : float
        Greatest Euclidean distance between the two unit rows.

    Raises
    ------
    InputError
        If they differ by more.
    """
    # Any encoder can read these captions, that of the bundled scenes among them.
    short = "a three"
    long = "a large three at the top, a small seven on the left, a five on the right"
    alone = encoder.encode_texts([short])[0]
    beside = encoder.encode_texts([short, long])[0]
    distance = float(np.linalg.norm(np.subtract(alone, beside, dtype=np.float64)))
    if not distance <= tolerance:  # NaN fails too
        raise InputError(
            f"{encoder.name} must give a text the same vector alone and in a batch, got vectors "
            f"{distance:.2g} apart. Its padding is wrong: correct the settings of its tokenizer, "
            "or load it as what it is (fillgap.encoders.open_encoder)."
        )


#: Module and class of each kind of encoder; imported when one of the kind is opened.
ENCODERS: Final[dict[str, tuple[str, str]]] = {
    "digit-scenes": ("digits", "DigitSceneEncoder"),
    "clip": ("models", "CLIPEncoder"),
    "siglip": ("models", "SigLIPEncoder"),
    "llm2clip": ("llm2clip", "LLM2CLIPEncoder"),
    "sentence-transformers": ("models", "SentenceTransformersEncoder"),
    "open-clip": ("models", "OpenCLIPEncoder"),
    "multi-vector": ("models", "MultiVectorEncoder"),
}


def open_encoder(spec: str | Path, **options: Any) -> Encoder:
    """Load the model that a name stands for, and test that its vectors do not depend on the batch.

    Parameters
    ----------
    spec : str
        KIND:MODEL, where the model is a local folder or a name on the Hugging Face hub, as in
        "clip:openai/clip-vit-large-patch14"; or "digit-scenes".
    **options
        Of an encoder that runs in PyTorch: `device` ("cpu", "cuda", ...; a GPU where there is one),
        `batch_size` (pictures or texts at a time; halved, with a warning, when memory runs out) and
        `revision` (branch, tag or commit on the hub). Of llm2clip also `language_model`, its tuned
        language model; of multi-vector `pooling` over the tokens that are not padding: their
        "mean", the "max" of each dimension, or the "first" or "last" of them.

    Raises
    ------
    InputError
        If there is no such kind or model, its weights cannot be had, or it fails the test; the
        message names near kinds, or the file that was sought.
    InputTypeError
        If the encoder has no such option.

    Examples
    --------
    >>> open_encoder("digit-scenes").n_features
    128
    """
    kind, _, model = str(spec).partition(":")
    if kind not in ENCODERS:
        near = get_close_matches(kind, ENCODERS, n=2, cutoff=0.5)
        remedy = f"Did you mean {' or '.join(near)}?" if near else "Write KIND:MODEL."
        if Path(spec).is_dir():
            remedy = f"Say what is in that folder, for example clip:{spec}."
        raise InputError(f"an encoder must be one of {', '.join(ENCODERS)}, got {kind!r}. {remedy}")
    if not model and kind != "digit-scenes":
        raise InputError(
            f"{kind} must be followed by a model, got none. "
            f"Write {kind}:FOLDER, or {kind}:NAME for a model of the Hugging Face hub."
        )
    module, name = ENCODERS[kind]
    encoder_class = getattr(import_module(f"fillgap.encoders.{module}"), name)
    try:
        encoder = cast("Encoder", encoder_class(*([model] if model else []), **options))
    except TypeError as error:
        if "unexpected keyword argument" not in str(error) or error.__traceback__.tb_next:  # type: ignore[union-attr]
            raise
        raise InputTypeError(
            f"options of {kind} must be its own, got {str(error).rpartition(' ')[2]}. "
            "The reference of fillgap.encoders lists them."
        ) from error
    # In half precision a batch of another size takes another kernel, which rounds otherwise.
    check_batches(encoder, tolerance=1e-2 if getattr(encoder, "half", False) else 1e-3)
    return encoder
