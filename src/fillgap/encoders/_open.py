"""Encoders by name."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from fillgap._checks import InputError, InputTypeError
from fillgap.encoders._base import Encoder, check_batches

__all__ = ["ENCODERS", "open_encoder"]

#: Module and class of each kind of encoder; modules are imported when their encoder is opened.
ENCODERS: Final[dict[str, tuple[str, str]]] = {
    "digit-scenes": ("_digit_scenes", "DigitSceneEncoder"),
    "clip": ("_clip", "CLIPEncoder"),
    "siglip": ("_siglip", "SigLIPEncoder"),
    "llm2clip": ("_llm2clip", "LLM2CLIPEncoder"),
    "sentence-transformers": ("_sentence_transformers", "SentenceTransformersEncoder"),
    "open-clip": ("_open_clip", "OpenCLIPEncoder"),
    "multi-vector": ("_multi_vector", "MultiVectorEncoder"),
}


def open_encoder(spec: str | Path, **options: Any) -> Encoder:
    """Load the model that a name stands for, and test that its vectors do not depend on the batch.

    Parameters
    ----------
    spec : str
        KIND:MODEL, where the model is a local folder or a name on the Hugging Face hub, as in
        "clip:openai/clip-vit-large-patch14"; or "digit-scenes".
    **options
        Passed to the encoder: `device`, `batch_size`, and what is the encoder's own.

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
        raise _unknown(kind, str(spec))
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


def _unknown(kind: str, spec: str) -> InputError:
    """Return the refusal of a kind, with near ones offered, or all of them."""
    near = get_close_matches(kind, ENCODERS, n=2, cutoff=0.5)
    if Path(spec).is_dir():
        remedy = f"Say what is in that folder, for example clip:{spec}."
    elif near:
        remedy = f"Did you mean {' or '.join(near)}?"
    else:
        remedy = "Write KIND:MODEL."
    return InputError(f"an encoder must be one of {', '.join(ENCODERS)}, got {kind!r}. {remedy}")
