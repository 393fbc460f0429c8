"""Spaces as a module of sentence-transformers, which a model carries in its own files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fillgap._checks import InputError, require
from fillgap.aligners import Aligner
from fillgap.export.maps import Bank, RowMap, as_space, query_shift, row_map
from fillgap.export.pytorch import row_module
from fillgap.scores import Modality
from fillgap.scores.samples import MODALITIES
from fillgap.space import MixedSpace

__all__ = ["sentence_transformer_module"]  # and SpaceModule, made when it is asked for

_PARTS = ("center", "matrix", "offset")
_NUMBERS = ("n_features", "n_components", "slope", "extra")
_OF_BANK = ("k", "weight", "apart")
#: What the loader of a model says about the place of its files.
_WHERE = ("subfolder", "token", "cache_folder", "revision", "local_files_only")

SpaceModule: Any


def sentence_transformer_module(
    source: MixedSpace | Aligner, *, queries: Modality | None = None
) -> Any:
    """Return a module to be appended to a `SentenceTransformer` that encodes images and texts.

    The module reads from the batch whether it holds images or texts, and maps the embeddings
    accordingly; `encode_query` takes the role of queries where the space has one. It is saved with
    the model, as safetensors, and loads with `SentenceTransformer(folder, trust_remote_code=True)`
    where fillgap is installed: sentence-transformers asks for that flag for every module that is
    not its own.

    Parameters
    ----------
    source : MixedSpace or Aligner
        Fitted to embeddings of that model, and affine.
    queries : {"image", "text"}, optional
        Add the coordinate of the calibration for queries of this modality: `encode_query` then
        gives `MixedSpace.asked` and everything else `MixedSpace.stored`, to be compared by inner
        product.

    Returns
    -------
    SpaceModule
        A `sentence_transformers.base.modules.Module`.

    Raises
    ------
    InputError
        If the space cannot be exported.
    ImportError
        If sentence-transformers is not installed.

    Examples
    --------
    >>> model = SentenceTransformer("clip-ViT-B-32")  # doctest: +SKIP
    >>> model.append(sentence_transformer_module(space))  # doctest: +SKIP
    >>> model.save("aligned-clip")  # doctest: +SKIP
    """
    space = as_space(source)
    require("sentence_transformers", "encoders", "A module of sentence-transformers")
    maps = {
        f"document_{modality}": row_map(space, modality, queries=queries) for modality in MODALITIES
    }
    for modality in MODALITIES:
        if queries == modality or (queries is None and query_shift(space, modality) is not None):
            maps[f"query_{modality}"] = row_map(space, modality, role="query", queries=queries)
    return _module_class()(maps, space.fingerprint, queries)


def __getattr__(name: str) -> Any:
    """Make the class when it is first asked for, by a user or by a model that is loaded."""
    if name != "SpaceModule":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("sentence_transformers", "encoders", "A module of sentence-transformers")
    return _module_class()


def _described(map_: RowMap) -> dict[str, Any]:
    """Return the numbers of a map that are no arrays."""
    found = {name: getattr(map_, name) for name in _NUMBERS}
    bank = map_.bank
    return found | (
        {} if bank is None else {"bank": {name: getattr(bank, name) for name in _OF_BANK}}
    )


@cache
def _module_class() -> type:
    """Return the class, made when sentence-transformers is first asked for."""
    import torch
    from safetensors.torch import load_file
    from sentence_transformers.base.modules import Module

    class SpaceModule(Module):
        """The maps of a space by role and modality; the batch says which of them is taken."""

        forward_kwargs = {"task"}  # noqa: RUF012  (as the base class declares it)

        def __init__(
            self, maps: Mapping[str, RowMap], fingerprint: str, queries: Modality | None
        ) -> None:
            super().__init__()
            self.fingerprint, self.queries = fingerprint, queries
            self.described = {name: _described(map_) for name, map_ in maps.items()}
            self.maps = torch.nn.ModuleDict({name: row_module(map_) for name, map_ in maps.items()})

        def forward(self, features: dict[str, Any], task: str | None = None) -> dict[str, Any]:
            """Return the features with the embeddings aligned."""
            modality = features.get("modality", "text")
            if modality not in MODALITIES:
                raise InputError(
                    f"an input must be images or texts to be aligned, got {modality!r}. "
                    "Encode pictures and texts apart."
                )
            if task == "query" and self.queries not in {None, modality}:
                raise InputError(
                    f"queries must be {self.queries} queries, as this module was made for, got "
                    f"{modality}. Make one with queries={modality!r}."
                )
            own = f"query_{modality}"
            name = own if task == "query" and own in self.maps else f"document_{modality}"
            rows, wanted = features["sentence_embedding"], self.described[name]["n_features"]
            if rows.shape[-1] != wanted:
                raise InputError(
                    f"embeddings must be of dimension {wanted}, as this space takes them, got "
                    f"{rows.shape[-1]}. Append a space that was made for this model."
                )
            features["sentence_embedding"] = self.maps[name](rows)
            return features

        def get_embedding_dimension(self) -> int:
            """Return the dimension of what comes out."""
            described = self.described["document_image"]
            return int(described["n_components"]) + (described["extra"] is not None)

        def get_config_dict(self) -> dict[str, Any]:
            """Return all that is no array."""
            return {
                "fingerprint": self.fingerprint,
                "queries": self.queries,
                "maps": self.described,
            }

        def save(self, output_path: str, *_: Any, **__: Any) -> None:
            """Write the module, always as safetensors."""
            self.save_config(output_path)
            self.save_torch_weights(output_path, safe_serialization=True)

        @classmethod
        def load(cls, model_name_or_path: str, **kwargs: Any) -> SpaceModule:
            """Return the module that `save` wrote."""
            where = {name: kwargs[name] for name in _WHERE if name in kwargs}
            config = cls.load_config(model_name_or_path, **where)
            weights = cls.load_file_path(model_name_or_path, "model.safetensors", **where)
            if not config or weights is None:
                raise InputError(
                    f"{model_name_or_path} must hold config.json and model.safetensors of the "
                    "aligned space, got a folder without. Copy the whole folder again."
                )
            return cls(
                _restored(config["maps"], load_file(weights)),
                config["fingerprint"],
                config["queries"],
            )

    SpaceModule.__qualname__ = "SpaceModule"
    return SpaceModule


def _restored(described: dict[str, Any], tensors: dict[str, Any]) -> dict[str, RowMap]:
    """Return maps from their numbers and their arrays."""
    maps = {}
    for name, numbers in described.items():
        found = {part: tensors.get(f"maps.{name}.{part}") for part in (*_PARTS, "bank")}
        arrays: dict[str, Any] = {
            part: None if t is None else t.double().numpy() for part, t in found.items()
        }
        rows, of_bank = arrays.pop("bank"), numbers.get("bank")
        bank = None if of_bank is None else Bank(rows, **of_bank)
        maps[name] = RowMap(**{n: numbers[n] for n in _NUMBERS}, **arrays, bank=bank)
    return maps
