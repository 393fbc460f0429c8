"""The pictures of an experiment through its encoders: folders of embeddings that are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from fillgap._checks import InputError, InputTypeError
from fillgap._progress import Progress
from fillgap.datasets import Dataset, draw_pairs, open_dataset
from fillgap.encoders import Encoder, open_encoder
from fillgap.encoders._weights import find_weights
from fillgap.experiments.embed import describe_dataset, embed_dataset, is_whole
from fillgap.experiments.experiment_rows import divide
from fillgap.experiments.specification import (
    EmbeddingData,
    EncoderModel,
    Experiment,
    PictureData,
    embedded_name,
)
from fillgap.io import Manifest, read_manifest

__all__ = ["Embedded", "embed_pictures"]

#: Options that say how a model runs, and nothing about what it gives.
_RUNNING: Final = ("device", "batch_size")


@dataclass(frozen=True)
class Embedded:
    """Data of an experiment as embeddings.

    Attributes
    ----------
    data : EmbeddingData
        What can be loaded.
    source : str
        The path, or the dataset that was embedded.
    model : str
        Name and revision of the encoder where they are known: NAME@REVISION.
    problem : str or None
        Why there are no embeddings.
    note : str
        What was left out on the way.
    """

    data: EmbeddingData
    source: str
    model: str = ""
    problem: str | None = None
    note: str = ""


def embed_pictures(experiment: Experiment, folder: Path, progress: Progress) -> list[Embedded]:
    """Return all data of an experiment, after every encoder has embedded all of its pictures.

    The pairs to judge on and those to fit on are drawn first, so that nothing else is embedded. A
    model is loaded once, and not at all where its embeddings are there already. What cannot be
    embedded has the reason instead.

    Parameters
    ----------
    experiment : Experiment
        With pictures or without.
    folder : path
        Where embeddings are kept, under the hash of all that they depend on.
    progress : callable
        Called as progress(images done, total, what).
    """
    pictures = [item for item in experiment.data if isinstance(item, PictureData)]
    drawn = {item: _draw(experiment, item) for item in pictures}
    found: dict[tuple[str, str], Embedded] = {}
    for model in experiment.encoders:
        source = _Source(model)
        for item, parts in drawn.items():
            name = embedded_name(item, model)
            try:
                if isinstance(parts, str):
                    raise InputError(parts)
                made = [
                    _embed(part, source, folder / _key(experiment, part, source), progress)
                    for part in parts
                ]
                found[item.name, model.name] = _embedded(name, item, made)
            except (InputError, InputTypeError) as error:
                nothing = EmbeddingData(name, "")
                found[item.name, model.name] = Embedded(nothing, item.dataset, problem=str(error))
    return list(_in_order(experiment, found))


def _in_order(experiment: Experiment, found: dict[tuple[str, str], Embedded]) -> Iterator[Embedded]:
    for item in experiment.data:
        if isinstance(item, PictureData):
            yield from (found[item.name, model.name] for model in experiment.encoders)
        else:
            manifest = None
            with suppress(InputError):  # whoever loads it will say so
                manifest = read_manifest(Path(item.path))
            yield Embedded(item, item.path, model="" if manifest is None else _name(manifest))


class _Source:
    """A model whose weights are hashed once, and loaded once if at all."""

    def __init__(self, model: EncoderModel) -> None:
        self.model, self.options = model.model, dict(model.options)

    @cached_property
    def encoder(self) -> Encoder:
        return open_encoder(self.model, **self.options)

    @cached_property
    def revisions(self) -> list[str]:
        """What tells the weights from others, without loading them."""
        kind, _, place = self.model.partition(":")
        named = [(place, self.options.get("revision"))] if place else []
        if "language_model" in self.options:
            named.append((self.options["language_model"], None))
        return [find_weights(where, revision).revision for where, revision in named] or [kind]


def _embed(
    part: Dataset, source: _Source, place: Path, progress: Progress
) -> tuple[Path, Manifest]:
    """Return the folder of a part and its manifest, after it was embedded where it is not whole."""
    manifest = read_manifest(place)
    if manifest is None or not is_whole(place, manifest):
        place.parent.mkdir(parents=True, exist_ok=True)
        manifest = embed_dataset(part, source.encoder, place, progress=progress)
    return place, manifest


def _embedded(name: str, item: PictureData, made: list[tuple[Path, Manifest]]) -> Embedded:
    left_out = sum(len(manifest.skipped) for _, manifest in made)
    note = f"{left_out} images could not be read and were left out" if left_out else ""
    separate = str(made[1][0]) if made[1:] else None
    data = EmbeddingData(name, str(made[0][0]), separate=separate)
    return Embedded(data, item.dataset, model=_name(made[0][1]), note=note)


def _draw(experiment: Experiment, pictures: PictureData) -> list[Dataset] | str:
    """Return the pairs to judge on and, where any are asked for, those to fit on; or why not."""
    try:
        options: dict[str, Any] = dict(pictures.options)
        dataset = open_dataset(pictures.dataset, **options)
        n_pairs, n_transport = divide(len(dataset), experiment.n_judged, experiment.n_separate)
        parts = draw_pairs(
            dataset,
            n_pairs=max(1, n_pairs),
            n_transport=n_transport,
            random_state=experiment.random_state,
        )
    except (InputError, InputTypeError) as error:
        return str(error)
    return list(parts[: 1 + bool(n_transport)])


def _key(experiment: Experiment, part: Dataset, source: _Source) -> str:
    depends = {
        "dataset": describe_dataset(part),
        "files": list(_files(part)),
        "random_state": experiment.random_state,
        "model": source.model,
        "revisions": source.revisions,
        "options": {k: v for k, v in source.options.items() if k not in _RUNNING},
    }
    text = json.dumps(depends, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _files(part: Dataset) -> Iterator[tuple[str, int, int]]:
    """Yield what tells a picture from another one that replaces it, where pictures are files."""
    if not isinstance(part[0].image, Path):
        return  # pictures inside of shards: to look at each would be to read them all
    for row in range(len(part)):
        path = Path(str(part[row].image))
        with suppress(OSError):
            found = path.stat()
            yield path.name, found.st_size, found.st_mtime_ns


def _name(manifest: Manifest) -> str:
    return f"{manifest.model['name']}@{manifest.model['revision']}"
