"""Models with a vector for each token (ColPali and its like), pooled to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from fillgap._checks import InputError, check_choice
from fillgap.encoders._clip import load_whole
from fillgap.encoders._torch import TorchEncoder
from fillgap.encoders._weights import Weights

__all__ = ["MultiVectorEncoder"]

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
