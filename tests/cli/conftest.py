"""A folder with 80 pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from worlds import make_gapped


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 80 pairs, as a user has them."""
    X, Y = (side.astype(np.float32) for side in make_gapped(80, 10, seed=0))
    np.save(tmp_path / "images.npy", X)
    np.save(tmp_path / "texts.npy", Y)
    np.savez(tmp_path / "both.npz", images=X, texts=Y)
    monkeypatch.chdir(tmp_path)
    return tmp_path
