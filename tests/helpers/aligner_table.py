"""One row for each aligner: how to make it, and what must hold of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fillgap.aligners import (
    CCA,
    Aligner,
    BalancedAligner,
    DimensionRemoval,
    EmbeddingShift,
    GaussianTransport,
    HyperplaneRotation,
    LaplaceTransport,
    MeanCentering,
    OrthogonalProcrustes,
    PCAProjection,
    RefinedAligner,
    RidgeRegression,
    SharedSpaceProjection,
    SpectralAligner,
    Standardisation,
    Translation,
    Whitening,
)


@dataclass(frozen=True)
class Row:
    """An aligner and its stated properties."""

    name: str
    make: Callable[[], Aligner]
    #: Rotating every embedding by one orthogonal matrix leaves all cosines of the result alone.
    rotation_invariant: bool = True
    #: Exchanging images and texts exchanges the results.
    symmetric: bool = True


ROWS = [
    Row("mean-centering", MeanCentering),
    Row("embedding-shift", EmbeddingShift),
    Row("standardisation", Standardisation, rotation_invariant=False),
    Row("whitening", Whitening),
    Row("pca-projection", lambda: PCAProjection(n_components=7)),
    Row("dimension-removal", DimensionRemoval, rotation_invariant=False),
    Row("spectral", lambda: SpectralAligner(n_components=5)),
    Row("balanced", BalancedAligner),
    Row("balanced-cut", lambda: BalancedAligner(n_components=7, power=0.3)),
    Row("gaussian-transport", GaussianTransport, symmetric=False),
    Row("laplace-transport", lambda: LaplaceTransport(max_iter=5), symmetric=False),
    Row("procrustes", OrthogonalProcrustes),
    Row("procrustes-linear", lambda: OrthogonalProcrustes(center=False)),
    Row("ridge-regression", RidgeRegression, symmetric=False),
    Row("cca", CCA),
    Row("shared-space-projection", SharedSpaceProjection),
    # Turning one side onto the other, or the other way round: one relative rotation.
    Row("hyperplane-rotation", lambda: HyperplaneRotation(energy=0.9)),
    Row("rotation-of-texts", lambda: HyperplaneRotation(direction="text_to_image", energy=0.9)),
    Row("translation", lambda: Translation(amount=0.5), symmetric=False),
    Row("refined", lambda: RefinedAligner(penalty=10.0, max_iter=5)),
]
