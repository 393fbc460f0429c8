"""Commands that must end well, and what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import make_gapped
from fillgap.cli.app import run


@pytest.fixture
def ok(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def check(*words: str | Path) -> str:
        code = run([str(word) for word in words])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return check


@pytest.fixture
def document(ok: Callable[..., str]) -> Callable[..., dict]:
    return lambda *words: json.loads(ok(*words, "--json"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 80 pairs, as a user has them."""
    X, Y = (side.astype(np.float32) for side in make_gapped(80, 10, seed=0))
    np.save(tmp_path / "images.npy", X)
    np.save(tmp_path / "texts.npy", Y)
    np.savez(tmp_path / "both.npz", images=X, texts=Y)
    monkeypatch.chdir(tmp_path)
    return tmp_path
