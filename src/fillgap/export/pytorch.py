"""Spaces as PyTorch modules, and maps folded into the projection layer of a model."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fillgap._checks import InputError, InputTypeError, require
from fillgap.aligners import Aligner, method_name
from fillgap.export.maps import Bank, Role, RowMap, as_space, row_map
from fillgap.scores import Modality
from fillgap.scores.samples import ITSELF
from fillgap.space import MixedSpace

__all__ = ["fold", "row_module", "torch_module"]


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

    Returns
    -------
    torch.nn.Module

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

    The model's own code stays as it is: `model.visual_projection = fold(aligner,
    model.visual_projection, "image")`, and likewise `text_projection`. This is exact only for maps
    without offset, since a layer does not see the length of the rows that it makes: unshifted
    spectral embedding, shared-space projection, orthogonal Procrustes without centring.

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
    matrix = _linear_part(space, modality)
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
    weight = projection.weight
    layer = torch.nn.Linear(
        projection.in_features,
        matrix.shape[1],
        bias=projection.bias is not None,
        device=weight.device,
        dtype=weight.dtype,
    )
    with torch.no_grad():
        for name, old in projection.named_parameters():
            wide = old.detach().cpu().double().numpy()
            getattr(layer, name).copy_(torch.from_numpy(matrix.T @ wide))
    layer.requires_grad_(weight.requires_grad)
    return layer


def _linear_part(space: MixedSpace, modality: Modality) -> Any:
    """Return the matrix of a map that is nothing but a matrix."""
    if space.calibration is not None:
        raise InputError(
            "what is folded must be an aligner without calibration, got a calibrated space. "
            "Fold its aligner, or append torch_module(space, ...) to the model."
        )
    map_ = row_map(space, modality)
    moved = [part for part in (map_.center, map_.offset) if part is not None and np.any(part)]
    if moved:
        name = method_name(space.aligner) if space.aligner is not None else "space"
        raise InputError(
            f"a map must have no offset to be folded into a layer, got {name}, which moves rows of "
            f"length one. Append torch_module(aligner, {modality!r}) to the model instead."
        )
    return np.eye(space.n_features) if map_.matrix is None else map_.matrix


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
            parts = {name: getattr(map_, name) for name in ("center", "matrix", "offset")}
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
