"""From the words of a command to embeddings and parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fillgap._checks import InputError

if TYPE_CHECKING:
    from fillgap.embeddings import EmbeddingPair

__all__ = ["PairFrom", "parse_grid", "parse_parameters", "read_pair"]


def read_pair(
    images: str,
    texts: str | None,
    *,
    image_index: str | None,
    captions: str | None,
    unpaired: bool,
    max_images: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> EmbeddingPair:
    """Read both sides, with what belongs to them; of more images than `max_images` a sample."""
    from fillgap.io import load_pair

    where = None
    if device is not None:  # before anything is read
        from fillgap._device import choose_device, pair_on_device

        where = choose_device(device)
    pair = load_pair(
        images,
        texts,
        image_index=image_index,
        captions=captions,
        paired=False if unpaired else None,
        max_images=max_images,
        random_state=seed,
    )
    return pair if where is None else pair_on_device(pair, where)


@dataclass(frozen=True)
class PairFrom:
    """Reads a pair in whatever process this is called, once; parameters as for `read_pair`.

    `bad` are the names of shards that are left out with their partners.
    """

    images: str
    texts: str | None
    image_index: str | None
    max_images: int | None
    seed: int
    device: str | None = None
    bad: frozenset[str] = frozenset()

    def __call__(self) -> EmbeddingPair:
        """Return the pair."""
        return _read_once(self)


@lru_cache(maxsize=1)
def _read_once(source: PairFrom) -> EmbeddingPair:
    from fillgap.distributed import load_readable_pair, name_here

    device = name_here(source.device)
    if source.bad:
        pair = load_readable_pair(
            source.images,
            source.texts,
            source.bad,
            max_images=source.max_images,
            random_state=source.seed,
        )
        return pair if device is None else _on_device(pair, device)
    return read_pair(
        source.images,
        source.texts,
        image_index=source.image_index,
        captions=None,
        unpaired=False,
        max_images=source.max_images,
        seed=source.seed,
        device=device,
    )


def _on_device(pair: EmbeddingPair, device: str) -> EmbeddingPair:
    from fillgap._device import choose_device, pair_on_device

    return pair_on_device(pair, choose_device(device))


def parse_parameters(words: list[str] | None) -> dict[str, Any]:
    """Return {"n_components": 120, ...} of ["n_components=120", ...]; values are JSON or words."""
    pairs = (_name_and_value(word, "--set", "ridge=0.3") for word in words or ())
    return {name: _value(value) for name, value in pairs}


def parse_grid(words: list[str]) -> dict[str, list[Any]]:
    """Return {"eta": [1, 10], ...} of ["eta=1,10", ...]; values as in `parse_parameters`."""
    grid: dict[str, list[Any]] = {}
    for word in words:
        name, values = _name_and_value(word, "--grid", "eta=10,100")
        grid.setdefault(name, []).extend(_value(value) for value in values.split(",") if value)
    return grid


def _name_and_value(word: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise InputError(
            f"{option} must be NAME=VALUE, got {word!r}. Write for example {option} {example}"
        )
    return name.replace("-", "_"), value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"None": None, "True": True, "False": False}.get(text, text)
