"""Kinds of model that run in PyTorch; code that comes with weights is never executed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from PIL import Image

from fillgap.encoders.torch_models import TorchEncoder, Weights
from fillgap.errors import InputError, check_choice, require


class CLIPEncoder(TorchEncoder):
    """Encode with any CLIP of the Hugging Face hub, or of a folder in its layout.

    Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021.
    """

    _kind: ClassVar[str] = "a CLIP model"
    _model_types: ClassVar[tuple[str, ...]] = ("clip", "metaclip_2")
    _padding: ClassVar[str] = "longest"

    def _load(self, weights: Weights) -> None:
        from transformers import AutoModel, AutoTokenizer

        config = _read_config(weights, self._model_types, " or ".join(self._model_types))
        self._model = load_whole(AutoModel, weights, self._dtype).to(self.device)
        self._processor = picture_processor(weights)
        self._tokenizer = AutoTokenizer.from_pretrained(str(weights.folder), local_files_only=True)
        self._length = config.text_config.max_position_embeddings

    def _prepare(self, picture: Any) -> Any:
        made = self._processor(images=[picture], return_tensors="np")
        return {key: np.asarray(values[0]) for key, values in made.items()}

    def _encode_images(self, inputs: Sequence[Any]) -> Any:
        return _pooled(self._model.get_image_features(**self._batch(inputs)))

    def _encode_texts(self, texts: Sequence[str]) -> Any:
        tokens = self._tokenizer(
            list(texts),
            padding=self._padding,
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        )
        return _pooled(self._model.get_text_features(**tokens.to(self.device)))


def _pooled(output: Any) -> Any:
    """Return the projected rows, which transformers 5 wraps in an object."""
    return getattr(output, "pooler_output", output)


def _read_config(weights: Weights, types: Collection[str], listed: str) -> Any:
    """Return the configuration of a model; refuse one of another type."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        str(weights.folder), local_files_only=True, trust_remote_code=False
    )
    if config.model_type not in types:
        raise InputError(
            f"{weights.folder} must be a model of the type {listed}, got {config.model_type!r}. "
            "Name the kind of encoder that it is."
        )
    return config


def load_whole(model_class: Any, weights: Weights, dtype: Any, **options: Any) -> Any:
    """Return a model in evaluation mode; refuse one of which weights would be made up.

    transformers fills what a file lacks with random numbers and goes on.
    """
    model, info = model_class.from_pretrained(
        str(weights.folder),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=dtype,
        output_loading_info=True,
        **options,
    )
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


class SigLIPEncoder(CLIPEncoder):
    """Encode with SigLIP or SigLIP 2, of fixed resolution or not.

    Texts are padded to the length of the training (64 tokens): the text tower reads its vector at
    the last place, and shorter padding gives other vectors without any error.

    Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023; Tschannen et al., SigLIP 2,
    2025.
    """

    _kind: ClassVar[str] = "a SigLIP model"
    _model_types: ClassVar[tuple[str, ...]] = ("siglip", "siglip2")
    _padding: ClassVar[str] = "max_length"


_MULTI_VECTOR: Final = {
    "colpali": "ColPaliForRetrieval",
    "colqwen2": "ColQwen2ForRetrieval",
    "colmodernvbert": "ColModernVBertForRetrieval",
}


class MultiVectorEncoder(TorchEncoder):
    """Encode with a model that is meant for late interaction, pooled to one vector an item.

    Pooling loses what late interaction gains; it puts such a model beside those with one vector.

    Faysse et al., ColPali: Efficient Document Retrieval with Vision Language Models, 2024.
    """

    _kind: ClassVar[str] = "a multi-vector model"

    def __init__(self, model: Any, *, pooling: str = "mean", **options: Any) -> None:
        self._pooling = check_choice(pooling, "pooling", ("mean", "max", "first", "last"))
        super().__init__(model, **options)

    def _load(self, weights: Weights) -> None:
        import transformers

        config = _read_config(weights, _MULTI_VECTOR, ", ".join(_MULTI_VECTOR))
        self._dtype = self._torch.bfloat16 if self.half else self._torch.float32
        model_class = getattr(transformers, _MULTI_VECTOR[config.model_type])
        self._model = load_whole(model_class, weights, self._dtype).to(self.device)
        self._processor = transformers.AutoProcessor.from_pretrained(
            str(weights.folder), local_files_only=True
        )
        self.name = f"{weights.name} ({self._pooling})"

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


class SentenceTransformersEncoder(TorchEncoder):
    """Encode with a model of sentence-transformers, its modules and prompts as they are saved.

    Texts of a SigLIP are padded to the length of its training, which the library does not do by
    itself.
    """

    _kind: ClassVar[str] = "sentence-transformers"

    def _load(self, weights: Weights) -> None:
        library = require("sentence_transformers", "encoders", self._kind)
        model = library.SentenceTransformer(
            str(weights.folder),
            device=str(self.device),
            local_files_only=True,
            trust_remote_code=False,
        )
        self._model = model.to(self._dtype)
        first = self._model[0]
        config: Any = getattr(getattr(first, "model", None), "config", None)
        if getattr(config, "model_type", "") in {"siglip", "siglip2"}:
            length = config.text_config.max_position_embeddings
            first.processing_kwargs = {
                **first.processing_kwargs,
                "text": {"padding": "max_length", "max_length": length, "truncation": True},
            }
        try:
            self._encode([Image.new("RGB", (32, 32))])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{weights.name} must be a model of pictures and texts, got one that takes no "
                f"picture ({reason}). Choose a CLIP or its like."
            ) from error

    def _encode_images(self, inputs: Sequence[Any]) -> Any:
        return self._encode(inputs)

    def _encode_texts(self, texts: Sequence[str]) -> Any:
        return self._encode(texts)

    def _encode(self, items: Sequence[Any]) -> Any:
        return self._model.encode(
            list(items), batch_size=len(items), convert_to_tensor=True, show_progress_bar=False
        )


class OpenCLIPEncoder(TorchEncoder):
    """Encode with a model of open_clip, from a folder in the layout that it has on the hub.

    That is one with open_clip_config.json and open_clip_model.safetensors; on the hub, for example
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K".
    """

    _kind: ClassVar[str] = "open_clip"

    def _load(self, weights: Weights) -> None:
        library = import_open_clip(self._torch)
        for name in ("open_clip_config.json", "open_clip_model.safetensors"):
            if not (weights.folder / name).is_file():
                raise InputError(
                    f"{weights.folder} must hold {name}, got no such file. Fetch the model whole; "
                    "weights in .bin or .pt are not read."
                )
        place = f"local-dir:{weights.folder.resolve()}"
        model, _, self._preprocess = library.create_model_and_transforms(place, device=self.device)
        self._model = model.to(self._dtype).eval()
        self._tokenise = library.get_tokenizer(place)

    def _prepare(self, picture: Any) -> Any:
        return {"image": np.asarray(self._preprocess(picture))}

    def _encode_images(self, inputs: Sequence[Any]) -> Any:
        return self._model.encode_image(self._batch(inputs)["image"])

    def _encode_texts(self, texts: Sequence[str]) -> Any:
        return self._model.encode_text(self._tokenise(list(texts)).to(self.device))


def import_open_clip(torch: Any) -> Any:
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
