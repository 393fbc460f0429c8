"""Embeddings as PyTorch tensors of a device: what then reads them runs there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fillgap._checks import InputError, require
from fillgap.embeddings import EmbeddingPair
from fillgap.rows import RowSource

__all__ = ["OnDevice", "choose_device", "pair_on_device", "to_device", "to_host"]


def choose_device(name: str) -> Any:
    """Return a device of PyTorch that works here.

    Parameters
    ----------
    name : str
        "cpu", "cuda", "cuda:1", "mps", ...

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    InputError
        If there is no such device here.
    """
    torch = require("torch", "torch", "--device")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"device must be one that PyTorch can use here, got {name!r} ({reason[:120]}). "
            "Write cpu, or cuda where PyTorch was installed for it."
        ) from error
    return device


def to_device(rows: NDArray[Any], device: Any) -> Any:
    """Return an array as a tensor of a device, in its own type where the device has that."""
    import torch

    array = rows if rows.flags.writeable and rows.flags.c_contiguous else np.array(rows)
    if array.dtype == np.float64 and device.type == "mps":  # which has no float64
        array = array.astype(np.float32)
    return torch.from_numpy(array).to(device)


def to_host(rows: Any) -> NDArray[Any]:
    """Return a tensor, or an array, as an array of this machine's memory."""
    return rows.detach().cpu().numpy() if hasattr(rows, "detach") else np.asarray(rows)


class OnDevice:
    """A `RowSource` whose blocks are tensors of a device.

    Parameters
    ----------
    source : RowSource
        Where the rows are read.
    device : torch.device
        Where they go.
    """

    def __init__(self, source: RowSource, device: Any) -> None:
        self._source, self.device = source, device
        self.shape, self.dtype, self.name = source.shape, source.dtype, source.name

    def iter_blocks(self, block_rows: int) -> Iterator[Any]:
        """Yield tensors of exactly `block_rows` rows, the last one shorter, from the start."""
        for block in self._source.iter_blocks(block_rows):
            yield to_device(block, self.device)


def pair_on_device(pair: EmbeddingPair, device: Any) -> EmbeddingPair:
    """Return a pair with both sides as tensors of a device."""
    return pair.with_vectors(*(to_device(side, device) for side in (pair.images, pair.texts)))
