"""CLIP, as transformers loads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fillgap.encoders.torch_models import TorchEncoder, Weights
from fillgap.errors import InputError, check_choice


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


class SigLIPEncoder(CLIPEncoder):
    """Encode with SigLIP or SigLIP 2, of fixed resolution or not.

    Texts are padded to the length of the training (64 tokens): the text tower reads its vector at
    the last place, and shorter padding gives other vectors without any error.

    Parameters
    ----------
    model : str or path
        For example "google/siglip-base-patch16-224" or "google/siglip2-base-patch16-224".
    device, batch_size, revision
        As for every encoder that runs in PyTorch.

    References
    ----------
    Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023; Tschannen et al., SigLIP 2,
    2025.
    """

    _kind: ClassVar[str] = "a SigLIP model"
    _model_types: ClassVar[tuple[str, ...]] = ("siglip", "siglip2")
    _padding: ClassVar[str] = "max_length"


_MODELS = {
    "colpali": "ColPaliForRetrieval",
    "colqwen2": "ColQwen2ForRetrieval",
    "colmodernvbert": "ColModernVBertForRetrieval",
}
_POOLINGS = ("mean", "max", "first", "last")


class MultiVectorEncoder(TorchEncoder):
    """Encode with a model that is meant for late interaction, pooled to one vector an item.

    Pooling loses what late interaction gains; it puts such a model beside those with one vector.

    Parameters
    ----------
    model : str or path
        For example "vidore/colpali-v1.3-hf".
    pooling : {"mean", "max", "first", "last"}
        Over the tokens that are not padding: their mean, the greatest value of each dimension, or
        one of them.
    device, batch_size, revision
        As for every encoder that runs in PyTorch.

    References
    ----------
    Faysse et al., ColPali: Efficient Document Retrieval with Vision Language Models, 2024.
    """

    _kind: ClassVar[str] = "a multi-vector model"

    def __init__(self, model: Any, *, pooling: str = "mean", **options: Any) -> None:
        self._pooling = check_choice(pooling, "pooling", _POOLINGS)
        super().__init__(model, **options)

    def _load(self, weights: Weights) -> None:
        import transformers

        folder = str(weights.folder)
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        if config.model_type not in _MODELS:
            raise InputError(
                f"{weights.folder} must be a model of the type {', '.join(_MODELS)}, got "
                f"{config.model_type!r}. Name the kind of encoder that it is."
            )
        dtype = self._torch.bfloat16 if self.half else self._torch.float32
        model_class = getattr(transformers, _MODELS[config.model_type])
        self._model = load_whole(model_class, weights, dtype).to(self.device)
        self._dtype = dtype
        self._processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
        self.name = f"{weights.name} ({self._pooling})"

    def _prepare(self, picture: Any) -> Any:
        return picture

    def _encode_images(self, inputs: Sequence[Any]) -> Any:
        return self._pool(self._processor.process_images(images=list(inputs)))

    def _encode_texts(self, texts: Sequence[str]) -> Any:
        return self._pool(self._processor.process_queries(text=list(texts)))

    def _pool(self, inputs: Any) -> Any:
        """Return one row an item: its vectors pooled over the tokens that are not padding."""
        torch = self._torch
        batch = inputs.to(self.device, self._dtype)
        vectors = self._model(**batch).embeddings.float()
        mask = batch["attention_mask"].bool()
        if self._pooling == "mean":
            return (vectors * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        if self._pooling == "max":
            return vectors.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
        places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
        if self._pooling == "first":
            at = places.masked_fill(~mask, mask.shape[1]).amin(dim=1)
        else:
            at = places.masked_fill(~mask, -1).amax(dim=1)
        return vectors[torch.arange(len(vectors), device=mask.device), at]
