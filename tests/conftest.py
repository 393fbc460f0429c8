"""Fixtures that several test files share: the real embeddings and small synthetic pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from worlds import data_folder, load_npz, make_gapped


@pytest.fixture(scope="session")
def real_data() -> Path:
    return data_folder()


@pytest.fixture(scope="session")
def coco(real_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """500 COCO pairs, CLIP B/16, unit rows in float64."""
    arrays = load_npz(real_data / "coco_clip_vitb16_500" / "coco_clip_vitb16_500.npz")
    X, Y = (arrays[side].astype(np.float64) for side in ("images", "texts"))
    return X / np.linalg.norm(X, axis=1)[:, None], Y / np.linalg.norm(Y, axis=1)[:, None]


@pytest.fixture
def ok(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must end well, and return what it says."""
    from fillgap.cli.app import run

    def check(*words: str | Path) -> str:
        code = run([str(word) for word in words])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return check


@pytest.fixture
def document(ok: Callable[..., str]) -> Callable[..., dict]:
    """Run a command that must end well, and return its JSON document."""
    return lambda *words: json.loads(ok(*words, "--json"))


@pytest.fixture(scope="session")
def gapped() -> tuple[np.ndarray, np.ndarray]:
    """300 synthetic pairs in 24 dimensions: shared meaning, a gap, and noise; float64."""
    return make_gapped(300, 24, seed=0)
