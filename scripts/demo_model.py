"""The two towers that the demonstration data come from, and how they are trained.

A CNN for scenes and a convolution over words for captions, trained from scratch with InfoNCE.
`fillgap.encoders` runs the same towers in NumPy; `weights` writes what it reads.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, relu

from fillgap.encoders.digits import tokenise

N_FEATURES = 128
CHANNELS, STRIDES = (1, 32, 64, 64, 32), (2, 2, 1, 1)
N_WORDS, SPAN, WORD_CHANNELS = 64, 5, (64, 128, 128)
HIDDEN = 256


class ImageTower(nn.Module):
    """Four 3 × 3 convolutions, then two dense layers."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        for i, stride in enumerate(STRIDES):
            convolution = nn.Conv2d(
                CHANNELS[i], CHANNELS[i + 1], 3, padding=1, stride=stride, bias=False
            )
            self.convolutions.append(convolution)
            self.norms.append(nn.BatchNorm2d(CHANNELS[i + 1]))
        self.hidden = nn.Linear(CHANNELS[-1] * (size // math.prod(STRIDES)) ** 2, HIDDEN)
        self.out = nn.Linear(HIDDEN, N_FEATURES)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed (n, 36, 36) uint8 pixels as unit rows."""
        maps = (pixels[:, None] / 255).to(memory_format=torch.channels_last)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            maps = relu(norm(convolution(maps)))
        return normalize(self.out(relu(self.hidden(maps.flatten(1)))), dim=1)


class TextTower(nn.Module):
    """Word vectors, two convolutions over five words, their mean, then two dense layers."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary_size + 1, N_WORDS, padding_idx=0)  # row 0: no word
        self.convolutions = nn.ModuleList(
            nn.Conv1d(n_in, n_out, SPAN, padding=SPAN // 2)
            for n_in, n_out in pairwise(WORD_CHANNELS)
        )
        self.hidden = nn.Linear(WORD_CHANNELS[-1], HIDDEN)
        self.out = nn.Linear(HIDDEN, N_FEATURES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed (n, length) word numbers, 0 where a caption has ended, as unit rows."""
        there = (tokens > 0)[:, None]
        maps = self.words(tokens).transpose(1, 2)
        for convolution in self.convolutions:
            maps = relu(convolution(maps)) * there
        mean = maps.sum(2) / there.sum(2)
        return normalize(self.out(relu(self.hidden(mean))), dim=1)


@dataclass
class Towers:
    """Both towers, with the words that the second one knows."""

    image: ImageTower
    text: TextTower
    vocabulary: dict[str, int]

    def encode(self, pixels: np.ndarray, captions: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Embed scenes and captions with the trained towers, as PyTorch computes them."""
        with torch.no_grad():
            images = self.image.eval()(torch.from_numpy(pixels))
            texts = self.text.eval()(number_words(captions, self.vocabulary))
        return images.numpy(), texts.numpy()

    def weights(self) -> dict[str, np.ndarray]:
        """Return the arrays that the NumPy encoder reads, batch normalisation folded in."""
        arrays = {"text.words": self.text.words.weight}
        for i, (convolution, norm) in enumerate(
            zip(self.image.convolutions, self.image.norms, strict=True)
        ):
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            arrays[f"image.{i}.weight"] = convolution.weight * scale[:, None, None, None]
            arrays[f"image.{i}.bias"] = norm.bias - norm.running_mean * scale
        for i, convolution in enumerate(self.text.convolutions):
            arrays[f"text.{i}.weight"] = convolution.weight
            arrays[f"text.{i}.bias"] = convolution.bias
        for side, tower in (("image", self.image), ("text", self.text)):
            for layer in ("hidden", "out"):
                arrays[f"{side}.{layer}.weight"] = getattr(tower, layer).weight
                arrays[f"{side}.{layer}.bias"] = getattr(tower, layer).bias
        return {k: v.detach().numpy().astype(np.float16, order="C") for k, v in arrays.items()}


def number_words(captions: list[str], vocabulary: dict[str, int]) -> Tensor:
    """Return (n, length) word numbers from 1, filled up with 0."""
    rows = [[vocabulary[word] for word in tokenise(text)] for text in captions]
    tokens = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for row, numbers in zip(tokens, rows, strict=True):
        row[: len(numbers)] = numbers
    return torch.from_numpy(tokens)


def train(
    pixels: np.ndarray,
    captions: list[list[str]],
    *,
    steps: int,
    first_steps: int,
    keep_first: bool,
    temperature: float,
    learn_temperature: bool,
    batch: int = 256,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> Towers:
    """Train both towers: InfoNCE in both directions, AdamW, warm-up and cosine decay.

    `captions[j][i]` is the j-th caption of scene i; each step draws one for every scene. The
    first `first_steps` draw version 0 only, which should name a digit and no place: places are so
    much easier to see that towers which may use them from the start never learn to read. After
    that, version 0 is drawn along with the others, or no longer (`keep_first`).
    """
    torch.manual_seed(seed)
    everything = [text for version in captions for text in version]
    words = sorted({word for text in everything for word in tokenise(text)})
    vocabulary = {word: i for i, word in enumerate(words, start=1)}
    tokens = number_words(everything, vocabulary).reshape(len(captions), len(pixels), -1)
    images = torch.from_numpy(pixels)
    towers = Towers(
        ImageTower(pixels.shape[-1]).to(memory_format=torch.channels_last),
        TextTower(len(words)),
        vocabulary,
    )
    log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), learn_temperature)
    parameters = [*towers.image.parameters(), *towers.text.parameters(), log_scale]
    optimiser = torch.optim.AdamW(
        [p for p in parameters if p.requires_grad], lr=learning_rate, weight_decay=1e-3
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min(1, (s + 1) / 100) * (1 + math.cos(math.pi * s / steps)) / 2
    )
    started = time.perf_counter()
    for step in range(steps):
        rows = torch.randint(len(images), (batch,))
        drawn = (0, 1) if step < first_steps else (0 if keep_first else 1, len(captions))
        versions = torch.randint(*drawn, (batch,))
        scores = towers.image(images[rows]) @ towers.text(tokens[versions, rows]).T
        loss = _info_nce(scores * log_scale.exp())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            spent = time.perf_counter() - started
            print(
                f"  step {step + 1} of {steps}: loss {loss.item():.3f}, {spent:.0f} s", flush=True
            )
    return towers


def _info_nce(scores: Tensor) -> Tensor:
    """Return the cross-entropy of finding the own text, plus that of finding the own image."""
    own = torch.arange(len(scores))
    return cross_entropy(scores, own) + cross_entropy(scores.T, own)
