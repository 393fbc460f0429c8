"""The table of methods: their names on the command line and in files."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from fillgap._checks import InputError
from fillgap.aligners.balanced import BalancedAligner
from fillgap.aligners.base import Aligner
from fillgap.aligners.centring import DimensionRemoval, EmbeddingShift, MeanCentering, Translation
from fillgap.aligners.gaussian import GaussianTransport
from fillgap.aligners.refined import RefinedAligner
from fillgap.aligners.regression import CCA, OrthogonalProcrustes, RidgeRegression
from fillgap.aligners.spectral import SpectralAligner
from fillgap.aligners.subspace import HyperplaneRotation, SharedSpaceProjection
from fillgap.aligners.transport import LaplaceTransport
from fillgap.aligners.whitening import PCAProjection, Standardisation, Whitening

__all__ = ["METHODS", "make_aligner", "method_name"]

#: The class name in kebab case without "Aligner".
METHODS: Final[dict[str, type[Aligner]]] = {
    "balanced": BalancedAligner,
    "refined": RefinedAligner,
    "spectral": SpectralAligner,
    "mean-centering": MeanCentering,
    "embedding-shift": EmbeddingShift,
    "standardisation": Standardisation,
    "whitening": Whitening,
    "pca-projection": PCAProjection,
    "dimension-removal": DimensionRemoval,
    "gaussian-transport": GaussianTransport,
    "laplace-transport": LaplaceTransport,
    "orthogonal-procrustes": OrthogonalProcrustes,
    "ridge-regression": RidgeRegression,
    "cca": CCA,
    "shared-space-projection": SharedSpaceProjection,
    "hyperplane-rotation": HyperplaneRotation,
    "translation": Translation,
}


def make_aligner(name: str, **parameters: object) -> Aligner:
    """Return a new aligner of the method called `name`.

    Raises
    ------
    InputError
        If there is no such method or it has no such parameter; near names are offered.
    """
    if name not in METHODS:
        near = get_close_matches(name, METHODS, n=3, cutoff=0.5)
        remedy = f"Did you mean {' or '.join(near)}?" if near else "fillgap methods lists them."
        raise InputError(f"the method must be one of {', '.join(METHODS)}, got {name!r}. {remedy}")
    aligner = METHODS[name]()
    known = aligner.get_params()
    for parameter in parameters:
        if parameter not in known:
            raise InputError(
                f"a parameter of {name} must be one of {', '.join(known)}, got {parameter!r}. "
                "Check its spelling."
            )
    return aligner.set_params(**parameters)


def method_name(aligner: Aligner) -> str:
    """Return the name of an aligner's method: its class name where the table has none."""
    for name, cls in METHODS.items():
        if type(aligner) is cls:
            return name
    return type(aligner).__name__
