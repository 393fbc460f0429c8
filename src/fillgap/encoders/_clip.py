"""CLIP, as transformers loads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fillgap._checks import InputError
from fillgap.encoders._torch import TorchEncoder
from fillgap.encoders._weights import Weights

__all__ = ["CLIPEncoder", "load_whole", "picture_processor"]


class CLIPEncoder(TorchEncoder):
    """Encode with any CLIP of the Hugging Face hub, or of a folder in its layout.

    Parameters
    ----------
    model : str or path
        For example "openai/clip-vit-large-patch14".
    device, batch_size, revision
        As for every encoder that runs in PyTorch: "cpu", "cuda", ...; items at a time; branch, tag
        or commit on the hub.

    References
    ----------
    Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021.
    """

    _kind: ClassVar[str] = "a CLIP model"
    _model_types: ClassVar[tuple[str, ...]] = ("clip", "metaclip_2")
    _padding: ClassVar[str] = "longest"

    def _load(self, weights: Weights) -> None:
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        folder = str(weights.folder)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if config.model_type not in self._model_types:
            raise InputError(
                f"{weights.folder} must be a model of the type {' or '.join(self._model_types)}, "
                f"got {config.model_type!r}. Name the kind of encoder that it is."
            )
        self._model = load_whole(AutoModel, weights, self._dtype).to(self.device)
        self._processor = picture_processor(weights)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._length = config.text_config.max_position_embeddings

    def _prepare(self, picture: Any) -> Any:
        made = self._processor(images=[picture], return_tensors="np")
        return {key: np.asarray(values[0]) for key, values in made.items()}

    def _encode_images(self, inputs: Sequence[Any]) -> Any:
        return _pooled(self._model.get_image_features(**self._batch(inputs)))

    def _encode_texts(self, texts: Sequence[str]) -> Any:
        tokens = self._tokenizer(
            list(texts), padding=self._padding, truncation=True, max_length=self._length,
            return_tensors="pt",
        )  # fmt: skip
        return _pooled(self._model.get_text_features(**tokens.to(self.device)))


def load_whole(model_class: Any, weights: Weights, dtype: Any, **options: Any) -> Any:
    """Return a model in evaluation mode; refuse one of which weights would be made up.

    transformers fills what a file lacks with random numbers and goes on.
    """
    model, info = model_class.from_pretrained(
        str(weights.folder), local_files_only=True, trust_remote_code=False, use_safetensors=True,
        dtype=dtype, output_loading_info=True, **options,
    )  # fmt: skip
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(
            f"{weights.folder} must hold all weights of the model, got none for {missing[0]} "
            f"({len(missing)} missing). Fetch the whole model."
        )
    return model.eval()


def picture_processor(weights: Weights) -> Any:
    """Return what scales and normalises pictures, with Pillow whether torchvision is there or not.

    The two scale differently in the last digits, and published models were trained with Pillow.
    """
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(
        str(weights.folder), local_files_only=True, backend="pil"
    )


def _pooled(output: Any) -> Any:
    """Return the projected rows, which transformers 5 wraps in an object."""
    return getattr(output, "pooler_output", output)
