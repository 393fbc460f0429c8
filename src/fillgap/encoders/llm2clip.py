"""LLM2CLIP: a language model and an adapter in front of the image tower of a CLIP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from fillgap.encoders.models import CLIPEncoder, load_whole, picture_processor
from fillgap.encoders.torch_models import Weights, find_weights, loading
from fillgap.errors import InputError

_MAX_TOKENS: Final = 512
#: What the language model was tuned on: its chat frame. The frame before the text is not pooled.
_BEFORE, _BEHIND = "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"
_PART = re.compile(r"text_adapt[eo]r\.(?:.*?\.)?(\d+)\.((?:(?:fn\.[03]|ln)\.)?(?:weight|bias))")


class LLM2CLIPEncoder(CLIPEncoder):
    """Encode with the published composition of LLM2CLIP.

    A text goes through a language model whose tokens see each other both ways; the mean over the
    tokens of the text, scaled to length one, goes through the adapter that lies beside the image
    tower: residual blocks x + W₂ GELU(W₁ LN(x)), a normalisation, a projection. Code that comes
    with the weights is not executed: both towers are architectures that transformers has.

    Huang et al., LLM2CLIP: Powerful Language Model Unlocks Richer Visual Representation, 2024;
    BehnamGhader et al., LLM2Vec, 2024.
    """

    _kind: ClassVar[str] = "LLM2CLIP"

    def __init__(
        self, model: str | Path, *, language_model: str | Path | None = None, **options: Any
    ) -> None:
        if language_model is None:
            raise InputError(
                "language_model must be given for LLM2CLIP, got none. Name the folder of the "
                "tuned language model (--language-model)."
            )
        self._language_model = language_model
        super().__init__(model, **options)

    def _load(self, weights: Weights) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        language = find_weights(self._language_model)
        with loading(language):
            self._load_language_model(language)
        tensors = _read_tensors(weights.folder)
        if "visual_projection.weight" not in tensors:
            raise InputError(
                f"{weights.folder} must hold the image tower of a CLIP, got no "
                "visual_projection.weight. Name the folder of the LLM2CLIP model."
            )
        config = CLIPVisionConfig.from_pretrained(str(weights.folder), local_files_only=True)
        config.projection_dim = int(tensors["visual_projection.weight"].shape[0])
        self._tower = load_whole(
            CLIPVisionModelWithProjection, weights, self._dtype, config=config
        ).to(self.device)
        self._processor = picture_processor(weights)
        adapter = _build_adapter(self._torch, tensors, weights)
        self._adapter = adapter.to(self.device, self._dtype).eval()
        self.name = f"{weights.name} behind {language.name}"
        self.revision = f"{weights.revision}+{language.revision}"

    def _load_language_model(self, weights: Weights) -> None:
        from transformers import AutoModel, AutoTokenizer

        dtype = self._torch.bfloat16 if self.half else self._torch.float32
        self._llm = load_whole(AutoModel, weights, dtype).to(self.device)
        self._llm.config.is_causal = False  # for the mask, where there is padding
        for part in self._llm.modules():  # and for the kernel, where there is none
            if hasattr(part, "is_causal"):
                part.is_causal = False
        self._tokenizer = AutoTokenizer.from_pretrained(
            str(weights.folder), local_files_only=True, padding_side="left"
        )
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        framed = _BEHIND in self._tokenizer.get_vocab()
        self._frame = (_BEFORE, _BEHIND) if framed else ("", "")

    def _encode_images(self, inputs: Sequence[Any]) -> Any:
        return self._tower(**self._batch(inputs)).image_embeds

    def _encode_texts(self, texts: Sequence[str]) -> Any:
        before, behind = self._frame
        tails = [text.strip() + behind for text in texts]
        cut: dict[str, Any] = {"truncation": True, "max_length": _MAX_TOKENS}
        ids = self._tokenizer(tails, add_special_tokens=False, **cut)["input_ids"]
        tokens = self._tokenizer(
            [before + tail for tail in tails], padding=True, return_tensors="pt", **cut
        ).to(self.device)
        hidden = self._llm(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).last_hidden_state
        lengths = [max(len(listed), 1) for listed in ids]
        means = [row[-n:].mean(dim=0) for row, n in zip(hidden, lengths, strict=True)]
        pooled = self._torch.nn.functional.normalize(self._torch.stack(means).float(), dim=-1)
        return self._adapter(pooled.to(self._dtype))


def _read_tensors(folder: Path) -> dict[str, Any]:
    """Return the tensors of the adapter and the projection from all safetensors files."""
    from safetensors import safe_open

    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                if key.startswith("text_adapt") or key == "visual_projection.weight":
                    tensors[key] = file.get_tensor(key)
    return tensors


def _build_adapter(torch: Any, tensors: dict[str, Any], weights: Weights) -> Any:
    """Return the adapter; its sizes and its number of blocks are those of the weights."""
    parts: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        match = _PART.fullmatch(key)
        if match:
            parts.setdefault(int(match[1]), {})[match[2]] = tensor
    if len(parts) < 2:
        raise InputError(
            f"{weights.folder} must hold a text adapter, got none. Name an LLM2CLIP model, not "
            "the CLIP that it began as."
        )
    return torch.nn.Sequential(*(_adapter_part(torch, parts[number]) for number in sorted(parts)))


def _adapter_part(torch: Any, tensors: dict[str, Any]) -> Any:
    """Return one residual block, the normalisation behind them, or the projection."""
    nn = torch.nn
    if "ln.weight" in tensors:
        width, inner = tensors["ln.weight"].shape[0], tensors["fn.0.weight"].shape[0]
        part = nn.Module()
        part.fn = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Identity(), nn.Linear(inner, width)
        )
        part.ln = nn.LayerNorm(width)
        part.forward = lambda x: x + part.fn(part.ln(x))
    elif tensors["weight"].ndim == 1:
        part = nn.LayerNorm(tensors["weight"].shape[0])
    else:
        n_out, n_in = tensors["weight"].shape
        part = nn.Linear(n_in, n_out, bias="bias" in tensors)
    part.load_state_dict(tensors)
    return part
