"""Aligners: estimators with two sides that bring images and texts to one place."""

from fillgap.aligners.balanced import BalancedAligner, RefinedAligner
from fillgap.aligners.base import Aligner
from fillgap.aligners.centring import (
    DimensionRemoval,
    EmbeddingShift,
    MeanCentering,
    Translation,
)
from fillgap.aligners.methods import METHODS, load_aligner, make_aligner, save_aligner
from fillgap.aligners.regression import CCA, OrthogonalProcrustes, RidgeRegression
from fillgap.aligners.spectral import SpectralAligner
from fillgap.aligners.subspace import HyperplaneRotation, SharedSpaceProjection
from fillgap.aligners.transport.laplace import LaplaceTransport
from fillgap.aligners.whitening import GaussianTransport, PCAProjection, Standardisation, Whitening

__all__ = [
    "CCA",
    "METHODS",
    "Aligner",
    "BalancedAligner",
    "DimensionRemoval",
    "EmbeddingShift",
    "GaussianTransport",
    "HyperplaneRotation",
    "LaplaceTransport",
    "MeanCentering",
    "OrthogonalProcrustes",
    "PCAProjection",
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
]
