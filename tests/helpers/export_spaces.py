"""Small spaces for the tests of exports, and the rule for libraries that may be missing."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from fillgap.aligners import Aligner, MeanCentering
from fillgap.calibration import NNN, Calibration, Sides, ZScore
from fillgap.space import MixedSpace
from worlds import make_gapped


def needed(module: str) -> ModuleType:
    """Import a library that the tests install; skip without it, but fail in CI."""
    try:
        return importlib.import_module(module)
    except ImportError:
        reason = f"{module} is not installed: pip install --group test"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def calibrated(aligner: Aligner, X: np.ndarray, Y: np.ndarray, **options: object) -> MixedSpace:
    """Return a space with an aligner that is fitted already, and a z-score of its rows."""
    rows = Sides(*aligner.transform_pair(X, Y))
    return MixedSpace(aligner, ZScore().fit(rows, rows), **options)


def hubness_space(first: Calibration) -> MixedSpace:
    """Return a space whose calibration looks at each document, and the bank among the rows."""
    X, Y = make_gapped(80, 12, seed=1)
    aligner = MeanCentering().fit(X, Y)
    rows = Sides(*aligner.transform_pair(X, Y))
    return MixedSpace(aligner, first.fit(rows, rows))


def bank_rows() -> tuple[np.ndarray, np.ndarray]:
    """Return rows of which half are in the bank of `hubness_space`, as float32."""
    known, new = make_gapped(80, 12, seed=1), make_gapped(40, 12, seed=2)
    return tuple(np.vstack([a[:40], b]).astype(np.float32) for a, b in zip(known, new, strict=True))


#: Calibrations that lower what is near to a bank, alone and before others; the last bank is short.
AFTER_NNN: list[Callable[[], Calibration]] = [
    lambda: NNN(k=5, alpha=0.3),
    lambda: ZScore(on="all", after=NNN()),
    lambda: ZScore(after=ZScore(on="all", after=NNN(k=4, alpha=0.7))),
    lambda: ZScore(on="all", after=NNN(k=500)),
]


def small_space(*, query_means: bool = False) -> MixedSpace:
    """Return a calibrated space over a few synthetic pairs."""
    X, Y = make_gapped(80, 12, seed=1)
    aligner = MeanCentering().fit(X, Y)
    means = Sides(aligner.mean_x_ * 0.9, aligner.mean_y_ * 0.8) if query_means else None
    return calibrated(aligner, X, Y, query_means=means)
