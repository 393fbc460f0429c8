"""Measure the modality gap of image-text embeddings, close it, and prove what that did.

Everything named here is imported when it is first used, so that `import fillgap` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fillgap.aligners.balanced import BalancedAligner
    from fillgap.aligners.centring import (
        DimensionRemoval,
        EmbeddingShift,
        MeanCentering,
        Translation,
    )
    from fillgap.aligners.methods import Provenance, load_aligner, make_aligner, save_aligner
    from fillgap.aligners.refined import RefinedAligner
    from fillgap.aligners.regression import CCA, OrthogonalProcrustes, RidgeRegression
    from fillgap.aligners.spectral import SpectralAligner
    from fillgap.aligners.subspace import HyperplaneRotation, SharedSpaceProjection
    from fillgap.aligners.transport.laplace import LaplaceTransport
    from fillgap.aligners.whitening import (
        GaussianTransport,
        PCAProjection,
        Standardisation,
        Whitening,
    )
    from fillgap.calibration.base import Sides
    from fillgap.datasets.scenes import load_class_prompts, load_digit_scenes
    from fillgap.errors import InputError, InputTypeError
    from fillgap.evaluation.compare import compare
    from fillgap.evaluation.recommend import recommend
    from fillgap.io.pairs import load_pair
    from fillgap.io.shards import load_rows, open_rows, open_sides
    from fillgap.io.writing import save_rows, transform_files
    from fillgap.metrics.summary import measure
    from fillgap.pair import EmbeddingPair
    from fillgap.space import MixedSpace, load_space, save_space

_HOMES = {
    "fillgap.errors": ("InputError", "InputTypeError"),
    "fillgap.aligners": (
        "CCA",
        "BalancedAligner",
        "DimensionRemoval",
        "EmbeddingShift",
        "GaussianTransport",
        "HyperplaneRotation",
        "LaplaceTransport",
        "MeanCentering",
        "OrthogonalProcrustes",
        "PCAProjection",
        "Provenance",
        "RefinedAligner",
        "RidgeRegression",
        "SharedSpaceProjection",
        "SpectralAligner",
        "Standardisation",
        "Translation",
        "Whitening",
        "load_aligner",
        "make_aligner",
        "save_aligner",
    ),
    "fillgap.datasets": ("load_class_prompts", "load_digit_scenes"),
    "fillgap.pair": ("EmbeddingPair",),
    "fillgap.evaluation": ("compare", "recommend"),
    "fillgap.io": (
        "load_pair",
        "load_rows",
        "open_rows",
        "open_sides",
        "save_rows",
        "transform_files",
    ),
    "fillgap.metrics.summary": ("measure",),
    "fillgap.calibration": ("Sides",),
    "fillgap.space": ("MixedSpace", "load_space", "save_space"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: PLE0604  (the names above, looked up when used)
    "__version__",
    *_HOME,
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fillgap' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
