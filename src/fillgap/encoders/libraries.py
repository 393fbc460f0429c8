"""open_clip models in a local folder or on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from fillgap.encoders.torch_models import TorchEncoder, Weights
from fillgap.errors import InputError, require

_CONFIG, _WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


class OpenCLIPEncoder(TorchEncoder):
    """Encode with a model of open_clip, from a folder in the layout that it has on the hub.

    Parameters
    ----------
    model : str or path
        A folder with open_clip_config.json and open_clip_model.safetensors, or a name on the hub,
        for example "laion/CLIP-ViT-B-32-laion2B-s34B-b79K".
    device, batch_size, revision
        As for every encoder that runs in PyTorch.
    """

    _kind: ClassVar[str] = "open_clip"

    def _load(self, weights: Weights) -> None:
        library = _import_open_clip(self._torch)
        for name in (_CONFIG, _WEIGHTS):
            if not (weights.folder / name).is_file():
                raise InputError(
                    f"{weights.folder} must hold {name}, got no such file. Fetch the model whole; "
                    "weights in .bin or .pt are not read."
                )
        place = f"local-dir:{weights.folder.resolve()}"
        self._model, _, self._preprocess = library.create_model_and_transforms(
            place, device=self.device
        )
        self._model = self._model.to(self._dtype).eval()
        self._tokenise = library.get_tokenizer(place)

    def _prepare(self, picture: Any) -> Any:
        return {"image": np.asarray(self._preprocess(picture))}

    def _encode_images(self, inputs: Sequence[Any]) -> Any:
        return self._model.encode_image(self._batch(inputs)["image"])

    def _encode_texts(self, texts: Sequence[str]) -> Any:
        return self._model.encode_text(self._tokenise(list(texts)).to(self.device))


def _import_open_clip(torch: Any) -> Any:
    """Import open_clip, also where torchvision was built for another PyTorch.

    torchvision from the registry is built for CUDA; beside a PyTorch for the CPU its compiled part
    does not load, and describing operators that this part would define fails. None is used here, so
    they are declared by name alone, and only where the import fails for that reason.
    """
    try:
        return require("open_clip", "openclip", "open_clip")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    try:
        return require("open_clip", "openclip", "open_clip")
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"torchvision must be one that this PyTorch can load, got another ({reason}). "
            "Install both from the same index of PyTorch."
        ) from error


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
