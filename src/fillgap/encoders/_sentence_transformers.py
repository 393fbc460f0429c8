"""Anything that sentence-transformers loads and that takes pictures as well as texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from PIL import Image

from fillgap._checks import InputError, require
from fillgap.encoders._torch import TorchEncoder
from fillgap.encoders._weights import Weights

__all__ = ["SentenceTransformersEncoder"]


class SentenceTransformersEncoder(TorchEncoder):
    """Encode with a model of sentence-transformers, its modules and prompts as they are saved.

    Texts of a SigLIP are padded to the length of its training, which the library does not do by
    itself.

    Parameters
    ----------
    model : str or path
        For example "sentence-transformers/clip-ViT-B-32".
    device, batch_size, revision
        As for every encoder that runs in PyTorch.
    """

    _kind: ClassVar[str] = "sentence-transformers"

    def _load(self, weights: Weights) -> None:
        library = require("sentence_transformers", "encoders", self._kind)
        self._model = library.SentenceTransformer(
            str(weights.folder), device=str(self.device), local_files_only=True,
            trust_remote_code=False,
        ).to(self._dtype)  # fmt: skip
        first = self._model[0]
        config: Any = getattr(getattr(first, "model", None), "config", None)
        if getattr(config, "model_type", "") in {"siglip", "siglip2"}:
            length = config.text_config.max_position_embeddings
            first.processing_kwargs = {
                **first.processing_kwargs,
                "text": {"padding": "max_length", "max_length": length, "truncation": True},
            }

        self._check_pictures(weights)

    def _check_pictures(self, weights: Weights) -> None:
        """Refuse a model of texts alone before anything is embedded."""
        blank = Image.new("RGB", (32, 32))
        try:
            self._encode([blank])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{weights.name} must be a model of pictures and texts, got one that takes no "
                f"picture ({reason}). Choose a CLIP or its like."
            ) from error

    def _prepare(self, picture: Any) -> Any:
        return picture

    def _encode_images(self, inputs: Sequence[Any]) -> Any:
        return self._encode(inputs)

    def _encode_texts(self, texts: Sequence[str]) -> Any:
        return self._encode(texts)

    def _encode(self, items: Sequence[Any]) -> Any:
        return self._model.encode(
            list(items), batch_size=len(items), convert_to_tensor=True, show_progress_bar=False
        )
