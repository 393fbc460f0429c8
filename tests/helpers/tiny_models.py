"""Tiny models of real architectures with random weights, saved as published ones are."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    ColPaliConfig,
    ColPaliForRetrieval,
    ColPaliProcessor,
    LlamaConfig,
    LlamaModel,
    PaliGemmaConfig,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)  # fmt: skip

WORDS = re.findall(r"\w+", "a an three large small seven five at the top left right on of and it")
TEXT = {
    "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2,
    "vocab_size": 40, "projection_dim": 12,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2,
    "image_size": 16, "patch_size": 8, "projection_dim": 12,
}  # fmt: skip


def make_tokenizer(max_length: int, *, side: str = "right") -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<s>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>",
        eos_token="</s>", model_max_length=max_length, padding_side=side,
    )  # fmt: skip


def save_tokenizer(folder: Path, max_length: int, *, side: str = "right") -> None:
    make_tokenizer(max_length, side=side).save_pretrained(folder)


def save_clip(folder: Path) -> Path:
    torch.manual_seed(0)
    text = {**TEXT, "max_position_embeddings": 20, "eos_token_id": 3, "bos_token_id": 2}
    config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
    ).save_pretrained(folder)
    save_tokenizer(folder, 20)
    return folder


def save_siglip(folder: Path) -> Path:
    torch.manual_seed(1)
    text = {**TEXT, "max_position_embeddings": 24, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=VISION)).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    save_tokenizer(folder, 24)
    return folder


def save_siglip2(folder: Path) -> Path:
    """One of any resolution: patches with their places, instead of a picture of fixed size."""
    torch.manual_seed(3)
    text = {**TEXT, "max_position_embeddings": 24, "projection_size": 16}
    vision = {key: value for key, value in VISION.items() if key != "image_size"}
    config = Siglip2Config(text_config=text, vision_config={**vision, "num_patches": 9})
    Siglip2Model(config).save_pretrained(folder)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=9).save_pretrained(folder)
    save_tokenizer(folder, 24)
    return folder


def save_sentence_transformer(folder: Path, clip: Path) -> Path:
    """A CLIP as sentence-transformers saves it, with a normalisation behind it."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer

    save_clip(clip)
    tokenizer = make_tokenizer(20)
    picture = CLIPImageProcessorPil.from_pretrained(clip)
    CLIPProcessor(image_processor=picture, tokenizer=tokenizer).save_pretrained(clip)
    whole = SentenceTransformer(modules=[Transformer(str(clip)), Normalize()], device="cpu")
    whole.save(str(folder))
    return folder


def save_text_model(folder: Path, bert: Path) -> Path:
    """A BERT as sentence-transformers saves it: it takes no picture."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    config = BertConfig(
        hidden_size=16, intermediate_size=32, num_attention_heads=2, num_hidden_layers=2,
        vocab_size=40,
    )  # fmt: skip
    BertModel(config).save_pretrained(bert)
    save_tokenizer(bert, 20)
    whole = SentenceTransformer(modules=[Transformer(str(bert)), Pooling(16)], device="cpu")
    whole.save(str(folder))
    return folder


def save_colpali(folder: Path) -> Path:
    """A PaliGemma with a projection of each of its tokens."""
    torch.manual_seed(4)
    tokenizer = make_tokenizer(64)
    pictures = SiglipImageProcessorPil(size={"height": 16, "width": 16})
    pictures.image_seq_length = 4
    processor = ColPaliProcessor(image_processor=pictures, tokenizer=tokenizer)
    text = {
        "model_type": "gemma", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
        "vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
    }  # fmt: skip
    vision = {**VISION, "model_type": "siglip_vision_model", "projection_dim": 16}
    vlm = PaliGemmaConfig(
        text_config=text, vision_config=vision, projection_dim=16, hidden_size=16,
        image_token_index=processor.image_token_id,
    )  # fmt: skip
    ColPaliForRetrieval(ColPaliConfig(vlm_config=vlm, embedding_dim=12)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_llm2clip(folder: Path, language_model: Path) -> tuple[Path, Path]:
    """A CLIP with an adapter of two blocks beside its image tower, and a Llama."""
    from safetensors.torch import load_file, save_file

    save_clip(folder)
    torch.manual_seed(2)
    adapter = {}
    for number in (0, 1):
        for name, shape in (
            ("fn.0.weight", (20, 10)), ("fn.0.bias", (20,)), ("fn.3.weight", (10, 20)),
            ("fn.3.bias", (10,)), ("ln.weight", (10,)), ("ln.bias", (10,)),
        ):  # fmt: skip
            adapter[f"{number}.{name}"] = torch.randn(shape)
    adapter |= {"2.weight": torch.randn(10), "2.bias": torch.randn(10)}
    adapter |= {"3.weight": torch.randn(12, 10), "3.bias": torch.randn(12)}
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors |= {f"text_adapter.text_adaptor.{key}": value for key, value in adapter.items()}
    save_file(tensors, file, metadata={"format": "pt"})
    LlamaModel(
        LlamaConfig(
            hidden_size=10, intermediate_size=20, num_attention_heads=1, num_key_value_heads=1,
            num_hidden_layers=2, vocab_size=40, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        )
    ).save_pretrained(language_model)  # fmt: skip
    save_tokenizer(language_model, 64, side="left")
    return folder, language_model
