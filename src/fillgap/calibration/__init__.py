"""Scores that can be compared: one ranking of images and texts for a query of either kind."""

from fillgap.calibration.base import Calibration, Sides
from fillgap.calibration.fusion import (
    distribution_based_fusion,
    min_max_fusion,
    reciprocal_rank_fusion,
)
from fillgap.calibration.hubness import CSLS, NNN, QBNorm
from fillgap.calibration.methods import CALIBRATIONS, make_calibration
from fillgap.calibration.pairwise import ZScore, fit_together
from fillgap.calibration.probability import QuantileMap, RelevanceProbability
from fillgap.calibration.query_list import QueryCentering, QueryStandardisation

__all__ = [
    "CALIBRATIONS",
    "CSLS",
    "NNN",
    "Calibration",
    "QBNorm",
    "QuantileMap",
    "QueryCentering",
    "QueryStandardisation",
    "RelevanceProbability",
    "Sides",
    "ZScore",
    "distribution_based_fusion",
    "fit_together",
    "make_calibration",
    "min_max_fusion",
    "reciprocal_rank_fusion",
]
