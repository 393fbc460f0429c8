"""open_clip models in a local folder or on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fillgap._checks import InputError, require
from fillgap.encoders._torch import TorchEncoder
from fillgap.encoders._weights import Weights

__all__ = ["OpenCLIPEncoder"]

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
