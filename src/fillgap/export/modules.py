"""Spaces as PyTorch modules, and maps folded into the projection layer of a model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from fillgap.aligners.base import Aligner
from fillgap.aligners.methods import method_name
from fillgap.calibration.base import ITSELF, MODALITIES, Modality
from fillgap.errors import InputError, InputTypeError, require
from fillgap.export.maps import Bank, Role, RowMap, as_space, query_shift, row_map
from fillgap.space import MixedSpace


def torch_module(
    source: MixedSpace | Aligner,
    modality: Modality,
    *,
    role: Role = "document",
    queries: Modality | None = None,
) -> Any:
    """Return the map of one modality as a `torch.nn.Module`.

    It takes rows of shape (n, n_features) and returns unit rows of shape (n, n_components), on the
    device of its buffers, and passes gradients to the rows. It has no parameters to train. A zero
    row comes out as NaN.

    Parameters
    ----------
    source : MixedSpace or Aligner
        Fitted, and affine.
    modality : {"image", "text"}
        Of the rows.
    role : {"document", "query"}
        What the rows are in a search. It matters where the space has means of queries.
    queries : {"image", "text"}, optional
        Add the coordinate of the calibration for queries of this modality, so that inner products
        are calibrated scores: documents as `MixedSpace.stored`, queries as `MixedSpace.asked`.

    Raises
    ------
    InputError
        If the space cannot be exported, or a word is none of these.
    ImportError
        If PyTorch is not installed.
    """
    return row_module(row_map(as_space(source), modality, role=role, queries=queries))


def fold(source: MixedSpace | Aligner, projection: Any, modality: Modality) -> Any:
    """Return a projection layer that gives aligned embeddings, up to the length of each row.

    `model.visual_projection = fold(aligner, model.visual_projection, "image")`, and likewise
    `text_projection`. This is exact only for maps without offset, since a layer does not see the
    length of the rows that it makes: unshifted spectral embedding, shared-space projection,
    orthogonal Procrustes without centring.

    Parameters
    ----------
    source : MixedSpace or Aligner
        Fitted, linear, and not calibrated.
    projection : torch.nn.Linear
        The last layer of the tower, with n_features outputs. It is not changed.
    modality : {"image", "text"}
        Of the tower.

    Returns
    -------
    torch.nn.Linear
        With n_components outputs, of the type and on the device of `projection`.

    Raises
    ------
    InputError
        If the map has an offset, the space is calibrated, or the dimensions do not fit.
    InputTypeError
        If `projection` is no linear layer.
    """
    torch = require("torch", "torch", "Folding into a layer")
    space = as_space(source)
    if space.calibration is not None:
        raise InputError(
            "what is folded must be an aligner without calibration, got a calibrated space. "
            "Fold its aligner, or append torch_module(space, ...) to the model."
        )
    map_ = row_map(space, modality)
    if any(part is not None and np.any(part) for part in (map_.center, map_.offset)):
        name = method_name(space.aligner) if space.aligner is not None else "space"
        raise InputError(
            f"a map must have no offset to be folded into a layer, got {name}, which moves rows of "
            f"length one. Append torch_module(aligner, {modality!r}) to the model instead."
        )
    matrix = np.eye(space.n_features) if map_.matrix is None else map_.matrix
    if not isinstance(projection, torch.nn.Linear):
        raise InputTypeError(
            f"projection must be a torch.nn.Linear, got {type(projection).__name__}. "
            "Pass the last layer of the tower, or append torch_module to the model."
        )
    if projection.out_features != space.n_features:
        raise InputError(
            f"projection must have {space.n_features} outputs, as the aligner takes them, got "
            f"{projection.out_features}. Fold an aligner that was fitted to this model."
        )
    weight, bias = projection.weight, projection.bias is not None
    shape = projection.in_features, matrix.shape[1]
    layer = torch.nn.Linear(*shape, bias=bias, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        for name, old in projection.named_parameters():
            wide = old.detach().cpu().double().numpy()
            getattr(layer, name).copy_(torch.from_numpy(matrix.T @ wide))
    layer.requires_grad_(weight.requires_grad)
    return layer


def row_module(map_: RowMap) -> Any:
    """Return a module that computes `map_`."""
    require("torch", "torch", "A module of PyTorch")
    return _module_class()(map_)


@cache
def _module_class() -> type:
    """Return the class of the modules, made when PyTorch is first asked for."""
    import torch
    from torch import nn

    class AlignedRows(nn.Module):
        """x ↦ slope · normalise((x / ‖x‖ − center) · matrix + offset), and an extra coordinate."""

        def __init__(self, map_: RowMap) -> None:
            super().__init__()
            self.slope, self.extra, self.nearest = map_.slope, map_.extra, map_.bank
            parts = {name: getattr(map_, name) for name in _ARRAYS}
            parts["bank"] = None if map_.bank is None else map_.bank.rows
            for name, part in parts.items():
                tensor = None if part is None else torch.tensor(part, dtype=torch.float32)
                self.register_buffer(name, tensor)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            """Return the aligned rows, computed in float32 or wider."""
            rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
            rows = rows / rows.abs().amax(dim=-1, keepdim=True)  # no square leaves the range
            rows = rows / torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
            if self.center is not None:
                rows = rows - self.center.to(rows.dtype)
            if self.matrix is not None:
                rows = rows @ self.matrix.to(rows.dtype)
            if self.offset is not None:
                rows = rows + self.offset.to(rows.dtype)
            rows = nn.functional.normalize(rows, dim=-1)
            if self.extra is None:
                return rows
            extra = torch.full_like(rows[..., :1], self.extra)
            if self.nearest is not None:
                extra = extra - self._hubness(rows, self.nearest)
            return torch.cat([self.slope * rows, extra], dim=-1)

        def _hubness(self, rows: torch.Tensor, nearest: Bank) -> torch.Tensor:
            """Return what the extra coordinate is lowered by, as one column."""
            scores = rows @ self.bank.to(rows.dtype).T
            if nearest.apart:
                scores = scores.masked_fill(scores >= ITSELF, -torch.inf)
            best = scores.topk(nearest.k, dim=-1).values
            there = torch.isfinite(best)
            count = there.sum(dim=-1, keepdim=True).clamp(min=1)
            total = torch.where(there, best, 0).sum(dim=-1, keepdim=True)
            return nearest.weight * total / count

    return AlignedRows


#: What of a map and of its bank is arrays, and what is numbers.
_ARRAYS = ("center", "matrix", "offset")
_NUMBERS, _OF_BANK = ("n_features", "n_components", "slope", "extra"), ("k", "weight", "apart")
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
    """
    space = as_space(source)
    require("sentence_transformers", "encoders", "A module of sentence-transformers")
    maps = {
        f"document_{modality}": row_map(space, modality, queries=queries) for modality in MODALITIES
    }
    for modality in MODALITIES:
        if queries == modality or (queries is None and query_shift(space, modality) is not None):
            maps[f"query_{modality}"] = row_map(space, modality, role="query", queries=queries)
    return _sentence_module_class()(maps, space.fingerprint, queries)


def __getattr__(name: str) -> Any:
    """Make the class when it is first asked for, by a user or by a model that is loaded."""
    if name != "SpaceModule":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("sentence_transformers", "encoders", "A module of sentence-transformers")
    return _sentence_module_class()


@cache
def _sentence_module_class() -> type:
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
            self.described: dict[str, dict[str, Any]] = {}
            self.maps = torch.nn.ModuleDict()
            for name, map_ in maps.items():
                self.maps[name], bank = row_module(map_), map_.bank
                numbers = {number: getattr(map_, number) for number in _NUMBERS}
                if bank is not None:
                    numbers["bank"] = {number: getattr(bank, number) for number in _OF_BANK}
                self.described[name] = numbers

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
            kept = {"fingerprint": self.fingerprint, "queries": self.queries}
            return {**kept, "maps": self.described}

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
            tensors, maps = load_file(weights), {}
            for name, numbers in config["maps"].items():
                arrays = {
                    part: tensors[f"maps.{name}.{part}"].double().numpy()
                    for part in (*_ARRAYS, "bank")
                    if f"maps.{name}.{part}" in tensors
                }
                if "bank" in numbers:
                    arrays["bank"] = Bank(arrays["bank"], **numbers["bank"])
                maps[name] = RowMap(**{**numbers, **arrays})
            return cls(maps, config["fingerprint"], config["queries"])

    SpaceModule.__qualname__ = "SpaceModule"
    return SpaceModule
