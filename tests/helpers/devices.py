"""The devices of this machine, and a guard against tensors that become arrays unnoticed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
DEVICES = [
    "cpu",
    *["cuda"] * torch.cuda.is_available(),
    *["mps"] * torch.backends.mps.is_available(),
]
on_each = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no tensor become an array unnoticed: on a GPU that would fail."""

    def refuse(self: object, *_: object, **__: object) -> None:
        raise TypeError("a tensor of a device is no array")

    monkeypatch.setattr(torch.Tensor, "__array__", refuse)
