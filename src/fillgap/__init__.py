"""Measure the modality gap of image-text embeddings, close it, and prove what that did.

Everything named here is imported when it is first used, so that `import fillgap` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fillgap._checks import InputError, InputTypeError
    from fillgap.aligners import (
        CCA,
        BalancedAligner,
        DimensionRemoval,
        EmbeddingShift,
        GaussianTransport,
        HyperplaneRotation,
        LaplaceTransport,
        MeanCentering,
        OrthogonalProcrustes,
        PCAProjection,
        Provenance,
        RefinedAligner,
        RidgeRegression,
        SharedSpaceProjection,
        SpectralAligner,
        Standardisation,
        Translation,
        Whitening,
        load_aligner,
        make_aligner,
        save_aligner,
    )
    from fillgap.datasets import load_class_prompts, load_digit_scenes
    from fillgap.embeddings import EmbeddingPair
    from fillgap.evaluation import compare, recommend
    from fillgap.io import load_pair, load_rows, open_rows, open_sides, save_rows, transform_files
    from fillgap.metrics.summary import measure
    from fillgap.scores import Sides
    from fillgap.space import MixedSpace, load_space, save_space

_HOMES = {
    "fillgap._checks": ("InputError", "InputTypeError"),
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
    "fillgap.embeddings": ("EmbeddingPair",),
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
    "fillgap.scores": ("Sides",),
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
